"""Transcripts as files: plain text, subtitles, tables, JSON."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fastwhisper_compress.files import write_text
from fastwhisper_compress.harmless import harmless, harmless_json
from fastwhisper_compress.runtime.transcript import Segment
from fastwhisper_compress.transcription.cues import Cue, Screen, cues
from fastwhisper_compress.transcription.kinds import Format
from fastwhisper_compress.transcription.recording import Recording, gap_to_json, segment_to_json

SCHEMA_VERSION = 1  # of the JSON
_ARROW = re.compile("-{2,}>")
_TAG = re.compile(r"<(?=[A-Za-z/!?])|\{(?=\\)")


def written(recording: Recording, kind: Format, screen: Screen) -> str:
    """Return a transcript as the content of a file.

    What a model writes is not to be trusted: in text, control characters and those that set a direction are replaced by
    marks; in ``json`` they are escaped.

    ``txt`` has a line for each segment. ``srt`` and ``vtt`` break long segments for the screen. ``tsv`` has a header and
    the columns start and end, in milliseconds, and text. ``json`` is what :func:`recording_to_json` returns.
    """
    return _WRITERS[kind](recording, screen)


def write_recording(recording: Recording, path: Path, kind: Format, screen: Screen) -> Path:
    """Write a transcript to a file, whole or not at all.

    Raises:
        OutputError: The folder cannot be written.
        ResourceError: The disk is full.
    """
    return write_text(path, written(recording, kind, screen))


def recording_to_json(recording: Recording) -> dict[str, Any]:
    """Return a transcript as JSON values; times are seconds, to the millisecond.

    Returns:
        ``schema_version``, ``file``, ``language`` (null where nothing was heard), ``duration_s``, ``text``; ``segments``,
        a list of ``start``, ``end``, ``text`` (with its leading space), ``tokens`` and, if they were asked for, ``words``
        (``word``, ``start``, ``end``, ``probability``); ``gaps``, what could not be decoded, a list of ``start``, ``end``
        and ``reason``; and how it was heard.
    """
    found = {
        "schema_version": SCHEMA_VERSION,
        "file": recording.file,
        "language": recording.language,
        "duration_s": recording.duration_s,
        "text": recording.text,
        "segments": [segment_to_json(segment) for segment in recording.segments],
        "gaps": [gap_to_json(gap) for gap in recording.gaps],
        **recording.facts,
    }
    rounded: dict[str, Any] = _rounded(found)
    return rounded


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 3)
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    return [_rounded(one) for one in value] if isinstance(value, list) else value


def _txt(recording: Recording, _: Screen) -> str:
    lines = (_one_line(segment) for segment in recording.segments)
    return "".join(f"{line}\n" for line in lines if line)


def _srt(recording: Recording, screen: Screen) -> str:
    blocks = (
        f"{number}\n{_times(cue, ',')}\n" + "".join(f"{_no_markup(line)}\n" for line in cue.lines)
        for number, cue in enumerate(cues(recording.segments, screen), 1)
    )
    return "\n".join(blocks)


def _no_markup(line: str) -> str:
    """Break what would pass for the times of a cue, for a tag or for a player's command: the format knows no escape."""
    return _TAG.sub(r"\g<0> ", _ARROW.sub("->", line))


def _vtt(recording: Recording, screen: Screen) -> str:
    blocks = (
        f"{_times(cue, '.')}\n" + "".join(f"{html.escape(line, quote=False)}\n" for line in cue.lines)
        for cue in cues(recording.segments, screen)
    )
    return "\n".join(["WEBVTT\n", *blocks])


def _tsv(recording: Recording, _: Screen) -> str:
    rows = (
        f"{round(1000 * segment.start_s)}\t{round(1000 * segment.end_s)}\t{text}\n"
        for segment in recording.segments
        if (text := _one_line(segment))
    )
    return "start\tend\ttext\n" + "".join(rows)


def _json(recording: Recording, _: Screen) -> str:
    return harmless_json(recording_to_json(recording), indent=1) + "\n"


_WRITERS: Mapping[Format, Callable[[Recording, Screen], str]] = {
    Format.TXT: _txt,
    Format.SRT: _srt,
    Format.VTT: _vtt,
    Format.TSV: _tsv,
    Format.JSON: _json,
}


def _one_line(segment: Segment) -> str:
    return harmless(" ".join(segment.text.split()))


def _times(cue: Cue, point: str) -> str:
    return f"{_clock(cue.start_ms, point)} --> {_clock(cue.end_ms, point)}"


def _clock(ms: int, point: str) -> str:
    seconds, ms = divmod(ms, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}{point}{ms:03}"
