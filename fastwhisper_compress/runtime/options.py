"""What a caller may ask of a transcription."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """How clips are to be transcribed; the defaults are Whisper's greedy decoding of text alone.

    Attributes:
        language: Code such as ``de``; None lets a multilingual model detect it, clip by clip. An English-only model
            takes ``en`` or None.
        task: ``transcribe``, or ``translate`` into English.
        timestamps: Whether the model is to say when each segment begins and ends.
        words: Whether to find when each word begins and ends.
        no_speech: Whether to read the probability that nobody speaks. It costs a step of the decoder for each batch.
        previous: Tokens of what was said before the clip, which the model sees as context. Of a long history it sees the
            end: half the model's length, as in openai-whisper.
        prefix: Tokens that the text must begin with; it goes on behind them.
        temperature: 0 takes the likeliest token; above it, tokens are drawn from the distribution that this flattens.
        seed: Of the draws. Every clip draws its own, so that it does not depend on its neighbours.
        stop_loops: Whether to stop where the text only repeats itself, which greedy decoding may do up to the model's
            length; False decodes as transformers' ``generate`` does.
    """

    language: str | None = None
    task: str = "transcribe"
    timestamps: bool = False
    words: bool = False
    no_speech: bool = False
    previous: tuple[int, ...] = ()
    prefix: tuple[int, ...] = ()
    temperature: float = 0.0
    seed: int = 0
    stop_loops: bool = True


DEFAULTS = Options()
