"""NeMo JSONL manifests: one utterance per line, every problem reported with its line."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastwhisper_compress.errors import SuiteError

if TYPE_CHECKING:
    from pathlib import Path

DEFAULT_LANGUAGE = "en"


@dataclass(frozen=True)
class Utterance:
    """One clip and what was said in it."""

    id: str
    audio: Path
    text: str
    duration_s: float | None
    language: str
    speaker: str | None


@dataclass(frozen=True)
class Manifest:
    """The rows of a manifest and what they say about their origin."""

    utterances: tuple[Utterance, ...]
    language: str
    license: str
    synthetic: bool


def read_manifest(path: Path, *, language: str | None = None, transcripts: bool = True) -> Manifest:
    """Read and check a manifest.

    Needed per row: ``audio_filepath`` (absolute, or relative to the manifest) and ``text`` (may be empty). Optional:
    ``id`` (default: ``audio_filepath``), ``duration`` (s), ``language``, ``speaker``, ``license``, ``synthetic``. Other
    keys are ignored, as NeMo manifests carry many. A clip whose file is missing is kept: it will count as failed audio.

    Args:
        path: The manifest.
        language: Language of rows that name none; English when not given.
        transcripts: Whether every row needs a ``text``; False takes what has none as "".

    Raises:
        SuiteError: Not readable, a bad row, duplicate ids, several languages, no rows, or no audio file at all.
    """
    utterances: list[Utterance] = []
    lines: dict[str, int] = {}
    licenses: set[str] = set()
    synthetic = False
    for number, line in enumerate(_read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        place = f"{path}:{number}"
        row = _parse(line, place)
        if not transcripts:
            row.setdefault("text", "")
        one = _utterance(row, path.parent, language or DEFAULT_LANGUAGE, place)
        if one.id in lines:
            raise SuiteError(
                f"the id {one.id!r} was already used in line {lines[one.id]}",
                place=place,
                remedy="give every utterance an id of its own",
            )
        if one.language != (expected := utterances[0].language if utterances else language or one.language):
            raise SuiteError(
                f"language {one.language!r} in a suite of {expected!r}",
                place=place,
                remedy="make one suite per language: error rates of several languages do not add up",
            )
        lines[one.id] = number
        utterances.append(one)
        licenses.add(str(row.get("license") or "unknown"))
        synthetic = synthetic or bool(row.get("synthetic", False))
    if not utterances:
        raise SuiteError("the manifest holds no utterances", place=str(path), remedy="add one JSON object per line")
    if not any(_is_file(one.audio) for one in utterances):
        raise SuiteError(
            f"none of its {len(utterances)} audio files exists",
            place=str(path),
            remedy=f"check audio_filepath: relative paths start at the manifest (first: {str(utterances[0].audio)[:200]})",
        )
    return Manifest(tuple(utterances), utterances[0].language, ", ".join(sorted(licenses)), synthetic)


def language_code(tag: str) -> str:
    """Return Whisper's code of a language tag: ``zh-CN`` is ``zh``."""
    return tag.strip().lower().replace("_", "-").split("-")[0]


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name too long
        return False


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise SuiteError("no such manifest", place=str(path), remedy="check the path given to --suite") from error
    except UnicodeDecodeError as error:
        raise SuiteError("not UTF-8 text", place=str(path), remedy="save the manifest as UTF-8") from error
    except OSError as error:
        raise SuiteError(f"cannot be read: {error.strerror}", place=str(path)[:200], remedy="check the file") from error
    except ValueError as error:  # a NUL
        raise SuiteError("no name that a file can have", place=ascii(str(path))[:200], remedy="correct it") from error


def _parse(line: str, place: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise SuiteError(f"not JSON: {error}", place=place, remedy="write one JSON object per line") from error
    if not isinstance(row, dict):
        raise SuiteError("not a JSON object", place=place, remedy='write {"audio_filepath": ..., "text": ...}')
    return row


def _utterance(row: dict[str, Any], folder: Path, default_language: str, place: str) -> Utterance:
    audio = _string(row, "audio_filepath", place)
    if audio is None or not audio.strip():
        raise SuiteError("audio_filepath is missing", place=place, remedy="name the audio file of this utterance")
    if "\0" in audio:
        raise SuiteError("audio_filepath is no name that a file can have", place=place, remedy="correct the name")
    text = _string(row, "text", place)
    if text is None:
        raise SuiteError("text is missing", place=place, remedy='give the reference, "" where nothing is said')
    offset = _number(row, "offset", place)
    if offset:
        raise SuiteError(
            "a nonzero offset is not supported", place=place, remedy="cut the segment into an audio file of its own"
        )
    language = _string(row, "language", place) or _string(row, "lang", place) or default_language
    return Utterance(
        id=_string(row, "id", place) or audio,
        audio=folder / audio,
        text=text,
        duration_s=_number(row, "duration", place),
        language=language_code(language),
        speaker=_string(row, "speaker", place) or None,
    )


def _string(row: dict[str, Any], key: str, place: str) -> str | None:
    value = row.get(key)
    if key in {"id", "speaker"} and isinstance(value, int):  # numbered ids and speakers are common
        value = str(value)
    if value is None or isinstance(value, str):
        return value
    raise SuiteError(f"{key} must be text, not {json.dumps(value)[:40]}", place=place, remedy=f"put {key} in quotes")


def _number(row: dict[str, Any], key: str, place: str) -> float | None:
    value = row.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise SuiteError(f"{key} must be a number of seconds", place=place, remedy=f"correct or remove {key}")
    return float(value)
