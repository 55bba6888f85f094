"""Windows of a recording that go in circles.

A window is what the model hears at once, so a loop fills a window and ends with it. Each is judged by its own text: over a
whole hour zlib finds enough to share in any speech, and the loop of one window would drown in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastwhisper_compress.evaluation.aligned import PAIRED
from fastwhisper_compress.evaluation.wer import LOOP_COMPRESSION_RATIO, has_repetition_loop
from fastwhisper_compress.runtime.transcript import compression

if TYPE_CHECKING:
    from fastwhisper_compress.evaluation.aligned import Aligned


@dataclass(frozen=True)
class WindowText:
    """What was heard in one window.

    Attributes:
        text: As the model wrote it.
        n_heard: Units of it.
        looped: It goes in circles, as ``wer.has_repetition_loop`` tells, and what was said does not.
        compressed: It shrinks by more than 2.4, the sign by which openai-whisper decodes a window again.
    """

    text: str
    n_heard: int
    looped: bool
    compressed: bool


def window_texts(recording: Aligned) -> list[WindowText]:
    """Look at every window of a recording."""
    timeline = recording.timeline
    texts = [""] * len(timeline.windows)
    for segment in timeline.segments:
        texts[timeline.window_at(segment.middle_s)] += segment.text
    said: dict[int, list[int]] = {}
    for op, ref, hyp in recording.steps():
        if op in PAIRED and ref is not None and hyp is not None:
            said.setdefault(recording.windows[hyp], []).append(ref)
    found = []
    for number, text in enumerate(texts):
        refs = said.get(number)
        reference = recording.said(refs[0], refs[-1] + 1) if refs else ""
        looped = has_repetition_loop(text, reference, recording.language)
        shrinks = bool(text.strip()) and compression(text.strip()) > LOOP_COMPRESSION_RATIO
        found.append(WindowText(text, recording.windows.count(number), looped, shrinks))
    return found
