"""A writer of CTranslate2's ``model.bin``, which also lies when asked to."""

from __future__ import annotations

import struct

CT2_CODES = {"float32": 0, "int8": 1, "int16": 2, "float16": 4, "bfloat16": 5}


def ct2_bytes(variables, aliases=(("decoder/projection/weight", "decoder/embeddings/weight"),), version=6):
    """A ``model.bin``; a variable may also be a (shape, type code, bytes) triple, for lies."""

    def string(text):
        raw = text.encode() + b"\0"
        return struct.pack("<H", len(raw)) + raw

    parts = [struct.pack("<I", version), string("WhisperSpec"), struct.pack("<II", 3, len(variables))]
    for name, value in variables.items():
        is_lie = isinstance(value, tuple)
        shape, code, data = value if is_lie else (value.shape, CT2_CODES[str(value.dtype)], value.tobytes())
        head = struct.pack(f"<B{len(shape)}IBI", len(shape), *shape, code, len(data))
        parts += [string(name), head, data]
    parts.append(struct.pack("<I", len(aliases)))
    parts += [string(text) for pair in aliases for text in pair]
    return b"".join(parts)
