"""The released Whispers: their names and dimensions, for what must be known before a checkpoint is there.

Dimensions are those of each model's published ``config.json``. Parameters are counted from them, tied weights once
and the encoder's fixed sinusoids included, since they are stored like any other tensor.
"""

from __future__ import annotations

import math
import re

from fastwhisper_compress.checkpoint.dims import Dims, tensor_shapes

# The hub's own rules: owner/name, neither two dashes nor two dots in a row.
HUB_ID = re.compile(r"(?!.*(--|\.\.))(?=.{1,96}$)\w[\w.-]*/\w[\w.-]*(?<![.-])", re.ASCII)

_ENGLISH, _MULTILINGUAL, _WITH_CANTONESE = 51_864, 51_865, 51_866  # sizes of vocabularies


def _whisper(
    d_model: int, encoder_layers: int, decoder_layers: int | None = None, *, n_vocab: int = _MULTILINGUAL
) -> Dims:
    """Dimensions by the rules that all released models keep: heads of 64, feed-forward of four times the width."""
    heads = d_model // 64
    return Dims(
        n_mels=128 if n_vocab == _WITH_CANTONESE else 80,
        n_vocab=n_vocab,
        d_model=d_model,
        encoder_layers=encoder_layers,
        decoder_layers=encoder_layers if decoder_layers is None else decoder_layers,
        encoder_heads=heads,
        decoder_heads=heads,
        encoder_ffn=4 * d_model,
        decoder_ffn=4 * d_model,
    )


KNOWN: dict[str, Dims] = {
    "openai/whisper-tiny.en": _whisper(384, 4, n_vocab=_ENGLISH),
    "openai/whisper-tiny": _whisper(384, 4),
    "openai/whisper-base.en": _whisper(512, 6, n_vocab=_ENGLISH),
    "openai/whisper-base": _whisper(512, 6),
    "openai/whisper-small.en": _whisper(768, 12, n_vocab=_ENGLISH),
    "openai/whisper-small": _whisper(768, 12),
    "openai/whisper-medium.en": _whisper(1024, 24, n_vocab=_ENGLISH),
    "openai/whisper-medium": _whisper(1024, 24),
    "openai/whisper-large": _whisper(1280, 32),
    "openai/whisper-large-v2": _whisper(1280, 32),
    "openai/whisper-large-v3": _whisper(1280, 32, n_vocab=_WITH_CANTONESE),
    "openai/whisper-large-v3-turbo": _whisper(1280, 32, 4, n_vocab=_WITH_CANTONESE),
    "distil-whisper/distil-small.en": _whisper(768, 12, 4, n_vocab=_ENGLISH),
    "distil-whisper/distil-medium.en": _whisper(1024, 24, 2, n_vocab=_ENGLISH),
    "distil-whisper/distil-large-v2": _whisper(1280, 32, 2),
    "distil-whisper/distil-large-v3": _whisper(1280, 32, 2, n_vocab=_WITH_CANTONESE),
    "distil-whisper/distil-large-v3.5": _whisper(1280, 32, 2, n_vocab=_WITH_CANTONESE),
}

# openai-whisper's own short names; on the hub "large" still means the first.
_SHORT_NAMES = {
    identifier.removeprefix("openai/whisper-"): identifier for identifier in KNOWN if identifier.startswith("openai/")
} | {
    "large-v1": "openai/whisper-large",
    "large": "openai/whisper-large-v3",
    "turbo": "openai/whisper-large-v3-turbo",
}


def model_id(name: str) -> str:
    """The hub id that a short name stands for; ids pass through."""
    if name in _SHORT_NAMES:
        return _SHORT_NAMES[name]
    if name.startswith("distil-") and "/" not in name:
        return f"distil-whisper/{name}"
    return f"openai/{name}" if re.fullmatch(r"whisper-[\w.-]+", name, re.ASCII) else name


def n_parameters(dims: Dims) -> int:
    """Count the numbers that a checkpoint of these dimensions holds."""
    return sum(math.prod(shape) for shape in tensor_shapes(dims).values())
