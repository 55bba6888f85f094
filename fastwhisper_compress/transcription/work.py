"""What is to be read, and what comes of it: the words that readers, models and journals share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastwhisper_compress.errors import FastWhisperError
from fastwhisper_compress.runtime.audio_blocks import Gap
from fastwhisper_compress.runtime.transcript import Segment
from fastwhisper_compress.transcription.recording import (
    gap_from_json,
    gap_to_json,
    segment_from_json,
    segment_to_json,
)


@dataclass(frozen=True)
class Place:
    """Where to go on.

    Attributes:
        chapter_s: Where in the recording the chapter begins.
        windows: How many of its windows are done.
    """

    chapter_s: float = 0.0
    windows: int = 0


BEGIN = Place()


@dataclass(frozen=True)
class End:
    """The end of a recording.

    Attributes:
        duration_s: How long it lasts.
        gaps: What could not be decoded, found since the last window.
    """

    duration_s: float
    gaps: tuple[Gap, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values; what it has and a part has not is ``end``."""
        return {"end": self.duration_s, "gaps": [gap_to_json(gap) for gap in self.gaps]}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> End:
        """Return the end that :meth:`to_json` wrote."""
        return cls(value["end"], tuple(map(gap_from_json, value["gaps"])))


@dataclass(frozen=True)
class Part:
    """What was heard in a window.

    Attributes:
        chapter_s: Where its chapter begins.
        end_s: Where it ends.
        language: What is spoken; None where nothing could be heard.
        expected: The language that the model was told; None where it was left to find it.
        segments: With times of the recording.
        gaps: What could not be decoded, found since the window before.
        context: Tokens that the next window sees as its past, in sequential mode.
    """

    chapter_s: float
    end_s: float
    language: str | None
    expected: str | None
    segments: tuple[Segment, ...]
    gaps: tuple[Gap, ...] = ()
    context: tuple[int, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "chapter_s": self.chapter_s,
            "end_s": self.end_s,
            "language": self.language,
            "expected": self.expected,
            "segments": [segment_to_json(segment) for segment in self.segments],
            "gaps": [gap_to_json(gap) for gap in self.gaps],
            "context": list(self.context),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Part:
        """Return the part that :meth:`to_json` wrote."""
        segments = tuple(map(segment_from_json, value["segments"]))
        gaps = tuple(map(gap_from_json, value["gaps"]))
        known = (value["chapter_s"], value["end_s"], value["language"], value["expected"])
        return cls(*known, segments, gaps, tuple(value["context"]))


@dataclass(frozen=True)
class Reading:
    """A file to be read, from its beginning or from where it was broken off.

    Attributes:
        file: The file.
        index: Which of the files of a command it is.
        place: Where to begin, in windows.
        last: What was heard before that.
        end: Its end, if it was read to there.
    """

    file: Path
    index: int
    place: Place = BEGIN
    last: Part | None = None
    end: End | None = None


Event = tuple[Reading, Part | End | FastWhisperError]
"""What has become of a file: a part of it was heard, it has ended, or it cannot be read (on)."""
