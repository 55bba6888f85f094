"""The text decoder: one graph for the prompt (many tokens, empty cache) and for every step after it."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from fastwhisper_compress.checkpoint.dims import Dims
from fastwhisper_compress.emit.attention import (
    Audio,
    Int8Audio,
    audio_length,
    cross_attention,
    text_past,
    text_self_attention,
)
from fastwhisper_compress.emit.blocks import Stream, normalise
from fastwhisper_compress.emit.embedding import tied_logits, token_embedding
from fastwhisper_compress.emit.emitter import Emitter
from fastwhisper_compress.emit.encoder import positions
from fastwhisper_compress.emit.feed_forward import mlp
from fastwhisper_compress.emit.graph import FLOAT, INT8, INT32, INT64


def write_decoder(e: Emitter, dims: Dims, aligned: Collection[int] = ()) -> None:
    """Write the decoder graph.

    Args:
        e: The emitter.
        dims: Dimensions.
        aligned: Layers with heads that follow time. Their queries are outputs, for whoever wants to know when a word was
            said; who does not fetch them pays nothing for them.

    Shapes: inputs ``input_ids`` int64 (batch, tokens), ``past_length`` int32 (1,), and for every layer i
    ``past_key.i``, ``past_value.i`` (batch, heads, n_text_ctx, head_dim), ``cross_key.i``, ``cross_value.i`` (batch,
    heads, audio length, head_dim), which may be int8 and then come with ``cross_key_scale.i``,
    ``cross_value_scale.i`` and ``cross_value_middle.i`` float32 (batch, 1, heads * head_dim); outputs ``logits`` float32 (batch, n_vocab) of the last token, and ``present_key.i``,
    ``present_value.i`` like the past, which may be bound to the same buffers; for every aligned layer i
    ``cross_query.i`` (batch, tokens, heads * head_dim), which meet ``cross_key.i`` as it lies.
    """
    g = e.graph
    ids = g.input("input_ids", INT64, ["batch", "tokens"])
    length = g.input("past_length", INT32, [1])
    layers = [f"decoder.layers.{i}" for i in range(dims.decoder_layers)]
    caches: list[tuple[str, str]] = []
    audio: list[Audio] = []
    for i, path in enumerate(layers):
        caches.append(_pair(e, "past", f"{path}.self_attn", i, dims.n_text_ctx, e.attention_type))
        audio.append(_audio(e, f"{path}.encoder_attn", i, audio))

    fused = e.plan.provider == "cpu" and all(e.fused(f"{path}.self_attn") for path in layers)
    past = text_past(e, ids, length, fused=fused)
    rows = [
        positions(e, "decoder.embed_positions", kernel="Slice", node="decoder.positions"),
        past.start,
        past.total,
        g.const([0]),
    ]
    place = g.node("Slice", rows, "decoder.positions", "decoder.positions")
    token = token_embedding(e, ids, "decoder.embed_tokens")
    stream = Stream(g.node("Add", [token, place], "decoder.stem", "decoder.stem"))

    for i, path in enumerate(layers):
        after = "decoder.layer_norm" if path == layers[-1] else f"{layers[i + 1]}.self_attn_layer_norm"
        stream, key, value = text_self_attention(
            e, stream, path, f"{path}.encoder_attn_layer_norm", cache=caches[i], past=past
        )
        heads = e.heads(f"{path}.self_attn")
        for name, present in ((f"present_key.{i}", key), (f"present_value.{i}", value)):
            g.output(name, present, e.attention_type, ["batch", heads, dims.n_text_ctx, dims.head_dim(path)])
        query = f"cross_query.{i}" if i in aligned else None
        stream = cross_attention(e, stream, path, f"{path}.final_layer_norm", audio=audio[i], query=query)
        stream = mlp(e, stream, path, after)

    _, normed = normalise(e, _last_token(e, stream), "decoder.layer_norm")
    row = g.node("Squeeze", [normed, g.const([1])], "decoder.last", "decoder.last")
    g.output("logits", tied_logits(e, row, "decoder.embed_tokens"), FLOAT, ["batch", dims.n_vocab])


def _audio(e: Emitter, attention: str, layer: int, before: Sequence[Audio]) -> Audio:
    """Declare what a layer attends to; ``before`` are the layers before it."""
    if attention not in e.plan.cross_int8:
        return Audio(*_pair(e, "cross", attention, layer, "audio", e.attention_type))
    key, value = _pair(e, "cross", attention, layer, "audio", INT8)
    shape: list[int | str] = ["batch", 1, e.heads(attention) * e.dims.head_dim(attention)]
    parts = ("key_scale", "value_scale", "value_middle")
    key_scale, value_scale, value_middle = (e.graph.input(f"cross_{part}.{layer}", FLOAT, shape) for part in parts)
    known = next((one for one in before if isinstance(one, Int8Audio)), None)
    length, lasts = audio_length(e, key) if known is None else (known.length, known.lasts)
    return Int8Audio(key, value, key_scale, value_scale, value_middle, length, lasts)


def _pair(e: Emitter, prefix: str, attention: str, layer: int, length: int | str, kind: int) -> tuple[str, str]:
    shape: list[int | str] = ["batch", e.heads(attention), length, e.dims.head_dim(attention)]
    key, value = (e.graph.input(f"{prefix}_{part}.{layer}", kind, shape) for part in ("key", "value"))
    return key, value


def _last_token(e: Emitter, stream: Stream) -> Stream:
    """Keep the last position alone: nobody asks for the logits of a prompt's earlier tokens."""
    g = e.graph

    def last(value: str) -> str:
        name = f"{value}.last"
        inputs = [value, g.const([-1]), g.const([2**31 - 1]), g.const([1])]
        return g.node("Slice", inputs, name, name, dtype=g.type_of(value))

    return Stream(last(stream.x), last(stream.branch) if stream.branch else None, stream.branch_bias)
