"""Whisper's architecture as data: its dimensions, its modules and the shape of every tensor.

The names are those of Hugging Face transformers without the leading ``model.``; every other source is renamed to them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from fastwhisper_compress.errors import UnsafeInputError

# First vocabulary size that holds the language and task tokens of a multilingual model.
MULTILINGUAL_VOCAB = 51_865

# A field outside these bounds is not a Whisper that exists or will: it is a corrupt or hostile file.
_LARGEST = {
    "n_mels": 128,
    "n_vocab": 1_000_000,
    "d_model": 8_192,
    "encoder_layers": 256,
    "decoder_layers": 256,
    "encoder_heads": 256,
    "decoder_heads": 256,
    "encoder_ffn": 65_536,
    "decoder_ffn": 65_536,
    "n_audio_ctx": 15_000,
    "n_text_ctx": 8_192,
}


@dataclass(frozen=True)
class Dims:
    """The numbers that fix a Whisper's architecture; encoder and decoder may differ in depth."""

    n_mels: int
    n_vocab: int
    d_model: int
    encoder_layers: int
    decoder_layers: int
    encoder_heads: int
    decoder_heads: int
    encoder_ffn: int
    decoder_ffn: int
    n_audio_ctx: int = 1500
    n_text_ctx: int = 448

    def head_dim(self, path: str) -> int:
        """Width of one head of the attention at ``path`` (64 in every released Whisper)."""
        return self.d_model // (self.encoder_heads if path.startswith("encoder.") else self.decoder_heads)

    @property
    def depths(self) -> dict[str, int]:
        """How many layers ``encoder`` and ``decoder`` have."""
        return {"encoder": self.encoder_layers, "decoder": self.decoder_layers}

    @property
    def multilingual(self) -> bool:
        """Whether the vocabulary holds language and task tokens."""
        return self.n_vocab >= MULTILINGUAL_VOCAB


@dataclass(frozen=True)
class Module:
    """One named part of the model.

    Attributes:
        path: Canonical path, such as ``encoder.layers.0.self_attn.q_proj``.
        kind: ``linear``, ``embedding``, ``conv``, ``layer_norm``, ``positions`` or ``attention`` (a container).
        tensors: Canonical names of its own tensors; empty for a container.
    """

    path: str
    kind: str
    tensors: tuple[str, ...]


def check_dims(dims: Dims, place: str) -> Dims:
    """Refuses dimensions no Whisper has, before anything is allocated by them.

    Raises:
        UnsafeInputError: A field is not an integer in its bounds, or the fields contradict each other.
    """

    def refuse(message: str) -> UnsafeInputError:
        return UnsafeInputError(
            message, place=place, remedy="the file is corrupt or not a Whisper checkpoint; get a fresh copy"
        )

    for name, largest in _LARGEST.items():
        value = getattr(dims, name)
        if isinstance(value, bool) or not isinstance(value, int):
            raise refuse(f"{name} is {_short(value)}, expected an integer")
        if not 1 <= value <= largest:
            raise refuse(f"{name} is {_short(value)}, expected 1 to {largest}")
    if dims.n_mels not in (80, 128):
        raise refuse(f"n_mels is {dims.n_mels}, expected 80 or 128")
    for side, heads in (("encoder", dims.encoder_heads), ("decoder", dims.decoder_heads)):
        if dims.d_model % heads:
            raise refuse(f"{side}_heads is {heads}, which does not divide d_model {dims.d_model}")
    return dims


@cache
def modules(dims: Dims) -> tuple[Module, ...]:
    """Every module in graph order, attention containers before the projections they hold."""
    found = [
        _leaf("encoder.conv1", "conv"),
        _leaf("encoder.conv2", "conv"),
        _leaf("encoder.embed_positions", "positions", "weight"),
    ]
    for i in range(dims.encoder_layers):
        layer = f"encoder.layers.{i}"
        found += [*_attention(layer, "self_attn"), *_feed_forward(layer)]
    found += [
        _leaf("encoder.layer_norm", "layer_norm"),
        _leaf("decoder.embed_tokens", "embedding", "weight"),
        _leaf("decoder.embed_positions", "positions", "weight"),
    ]
    for i in range(dims.decoder_layers):
        layer = f"decoder.layers.{i}"
        found += [*_attention(layer, "self_attn"), *_attention(layer, "encoder_attn"), *_feed_forward(layer)]
    found.append(_leaf("decoder.layer_norm", "layer_norm"))
    return tuple(found)


def tensor_shapes(dims: Dims) -> dict[str, tuple[int, ...]]:
    """Every canonical tensor and its shape, in graph order.

    Shapes:
        Linear weights are (out, in), convolution weights (out, in, 3).
    """
    d = dims.d_model
    fixed: dict[str, tuple[int, ...]] = {
        "encoder.conv1.weight": (d, dims.n_mels, 3),
        "encoder.conv2.weight": (d, d, 3),
        "encoder.embed_positions.weight": (dims.n_audio_ctx, d),
        "decoder.embed_tokens.weight": (dims.n_vocab, d),
        "decoder.embed_positions.weight": (dims.n_text_ctx, d),
    }
    ffn = {"encoder": dims.encoder_ffn, "decoder": dims.decoder_ffn}
    shapes: dict[str, tuple[int, ...]] = {}
    for module in modules(dims):
        side, leaf = module.path.split(".")[0], module.path.rsplit(".")[-1]
        for name in module.tensors:
            if name in fixed:
                shape = fixed[name]
            elif name.endswith(".bias") or module.kind == "layer_norm":
                shape = (ffn[side],) if leaf == "fc1" else (d,)
            else:
                shape = {"fc1": (ffn[side], d), "fc2": (d, ffn[side])}.get(leaf, (d, d))
            shapes[name] = shape
    return shapes


def _leaf(path: str, kind: str, *names: str) -> Module:
    return Module(path, kind, tuple(f"{path}.{name}" for name in names or ("weight", "bias")))


def _attention(layer: str, name: str) -> list[Module]:
    """A pre-norm attention block; the key projection has no bias, as a constant there cancels in the softmax."""
    path = f"{layer}.{name}"
    return [
        _leaf(f"{path}_layer_norm", "layer_norm"),
        Module(path, "attention", ()),
        _leaf(f"{path}.q_proj", "linear"),
        _leaf(f"{path}.k_proj", "linear", "weight"),
        _leaf(f"{path}.v_proj", "linear"),
        _leaf(f"{path}.out_proj", "linear"),
    ]


def _feed_forward(layer: str) -> list[Module]:
    return [
        _leaf(f"{layer}.final_layer_norm", "layer_norm"),
        _leaf(f"{layer}.fc1", "linear"),
        _leaf(f"{layer}.fc2", "linear"),
    ]


def _short(value: object) -> str:
    """A value as text short enough for one line, whatever a hostile file put there."""
    # The size of an integer is tested first: printing one of thousands of digits is refused by Python itself.
    if isinstance(value, int) and value.bit_length() > 64:
        return f"an integer of {value.bit_length()} bits"
    if not isinstance(value, int | float | str | None):  # lists in lists can be written out without end
        return f"a {type(value).__name__}"
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
