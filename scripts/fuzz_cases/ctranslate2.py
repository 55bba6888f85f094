"""``model.bin`` files of a few kilobytes: a Whisper of width four, with its fields forged and its bytes damaged."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np

from fuzz_cases.bytewise import damaged

_WIDTH, _FFN, _VOCAB, _MELS, _HEARD, _WRITTEN = 4, 8, 12, 80, 6, 5
_FLOAT32, _INT8, _INT16, _FLOAT16 = 0, 1, 2, 4
_SIZES = (0, 1, 2, 3, 7, 255, 256, 2**15, 2**16 - 1, 2**16, 2**24, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1)
_NAMES = (
    *(
        b"",
        b"\0",
        b"encoder",
        b"encoder/",
        b"/",
        b"//",
        b"encoder/layer_/ffn/linear_0/weight",
        b"encoder/layer_0/x/weight",
    ),
    *(
        b"encoder/layer_-1/ffn/linear_0/weight",
        b"encoder/layer_999999/ffn/linear_0/weight",
        b"decoder/layer_1.2/ffn/linear_0/bias",
    ),
    *(
        b"encoder/num_heads",
        b"decoder/alibi",
        b"decoder/activation",
        b"encoder/alignment_heads",
        b"decoder/projection/weight",
    ),
    *(
        b"encoder/conv1/gamma",
        b"encoder/conv1/weight_scale",
        b"../../x",
        b"\x1b[2J",
        b"\xff\xfe",
        b"a" * 201,
        b"b" * 70_000,
    ),
)
_WORDS = tuple(
    [struct.pack("<I", size % 2**32) for size in _SIZES]
    + [struct.pack("<H", 3) + b"ab\0", b"\0" * 8, b"\xff" * 8, b"WhisperSpec\0"]
)


@dataclass
class _Variable:
    """One variable as it is written; what is None follows from the rest."""

    name: bytes
    shape: tuple[int, ...]
    code: int
    data: bytes
    rank: int | None = None
    n_bytes: int | None = None

    def written(self) -> bytes:
        rank = len(self.shape) if self.rank is None else self.rank
        n_bytes = len(self.data) if self.n_bytes is None else self.n_bytes
        head = struct.pack(f"<B{len(self.shape)}IBI", rank, *self.shape, self.code, n_bytes)
        return _string(self.name) + head + self.data


@dataclass
class _File:
    """A whole file; counts that are None are right."""

    variables: list[_Variable]
    aliases: list[tuple[bytes, bytes]] = field(
        default_factory=lambda: [(b"decoder/projection/weight", b"decoder/embeddings/weight")]
    )
    version: int = 6
    spec: bytes = b"WhisperSpec"
    n_variables: int | None = None
    n_aliases: int | None = None

    def written(self) -> bytes:
        n = len(self.variables) if self.n_variables is None else self.n_variables
        n_aliases = len(self.aliases) if self.n_aliases is None else self.n_aliases
        head = struct.pack("<I", self.version) + _string(self.spec) + struct.pack("<II", 3, n)
        tail = b"".join(_string(name) for pair in self.aliases for name in pair)
        return head + b"".join(v.written() for v in self.variables) + struct.pack("<I", n_aliases) + tail


def ctranslate2_case(seed: int) -> tuple[str, bytes]:
    """Return the suffix and the bytes of a ``model.bin``."""
    rng = random.Random(f"ctranslate2 {seed}")  # noqa: S311 - reproducible, no secret
    file = _File([replace(v) for v in _whole()])
    how = rng.random()
    if how < 0.7:
        for _ in range(rng.choice((1, 1, 2, 5))):
            rng.choice(_FORGERIES)(rng, file)
    data = file.written()
    return ".bin", data if 0.05 < how < 0.7 else damaged(rng, data, _WORDS, [_File(list(_whole())).written()])


@cache
def _whole() -> tuple[_Variable, ...]:
    """What a Whisper of one layer a side consists of."""
    noise = np.random.default_rng(0)

    def floats(name: str, *shape: int) -> _Variable:
        values = noise.standard_normal(shape, dtype=np.float32).astype(np.float16)
        return _Variable(name.encode(), shape, _FLOAT16, values.tobytes())

    def linear(name: str, out: int, into: int) -> list[_Variable]:  # without bias, since keys have none
        return [
            floats(f"{name}/weight", out, into),
            _Variable(f"{name}/bias".encode(), (out,), _FLOAT16, bytes(2 * out)),
        ]

    def norm(name: str) -> list[_Variable]:
        return [floats(f"{name}/gamma", _WIDTH), floats(f"{name}/beta", _WIDTH)]

    heads = struct.pack("<h", 2)
    found = [_Variable(f"{side}/num_heads".encode(), (), _INT16, heads) for side in ("encoder", "decoder")]
    found += [_Variable(b"decoder/activation", (), _INT8, b"\3"), _Variable(b"decoder/alibi", (), _INT8, b"\0")]
    for name, channels in (("conv1", _MELS), ("conv2", _WIDTH)):
        found += [floats(f"encoder/{name}/weight", _WIDTH, channels, 3), floats(f"encoder/{name}/bias", _WIDTH)]
    found.append(floats("decoder/embeddings/weight", _VOCAB, _WIDTH))
    for side, positions in (("encoder", _HEARD), ("decoder", _WRITTEN)):
        layer = f"{side}/layer_0"
        found += [floats(f"{side}/position_encodings/encodings", positions, _WIDTH), *norm(f"{side}/layer_norm")]
        found += [*norm(f"{layer}/self_attention/layer_norm"), *norm(f"{layer}/ffn/layer_norm")]
        found += linear(f"{layer}/self_attention/linear_0", 3 * _WIDTH, _WIDTH)
        found += linear(f"{layer}/self_attention/linear_1", _WIDTH, _WIDTH)
        found += [*linear(f"{layer}/ffn/linear_0", _FFN, _WIDTH), *linear(f"{layer}/ffn/linear_1", _WIDTH, _FFN)]
    layer = "decoder/layer_0/attention"
    found += [*norm(f"{layer}/layer_norm"), *linear(f"{layer}/linear_0", _WIDTH, _WIDTH)]
    found += [*linear(f"{layer}/linear_1", 2 * _WIDTH, _WIDTH), *linear(f"{layer}/linear_2", _WIDTH, _WIDTH)]
    return tuple(found)


def _string(text: bytes) -> bytes:
    raw = text + b"\0"
    return struct.pack("<H", len(raw) % 2**16) + raw


def _any(rng: random.Random, file: _File) -> _Variable:
    return rng.choice(file.variables or [_Variable(b"x", (), _INT8, b"\1")])


def _forged_shape(rng: random.Random, file: _File) -> None:
    """Another length along one axis, or axes exchanged, with the bytes that this asks for or without."""
    variable = _any(rng, file)
    if not variable.shape:
        variable.shape = (rng.choice(_SIZES) % 2**32,)
        return
    sizes, axis = list(variable.shape), rng.randrange(len(variable.shape))
    sizes[axis] = rng.choice((*(size % 2**32 for size in _SIZES), sizes[axis] + 1, sizes[axis] - 1, sizes[axis] * 2))
    variable.shape = rng.choice((tuple(sizes), variable.shape[::-1], (*variable.shape, 1), variable.shape[1:]))
    count = int(np.prod(variable.shape, dtype=np.float64))
    if count < 10_000 and rng.random() < 0.7:
        variable.data = bytes(2 * count)


def _forged_type(rng: random.Random, file: _File) -> None:
    variable = _any(rng, file)
    width = {0: 4, 1: 1, 2: 2, 3: 4, 4: 2, 5: 2}
    code = rng.choice((*width, 6, 255))
    if rng.random() < 0.7:
        count = len(variable.data) // width[variable.code] if variable.code in width else 0
        variable.data = rng.choice((bytes, rng.randbytes))(count * width.get(code, 1))
    variable.code = code


def _forged_size(rng: random.Random, file: _File) -> None:
    _any(rng, file).n_bytes = rng.choice(_SIZES) % 2**32


def _forged_rank(rng: random.Random, file: _File) -> None:
    _any(rng, file).rank = rng.choice((0, 1, 2, 8, 9, 255))


def _forged_values(rng: random.Random, file: _File) -> None:
    """NaN, infinity or an option that Whisper does not have."""
    variable = _any(rng, file)
    special = struct.pack("<e", rng.choice((float("nan"), float("inf"), 65504.0)))
    variable.data = rng.choice((special * (len(variable.data) // 2), rng.randbytes(len(variable.data))))


def _renamed(rng: random.Random, file: _File) -> None:
    _any(rng, file).name = rng.choice(
        (*_NAMES, _any(rng, file).name, _any(rng, file).name.replace(b"layer_0", b"layer_1"))
    )


def _left_out(rng: random.Random, file: _File) -> None:
    if file.variables:
        del file.variables[rng.randrange(len(file.variables))]


def _added(rng: random.Random, file: _File) -> None:
    file.variables.append(replace(_any(rng, file), name=rng.choice((*_NAMES, _any(rng, file).name))))


def _forged_aliases(rng: random.Random, file: _File) -> None:
    name = _any(rng, file).name
    file.aliases = rng.choice(
        ([], [(b"a", name)], [(name, name)], [(b"a", b"b")], file.aliases * 2, [(b"a", b"a")] * 200)
    )


def _forged_head(rng: random.Random, file: _File) -> None:
    match rng.randrange(4):
        case 0:
            file.version = rng.choice((0, 5, 7, 2**32 - 1))
        case 1:
            file.spec = rng.choice((b"TransformerSpec", b"", b"\xff", b"W" * 300))
        case 2:
            file.n_variables = rng.choice(_SIZES) % 2**32
        case _:
            file.n_aliases = rng.choice(_SIZES) % 2**32


def _shuffled(rng: random.Random, file: _File) -> None:
    """Another order, which means the same."""
    rng.shuffle(file.variables)


_FORGERIES: tuple[Callable[[random.Random, _File], None], ...] = (
    *(_forged_shape, _forged_type, _forged_size, _forged_rank, _forged_values, _forged_aliases, _forged_head),
    *(_renamed, _left_out, _added, _shuffled),
)
