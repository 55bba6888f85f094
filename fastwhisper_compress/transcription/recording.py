"""What was heard in a whole recording."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from fastwhisper_compress.runtime.audio_blocks import Gap
from fastwhisper_compress.runtime.transcript import Segment, Word


@dataclass(frozen=True)
class Recording:
    """The transcript of a file.

    Attributes:
        file: Its path, as it was given.
        language: Code of what is spoken; None where nothing was heard and no language was given.
        duration_s: How long it lasts.
        segments: In order, with times from the start of the recording.
        gaps: What could not be decoded.
        facts: How this was heard: model, artifact, mode and so on, as JSON values.
    """

    file: str
    language: str | None
    duration_s: float
    segments: tuple[Segment, ...]
    gaps: tuple[Gap, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """All that was said, in one line."""
        return " ".join("".join(segment.text for segment in self.segments).split())


def joined(gaps: Iterable[Gap]) -> tuple[Gap, ...]:
    """Return gaps in order, those that touch as one: reading on from within a gap finds the rest of it again."""
    found: list[Gap] = []
    for gap in sorted(gaps, key=lambda one: (one.start_s, one.end_s)):
        if found and gap.start_s <= found[-1].end_s:
            found[-1] = replace(found[-1], end_s=max(found[-1].end_s, gap.end_s))
        else:
            found.append(gap)
    return tuple(found)


def segment_to_json(segment: Segment) -> dict[str, Any]:
    """Return a segment as JSON values; ``words`` is there only if there are words."""
    words = [
        {"word": one.text, "start": one.start_s, "end": one.end_s, "probability": one.probability}
        for one in segment.words
    ]
    found = {"start": segment.start_s, "end": segment.end_s, "text": segment.text, "tokens": list(segment.tokens)}
    return found | ({"words": words} if words else {})


def segment_from_json(value: Mapping[str, Any]) -> Segment:
    """Return the segment that :func:`segment_to_json` wrote."""
    words = (Word(one["word"], one["start"], one["end"], one["probability"]) for one in value.get("words", ()))
    return Segment(value["start"], value["end"], value["text"], tuple(value["tokens"]), tuple(words))


def gap_to_json(gap: Gap) -> dict[str, Any]:
    """Return a gap as JSON values."""
    return {"start": gap.start_s, "end": gap.end_s, "reason": gap.reason}


def gap_from_json(value: Mapping[str, Any]) -> Gap:
    """Return the gap that :func:`gap_to_json` wrote."""
    return Gap(value["start"], value["end"], value["reason"])
