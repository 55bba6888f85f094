"""What ``transcribe --stream`` prints."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fastwhisper_compress.cli.output import say, say_json

if TYPE_CHECKING:
    from fastwhisper_compress.pipeline.live_audio import LiveAudio
    from fastwhisper_compress.pipeline.stream import StreamJob
    from fastwhisper_compress.runtime.audio_blocks import Gap
    from fastwhisper_compress.transcription.streaming import Committed


def gap_sentence(place: str, gap: Gap) -> str:
    """Say what of a recording or a stream could not be decoded."""
    return f"{place}: {gap.start_s:.2f} to {gap.end_s:.2f} s could not be decoded: {gap.reason}"


def stream_text(job: StreamJob, name: str, *, rate: int | None, timeout_s: float | None, as_json: bool) -> None:
    """Print the text of a stream as it is committed: a line an utterance, or JSON lines.

    Ctrl-C ends the stream, and what was heard until then is still printed; a second one interrupts. What could not be
    decoded is said on stderr, and is an object in a line of its own in JSON.

    Args:
        job: What transcribes it.
        name: ``-`` or ``mic``.
        rate: In Hz, of raw PCM.
        timeout_s: After how long without audio it has stalled; None takes the default.
        as_json: Whether to print every step as an object in a line, its tail too.
    """
    from fastwhisper_compress.pipeline.live_audio import PATIENCE_S, live_audio
    from fastwhisper_compress.pipeline.stream import stream_transcription
    from fastwhisper_compress.transcription.recording import gap_to_json

    def tell(gap: Gap) -> None:
        say(gap_sentence(f"--stream {name}", gap), err=True)
        if as_json:
            say_json({"gap": gap_to_json(gap)})

    patience_s = PATIENCE_S if timeout_s is None else timeout_s
    opened = live_audio(name, rate=rate, timeout_s=patience_s, on_gap=tell)
    with opened as source, _ended_by_interrupt(source):
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
def _ended_by_interrupt(source: LiveAudio) -> Iterator[None]:
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
