"""What ``transcribe --stream`` prints."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fastwhisper_compress.cli.output import say, say_json

if TYPE_CHECKING:
    from fastwhisper_compress.pipeline.stream import StreamJob
    from fastwhisper_compress.transcription.arriving import Arriving
    from fastwhisper_compress.transcription.streaming import Committed


def stream_text(job: StreamJob, name: str, *, rate: int | None, as_json: bool) -> None:
    """Print the text of a stream as it is committed: a line an utterance, or JSON lines.

    Ctrl-C ends the stream, and what was heard until then is still printed; a second one interrupts.

    Args:
        job: What transcribes it.
        name: ``-`` or ``mic``.
        rate: In Hz, of raw PCM.
        as_json: Whether to print every step as an object in a line, its tail too.
    """
    from fastwhisper_compress.pipeline.stream import live_audio, stream_transcription

    with live_audio(name, rate=rate) as source, _ended_by_interrupt(source):
        begun = False  # whether something stands in this line
        for one in stream_transcription(job, source):
            if as_json:
                say_json(_row(one))
                continue
            say(one.text if begun else one.text.lstrip(), nl=False)
            begun = begun or bool(one.text)
            if begun and one.ends:
                say()
                begun = False


def _row(one: Committed) -> dict[str, object]:
    return {
        "text": one.text,
        "start": round(one.start_s, 3),
        "end": round(one.end_s, 3),
        "words": [
            {"word": word.text, "start": round(word.start_s, 3), "end": round(word.end_s, 3)} for word in one.words
        ],
        "tail": one.tail,
        "heard": round(one.heard_s, 3),
        "language": one.language,
        "ends": one.ends,
    }


@contextmanager
def _ended_by_interrupt(source: Arriving) -> Iterator[None]:
    """Let the first Ctrl-C end the stream, not the program."""
    usual = signal.getsignal(signal.SIGINT)

    def end(_number: int, _frame: object) -> None:
        signal.signal(signal.SIGINT, usual)
        source.close()

    signal.signal(signal.SIGINT, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
