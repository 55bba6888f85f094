"""The tokens that the decoder reads before the text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastwhisper_compress.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastwhisper_compress.runtime.manifest import Decoding
    from fastwhisper_compress.runtime.options import Options


def prompt_tokens(decoding: Decoding, language: str, task: str, *, timestamps: bool = False) -> tuple[int, ...]:
    """Return start, language, task, and no timestamps unless they are wanted.

    Args:
        decoding: The model's ids.
        language: Code such as ``de``. An English-only model takes ``en``.
        task: ``transcribe`` or ``translate``.
        timestamps: Whether the model is to write them.

    Raises:
        UsageError: The model does not know the language or the task.
    """
    if task not in ("transcribe", "translate"):
        raise UsageError(f"unknown task {task!r}", place="--task", remedy="use transcribe or translate")
    ends = () if timestamps else (decoding.no_timestamps,)
    if not decoding.languages:
        if language != "en" or task != "transcribe":
            raise UsageError(
                f"an English-only model cannot {task} {language!r}",
                place="--language",
                remedy="use a multilingual model, such as openai/whisper-base",
            )
        return (decoding.sot, *ends)
    if language not in decoding.languages:
        raise UsageError(
            f"the model does not know the language {language!r}",
            place="--language",
            remedy=f"one of {', '.join(sorted(decoding.languages))}",
        )
    wanted = decoding.transcribe if task == "transcribe" else decoding.translate
    if wanted is None:
        raise UsageError(f"the model has no token for the task {task!r}", place="--task", remedy="use transcribe")
    return (decoding.sot, decoding.languages[language], wanted, *ends)


def previous_tokens(decoding: Decoding, previous: Sequence[int]) -> tuple[int, ...]:
    """Return what stands before the start of transcript: a mark, and as much of earlier text as fits behind it.

    That is half the model's length with the mark, as in openai-whisper: the other half is for the clip's own text.
    """
    if not previous:
        return ()
    room = max(0, decoding.max_length // 2 - 1)
    return (decoding.sot_prev, *previous[max(0, len(previous) - room) :])


def check_options(options: Options, decoding: Decoding, n_vocab: int) -> None:
    """Refuse what no model can do, or this one cannot.

    Args:
        options: What is asked for.
        decoding: The model's ids.
        n_vocab: How many tokens it has.

    Raises:
        UsageError: The model does not know the language or task, cannot tell word times, a token is not one of its, or
            there is no room.
    """
    language = options.language or next(iter(decoding.languages), "en")  # whichever is found, the prompt is as long
    prompt = prompt_tokens(decoding, language, options.task, timestamps=options.timestamps)
    if not 0 <= options.temperature < float("inf"):
        raise UsageError(
            f"{options.temperature} is no temperature", place="temperature", remedy="use 0, or a number up to 1"
        )
    if options.words and not decoding.alignment_heads:
        raise UsageError(
            "it is not known which of the model's attention heads follow time",
            place="words",
            remedy="ask for timestamps alone, or use a model whose generation_config.json names its alignment_heads",
        )
    for name in ("previous", "prefix"):
        for token in getattr(options, name):
            if not 0 <= token < n_vocab:
                raise UsageError(
                    f"the token {token} is not one of the model's {n_vocab}",
                    place=name,
                    remedy="give tokens of this model's transcripts",
                )
    room = decoding.max_length - len(previous_tokens(decoding, options.previous)) - len(prompt)
    if options.prefix and len(options.prefix) >= room:
        raise UsageError(
            f"a prefix of {len(options.prefix)} tokens leaves no room in the {room} that a text may have here",
            place="prefix",
            remedy="give a shorter one",
        )
