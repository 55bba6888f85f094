"""Whisper's three attentions: over the audio, over the text so far (with its cache), and from text to audio."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import TensorProto

from fastwhisper_compress.emit.blocks import Stream, normalise, project_out
from fastwhisper_compress.emit.emitter import Emitter
from fastwhisper_compress.emit.graph import FLOAT, INT8, INT32, INT64, MS
from fastwhisper_compress.emit.linear import linear, packed_linear


@dataclass(frozen=True)
class TextPast:
    """What every decoder layer shares about the text before this call.

    Attributes:
        length: int32 (1,), how many tokens are in the cache.
        start: int64 (1,), the same number.
        total: int64 (1,), the number with this call's tokens.
        causal_bias: float (1, 1, length, total), 0 where a token may look and a large negative number where not;
            None where the fused operator masks by itself.
    """

    length: str
    start: str
    total: str
    causal_bias: str | None


@dataclass(frozen=True)
class Audio:
    """What a decoder layer attends to: ``key`` and ``value``, (batch, heads, audio length, head_dim)."""

    key: str
    value: str


@dataclass(frozen=True)
class Int8Audio(Audio):
    """The same in integers, which count steps from the middle of the range that a clip's channel has.

    Attributes:
        key_scale: What one step of the key means in each channel: float32 (batch, 1, heads * head_dim). Where the middle
            is need not be known: it adds the same to the scores of all positions, and a softmax does not see that.
        value_scale: What one step of the value means; likewise.
        value_middle: What a value of 0 means; likewise. Shares add up to 1, so it is added to any mix.
        length: int32 (), of the audio; empty where the encoder has just made it.
        lasts: int32 (batch,), its last position; likewise.
    """

    key_scale: str
    value_scale: str
    value_middle: str
    length: str = ""
    lasts: str = ""


def audio_length(e: Emitter, key: str) -> tuple[str, str]:
    """Write ``length`` and ``lasts`` of :class:`Int8Audio`, once for the whole decoder."""
    g = e.graph
    shape = g.node("Shape", [key], "audio.shape", "audio.shape", dtype=INT64, start=0, end=3)
    length = g.cast(g.node("Gather", [shape, g.const(2)], "audio.length", "audio.length", dtype=INT64), INT32)
    batch = g.node("Slice", [shape, g.const([0]), g.const([1])], "audio.batch", "audio.batch", dtype=INT64)
    last = g.node("Sub", [length, g.const(1, INT32)], "audio.last", "audio.last", dtype=INT32)
    return length, g.node("Expand", [last, batch], "audio.lasts", "audio.lasts", dtype=INT32)


def text_past(e: Emitter, ids: str, length: str, *, fused: bool) -> TextPast:
    """Write the values of :class:`TextPast`, once for the whole decoder.

    Args:
        e: The emitter.
        ids: int64 (batch, length), the tokens of this call.
        length: int32 (1,), the tokens before it.
        fused: Whether every self attention masks by itself.
    """
    g = e.graph
    start = g.cast(length, INT64)
    count = g.node("Shape", [ids], "tokens", "tokens", dtype=INT64, start=1, end=2)
    total = g.node("Add", [start, count], "tokens.total", "tokens.total", dtype=INT64)
    if fused:
        return TextPast(length, start, total, None)
    scalar = [g.node("Squeeze", [v], f"{v}.scalar", f"{v}.scalar", dtype=INT64) for v in (start, total)]
    zero, one = g.const(0), g.const(1)
    keys = g.node("Range", [zero, scalar[1], one], "keys", "keys", dtype=INT64)
    queries = g.node("Range", [scalar[0], scalar[1], one], "queries", "queries", dtype=INT64)
    column = g.node("Unsqueeze", [queries, g.const([1])], "queries.column", "queries.column", dtype=INT64)
    hidden = g.node("Greater", [keys, column], "causal.hidden", "causal.hidden", dtype=TensorProto.BOOL)
    kind = e.attention_type
    bias = g.node("Where", [hidden, g.const(-65504.0, kind), g.const(0.0, kind)], "causal", "causal", dtype=kind)
    return TextPast(
        length, start, total, g.node("Unsqueeze", [bias, g.const([0, 1])], "causal.bias", "causal.bias", dtype=kind)
    )


def audio_self_attention(e: Emitter, stream: Stream, path: str, then: str) -> Stream:
    """Write the encoder's attention of the layer at ``path``."""
    name = f"{path}.self_attn"
    x, normed = normalise(e, stream, f"{name}_layer_norm")
    q, k, v = (e.graph.cast(p, e.attention_type) for p in _projections(e, normed, name, "qkv"))
    if e.fused(name):
        mixed = _fused(e, [q, k, v], name)
    else:
        mixed = _plain(e, name, q, _split_heads(e, k, name), _split_heads(e, v, name))
    return Stream(x, *project_out(e, mixed, f"{name}.out_proj", then))


def text_self_attention(
    e: Emitter, stream: Stream, path: str, then: str, *, cache: tuple[str, str], past: TextPast
) -> tuple[Stream, str, str]:
    """Write the decoder's causal attention of the layer at ``path`` and the update of its cache.

    Args:
        e: The emitter.
        stream: The residual stream.
        path: The layer.
        then: The layer norm that follows.
        cache: Keys and values before this call, each (batch, heads, capacity, head_dim); only ``past.length`` rows
            hold something.
        past: What the layers share.

    Returns:
        The stream, and the keys and values after this call, of the same shape. A caller may bind them to the very
        buffers of ``cache``.
    """
    name = f"{path}.self_attn"
    x, normed = normalise(e, stream, f"{name}_layer_norm")
    packed = packed_linear(e, normed, f"{name}.qkv_proj", [f"{name}.{letter}_proj" for letter in "qkv"])
    q, k, v = (e.graph.cast(p, e.attention_type) for p in packed)
    presents = [f"{name}.present_key", f"{name}.present_value"]
    if e.fused(name) and past.causal_bias is None:
        mixed = _fused(e, [q, k, v, "", "", "", *cache, past.length], name, presents, unidirectional=1)
    else:
        pairs = zip(cache, (k, v), presents, strict=True)
        keys, values = (_append(e, old, _split_heads(e, new, name), out, past) for old, new, out in pairs)
        mixed = _plain(e, name, q, keys, values, bias=past.causal_bias)
    branch = project_out(e, mixed, f"{name}.out_proj", then)
    return Stream(x, *branch), presents[0], presents[1]


def cross_attention(
    e: Emitter, stream: Stream, path: str, then: str, *, audio: Audio, query: str | None = None
) -> Stream:
    """Write the attention from text to audio.

    Args:
        e: The emitter.
        stream: The residual stream.
        path: The layer.
        then: The layer norm that follows.
        audio: Keys and values. Where they are integers, the graph gets an output ``present_NAME`` for each, which must be
            bound to the buffer of the input NAME: it is not changed.
        query: The graph output that the queries are to be, (batch, tokens, heads * head_dim), in the key's units; None
            makes them none.
    """
    name = f"{path}.encoder_attn"
    x, normed = normalise(e, stream, f"{name}_layer_norm")
    q = e.graph.cast(linear(e, normed, f"{name}.q_proj"), e.attention_type)
    if isinstance(audio, Int8Audio):
        q = e.graph.node("Mul", [q, audio.key_scale], f"{name}.query", f"{name}.scale_query")
        mixed = _over_int8(e, q, audio, name)
    elif e.fused(name):
        mixed = _fused(e, [q, audio.key, audio.value], name)
    else:
        mixed = _plain(e, name, q, audio.key, audio.value)
    if query is not None:
        width = e.heads(name) * e.dims.head_dim(name)
        e.graph.output(query, e.graph.rename(q, query), e.attention_type, ["batch", "tokens", width])
    return Stream(x, *project_out(e, mixed, f"{name}.out_proj", then))


def cross_keys_values(e: Emitter, hidden: str, path: str) -> Audio:
    """Write the keys and values that the decoder layer at ``path`` will attend to.

    Shapes: ``hidden`` (batch, audio length, d_model).
    """
    name = f"{path}.encoder_attn"
    key, value = _projections(e, hidden, name, "kv")
    if name not in e.plan.cross_int8:
        return Audio(*(_split_heads(e, e.graph.cast(one, e.attention_type), name) for one in (key, value)))
    key, key_scale, _ = _rounded(e, key, name)
    value, value_scale, value_middle = _rounded(e, value, name)
    return Int8Audio(_split_heads(e, key, name), _split_heads(e, value, name), key_scale, value_scale, value_middle)


def _rounded(e: Emitter, x: str, name: str) -> tuple[str, str, str]:
    """Round float32 (batch, length, width) to int8, in each clip and channel over just the range of its values.

    Returns:
        The integers, of the same shape; what a step of them means, and the middle of the range: float32 (batch, 1, width).
    """
    g = e.graph

    def step(op: str, inputs: list[str], label: str, **attributes: Any) -> str:
        return g.node(op, inputs, f"{x}.{label}", f"{x}.{label}", **attributes)

    # ONNX Runtime reduces head by head, of 64 numbers a row, ten times as fast as rows of 512.
    heads, flat = _split_heads(e, x, name), g.const([0, 1, e.heads(name) * e.dims.head_dim(name)])
    most, least = (
        step("Reshape", [step(f"Reduce{which}", [heads, g.const([2])], f"{which}_by_head", keepdims=1), flat], which)
        for which in ("Max", "Min")
    )
    middle = step("Mul", [step("Add", [most, least], "sum"), g.const(0.5, FLOAT)], "middle")
    scale = step("Mul", [step("Sub", [most, least], "range"), g.const(1 / 254, FLOAT)], "step")
    scale = step("Max", [scale, g.const(1e-12, FLOAT)], "scale")  # a channel that does not change is divided by it, too
    steps = step("Div", [step("Sub", [x, middle], "centred"), scale], "steps")
    inputs = [steps, g.const(1.0, FLOAT), g.const(0, INT8)]
    return g.node("QuantizeLinear", inputs, f"{x}.int8", f"{x}.round", dtype=INT8), scale, middle


def _over_int8(e: Emitter, q: str, audio: Int8Audio, name: str) -> str:
    """Write attention to integers, by the operator that reads a quantised cache as it lies.

    It is grouped-query attention over a cache that is full already: its keys and values are the audio's, the new ones are
    of length 0. The cache that it insists on giving back is the one it was given. Its own scales are one for all clips, so
    those of each clip are multiplied into the queries before (the caller does) and into the mix behind.
    """
    g, heads, width = e.graph, e.heads(name), e.dims.head_dim(name)
    nothing = g.node("Slice", [q, g.const([0]), g.const([0]), g.const([1])], f"{name}.nothing", f"{name}.nothing")
    one = g.tensor(f"{name}.one", np.ones((1, heads, 1, width), np.float32))
    inputs = [q, nothing, nothing, audio.key, audio.value, audio.lasts, audio.length, *[""] * 5, one, one]
    same = [f"present_{value}" for value in (audio.key, audio.value)]
    mixed = g.node(
        "GroupQueryAttention", inputs, [f"{name}.steps_mixed", *same], name, domain=MS,
        dtype=(FLOAT, INT8, INT8), num_heads=heads, kv_num_heads=heads, causal=0, kv_cache_bit_width=8,
        k_quant_type="PER_CHANNEL", v_quant_type="PER_CHANNEL",
    )  # fmt: skip
    for value in same:
        g.output(value, value, INT8, ["batch", heads, "audio", width])
    g.fusions["attention_int8"] += 1
    mixed = g.node("Mul", [mixed, audio.value_scale], f"{name}.scaled_mix", f"{name}.scale_mix")
    return g.node("Add", [mixed, audio.value_middle], f"{name}.mixed", f"{name}.shift_mix")


def _projections(e: Emitter, x: str, name: str, which: str) -> list[str]:
    """Write projections of the audio one by one: packed into one, they would cost a copy of all to split them again.

    The text's are packed: of so few rows a copy is nothing, and a node more in each layer is something.
    """
    return [linear(e, x, f"{name}.{letter}_proj") for letter in which]


def _fused(e: Emitter, inputs: list[str], name: str, extra: list[str] | None = None, **attributes: int) -> str:
    e.graph.fusions["attention"] += 1
    outputs = [f"{name}.mixed", *(extra or [])]
    return e.graph.node(
        "MultiHeadAttention", inputs, outputs, name, domain=MS, dtype=e.attention_type, num_heads=e.heads(name),
        **attributes,
    )  # fmt: skip


def _plain(e: Emitter, name: str, q: str, key: str, value: str, *, bias: str | None = None) -> str:
    """Write softmax(q k / sqrt(head_dim) + bias) v with standard operators; key and value have their heads split."""
    g, kind = e.graph, e.attention_type

    def step(op: str, inputs: list[str], label: str, **attributes: Any) -> str:
        return g.node(op, inputs, f"{name}.{label}", f"{name}.{label}", dtype=kind, **attributes)

    scaled = step("Mul", [_split_heads(e, q, name), g.const(e.dims.head_dim(name) ** -0.5, kind)], "scaled_query")
    turned = step("Transpose", [key], "turned_key", perm=[0, 1, 3, 2])
    scores = step("MatMul", [scaled, turned], "scores")
    if bias is not None:
        scores = step("Add", [scores, bias], "masked")
    shares = step("Softmax", [scores], "shares", axis=-1)
    heads = step("Transpose", [step("MatMul", [shares, value], "head_mix")], "by_position", perm=[0, 2, 1, 3])
    return step("Reshape", [heads, g.const([0, 0, e.heads(name) * e.dims.head_dim(name)])], "mixed")


def _split_heads(e: Emitter, x: str, name: str) -> str:
    """Turn (batch, length, heads * head_dim) into (batch, heads, length, head_dim)."""
    g, kind = e.graph, e.graph.type_of(x)
    shape = g.const([0, 0, e.heads(name), e.dims.head_dim(name)])
    split = g.node("Reshape", [x, shape], f"{x}.split", f"{x}.split", dtype=kind)
    return g.node("Transpose", [split], f"{x}.heads", f"{x}.heads", dtype=kind, perm=[0, 2, 1, 3])


def _append(e: Emitter, cache: str, new: str, present: str, past: TextPast) -> str:
    """Write ``new`` into the cache behind what it holds; return the part of it that holds something."""
    g, kind, axis = e.graph, e.attention_type, e.graph.const([2])
    before = g.node(
        "Slice", [cache, g.const([0]), past.start, axis], f"{present}.before", f"{present}.before", dtype=kind
    )
    after = g.node(
        "Slice", [cache, past.total, g.const([2**31 - 1]), axis], f"{present}.after", f"{present}.after", dtype=kind
    )
    g.node("Concat", [before, new, after], present, present, dtype=kind, axis=2)
    return g.node(
        "Slice", [present, g.const([0]), past.total, axis], f"{present}.filled", f"{present}.filled", dtype=kind
    )
