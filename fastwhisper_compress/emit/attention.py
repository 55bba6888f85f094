"""Whisper's three attentions: over the audio, over the text so far (with its cache), and from text to audio."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from onnx import TensorProto

from fastwhisper_compress.emit.blocks import Stream, normalise, project_out
from fastwhisper_compress.emit.emitter import Emitter
from fastwhisper_compress.emit.graph import INT64, MS
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
    e: Emitter, stream: Stream, path: str, then: str, *, audio: tuple[str, str], query: str | None = None
) -> Stream:
    """Write the attention from text to audio.

    Args:
        e: The emitter.
        stream: The residual stream.
        path: The layer.
        then: The layer norm that follows.
        audio: Keys and values, (batch, heads, audio length, head_dim) each.
        query: The graph output that the queries are to be, (batch, tokens, heads * head_dim); None makes them none.
    """
    key, value = audio
    name = f"{path}.encoder_attn"
    x, normed = normalise(e, stream, f"{name}_layer_norm")
    q = e.graph.cast(linear(e, normed, f"{name}.q_proj"), e.attention_type)
    mixed = _fused(e, [q, key, value], name) if e.fused(name) else _plain(e, name, q, key, value)
    if query is not None:
        width = e.heads(name) * e.dims.head_dim(name)
        e.graph.output(query, e.graph.rename(q, query), e.attention_type, ["batch", "tokens", width])
    return Stream(x, *project_out(e, mixed, f"{name}.out_proj", then))


def cross_keys_values(e: Emitter, audio: str, path: str) -> tuple[str, str]:
    """Write the keys and values that the decoder layer at ``path`` will attend to.

    Shapes: ``audio`` (batch, audio length, d_model) -> two values (batch, heads, audio length, head_dim).
    """
    name = f"{path}.encoder_attn"
    key, value = (_split_heads(e, e.graph.cast(p, e.attention_type), name) for p in _projections(e, audio, name, "kv"))
    return key, value


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
