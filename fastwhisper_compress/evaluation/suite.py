"""Evaluation suites: what is spoken, what was said, and where both come from."""

from __future__ import annotations

import difflib
import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastwhisper_compress.errors import SuiteError, UsageError
from fastwhisper_compress.evaluation.hub_dataset import HubDataset, fetch
from fastwhisper_compress.evaluation.intact import audio_digest
from fastwhisper_compress.evaluation.manifest import Utterance, language_code, read_manifest

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Suite", "Utterance", "list_suites", "load_suite"]

MAX_BYTES = 16 * 1024

# key -> (required, type)
_COMMON: dict[str, tuple[bool, type]] = {
    "version": (True, int),
    "name": (True, str),
    "description": (False, str),
    "kind": (True, str),
    "language": (True, str),
    "synthetic": (False, bool),
    "license": (True, str),
    "source": (True, str),
    "normaliser": (False, str),
}
_KINDS: dict[str, dict[str, tuple[bool, type]]] = {
    "manifest": {"manifest": (True, str)},
    "hf_dataset": {
        "repo": (True, str),
        "config": (False, str),
        "split": (True, str),
        "revision": (True, str),
        "audio_column": (False, str),
        "text_column": (False, str),
        "id_column": (False, str),
        "speaker_column": (False, str),
    },
}
_TYPE_NAMES = {int: "a whole number", str: "text", bool: "true or false"}


@dataclass(frozen=True)
class Suite:
    """Utterances of one language, with their origin.

    Attributes:
        synthetic: The speech was made by a machine; every figure measured on it says so.
        revision: The commit of a hub data set that was really used.
        limit: Only the first so many rows were kept; results are then not comparable with others.
    """

    name: str
    language: str
    synthetic: bool
    license: str
    source: str
    revision: str | None
    utterances: tuple[Utterance, ...]
    limit: int | None = None

    @cached_property
    def digest(self) -> str:
        """sha256 over ids, references, languages, speakers and audio contents; folders and names do not matter."""
        digest = hashlib.sha256()
        for one, content in zip(self.utterances, self.audio_digests, strict=True):
            row = [one.id, one.text, one.language, one.speaker, content]
            digest.update(json.dumps(row).encode() + b"\n")
        return f"sha256:{digest.hexdigest()}"

    @cached_property
    def audio_digests(self) -> tuple[str | None, ...]:
        """sha256 of each audio file; None where there is none."""
        return tuple(audio_digest(one.audio) for one in self.utterances)

    @property
    def speakers(self) -> tuple[str | None, ...]:
        """Speaker of each utterance."""
        return tuple(one.speaker for one in self.utterances)


def load_suite(ref: str, *, limit: int | None = None, offline: bool = False, transcripts: bool = True) -> Suite:
    """Load a suite.

    Args:
        ref: The name of a shipped suite, a suite file (``.yaml``) or a NeMo manifest (``.jsonl``).
        limit: Keep the first so many utterances.
        offline: Do not go to the hub.
        transcripts: Whether the rows of a manifest need them; nothing can be scored without.

    Raises:
        SuiteError: The suite does not exist or does not hold together; names file, line and remedy.
        HubUnavailableError: A hub data set is neither cached nor in reach.
        BackendError: A hub data set needs the package ``datasets``.
    """
    if limit is not None and limit < 1:
        raise UsageError(f"a limit of {limit} leaves nothing", place="--limit", remedy="give 1 or more")
    path = Path(ref)
    match path.suffix.lower():
        case ".jsonl" | ".json":
            return _from_manifest(path, limit, transcripts=transcripts)
        case ".yaml" | ".yml":
            return _from_yaml(path, limit, offline)
        case _:
            return _from_yaml(_find(ref), limit, offline)


def list_suites() -> tuple[str, ...]:
    """Return the names of the shipped suites."""
    return tuple(sorted(path.stem for path in _suites_folder().glob("*.yaml")))


def _suites_folder() -> Path:
    from fastwhisper_compress.resources import data_dir

    return data_dir("eval") / "suites"


def _find(name: str) -> Path:
    names = list_suites()
    if name in names:
        return _suites_folder() / f"{name}.yaml"
    near = difflib.get_close_matches(name, names, n=1)
    raise SuiteError(
        f"no suite named {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""),
        place="--suite",
        remedy=f"use one of {', '.join(names)}, or the path of a NeMo manifest ending in .jsonl",
    )


def _from_manifest(path: Path, limit: int | None, *, transcripts: bool) -> Suite:
    manifest = read_manifest(path, transcripts=transcripts)
    return Suite(
        name=path.stem,
        language=manifest.language,
        synthetic=manifest.synthetic,
        license=manifest.license,
        source=path.name,
        revision=None,
        utterances=manifest.utterances[:limit],
        limit=limit,
    )


def _from_yaml(path: Path, limit: int | None, offline: bool) -> Suite:
    fields = _read_yaml(path)
    language = language_code(fields["language"])
    revision = None
    if fields["kind"] == "manifest":
        rows = path.parent / fields["manifest"]
    else:
        keys = _KINDS["hf_dataset"]
        dataset = HubDataset(**{"config": None} | {key: fields[key] for key in keys if key in fields})
        rows, revision = fetch(dataset, limit=limit, offline=offline, place=str(path))
    manifest = read_manifest(rows, language=language)
    return Suite(
        name=fields["name"],
        language=language,
        synthetic=fields.get("synthetic", manifest.synthetic),
        license=fields["license"],
        source=fields["source"],
        revision=revision,
        utterances=manifest.utterances[:limit],
        limit=limit,
    )


def _read_yaml(path: Path) -> dict[str, Any]:
    """Read a suite file as YAML 1.2 and check every key, with the line of what is wrong."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise SuiteError(
                f"the file is larger than {MAX_BYTES // 1024} KiB",
                place=str(path),
                remedy="put the clips into a manifest (.jsonl), and name that",
            )
        content = YAML(typ="rt", pure=True).load(data.decode("utf-8"))
    except FileNotFoundError as error:
        raise SuiteError("no such suite file", place=str(path), remedy="check the path given to --suite") from error
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{path}:{mark.line + 1}" if mark else str(path)
        raise SuiteError(f"not YAML: {error.problem}", place=place, remedy="correct the file") from error
    except (YAMLError, UnicodeDecodeError, OSError, ValueError, RecursionError) as error:
        raise SuiteError(f"cannot be read: {error}", place=str(path), remedy="correct the file") from error
    if not isinstance(content, dict):
        raise SuiteError("not a mapping of keys", place=str(path), remedy="write name, kind, language, ...")
    positions: dict[Any, tuple[int, ...]] = content.lc.data  # type: ignore[attr-defined]
    _check(content, path, {key: f"{path}:{position[0] + 1}" for key, position in positions.items()})
    return {str(key): str(value) if isinstance(value, str) else value for key, value in content.items()}


def _check(content: Mapping[Any, Any], path: Path, places: Mapping[Any, str]) -> None:
    kind = content.get("kind")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise SuiteError(
            f"unknown kind {_shown(kind)}" if "kind" in content else "kind is missing",
            place=places.get("kind", str(path)),
            remedy=f"use one of {', '.join(_KINDS)}",
        )
    keys = _COMMON | _KINDS[kind]
    for key, value in content.items():
        if key not in keys:
            near = difflib.get_close_matches(key if isinstance(key, str) else "", keys, n=1)
            raise SuiteError(
                f"unknown key {_shown(key)}" + (f"; did you mean {near[0]!r}?" if near else ""),
                place=places[key],
                remedy=f"a suite of kind {kind} takes {', '.join(keys)}",
            )
        wanted = keys[key][1]
        if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
            raise SuiteError(
                f"{key} must be {_TYPE_NAMES[wanted]}, not {_shown(value)}",
                place=places[key],
                remedy="correct the value",
            )
    if missing := [key for key, (required, _) in keys.items() if required and key not in content]:
        raise SuiteError(f"missing: {', '.join(missing)}", place=str(path), remedy="add the missing keys")
    if content["version"] != 1:
        raise SuiteError(f"version {content['version']} is unknown", place=places["version"], remedy="use version: 1")
    used = "english" if language_code(content["language"]) == "en" else "basic"
    if content.get("normaliser", used) != used:
        raise SuiteError(
            f"normaliser {content['normaliser']!r} for language {content['language']!r}",
            place=places["normaliser"],
            remedy=f"use {used}, or leave it out: the language decides",
        )


def _shown(value: object) -> str:
    """A value as text of bounded length: through aliases, a list can hold more than can be written out."""
    return repr(value)[:80] if isinstance(value, str | int | float | None) else "a list or a mapping"
