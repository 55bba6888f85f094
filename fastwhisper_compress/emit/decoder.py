"""The text decoder: one graph for the prompt (many tokens, empty cache) and for every step after it."""

from __future__ import annotations

from collections.abc import Collection

from fastwhisper_compress.checkpoint.dims import Dims
from fastwhisper_compress.emit.attention import cross_attention, text_past, text_self_attention
from fastwhisper_compress.emit.blocks import Stream, normalise
from fastwhisper_compress.emit.embedding import tied_logits, token_embedding
from fastwhisper_compress.emit.emitter import Emitter
from fastwhisper_compress.emit.encoder import positions
from fastwhisper_compress.emit.feed_forward import mlp
from fastwhisper_compress.emit.graph import FLOAT, INT32, INT64


def write_decoder(e: Emitter, dims: Dims, aligned: Collection[int] = ()) -> None:
    """Write the decoder graph.

    Args:
        e: The emitter.
        dims: Dimensions.
        aligned: Layers with heads that follow time. Their queries are outputs, for whoever wants to know when a word was
            said; who does not fetch them pays nothing for them.

    Shapes: inputs ``input_ids`` int64 (batch, tokens), ``past_length`` int32 (1,), and for every layer i
    ``past_key.i``, ``past_value.i`` (batch, heads, n_text_ctx, head_dim), ``cross_key.i``, ``cross_value.i`` (batch,
    heads, audio length, head_dim); outputs ``logits`` float32 (batch, n_vocab) of the last token, and ``present_key.i``,
    ``present_value.i`` like the past, which may be bound to the same buffers; for every aligned layer i
    ``cross_query.i`` (batch, tokens, heads * head_dim), which meet ``cross_key.i``.
    """
    g = e.graph
    ids = g.input("input_ids", INT64, ["batch", "tokens"])
    length = g.input("past_length", INT32, [1])
    layers = [f"decoder.layers.{i}" for i in range(dims.decoder_layers)]
    caches, audio = [], []
    for i, path in enumerate(layers):
        caches.append(_pair(e, "past", f"{path}.self_attn", i, dims.n_text_ctx))
        audio.append(_pair(e, "cross", f"{path}.encoder_attn", i, "audio"))

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


def _pair(e: Emitter, prefix: str, attention: str, layer: int, length: int | str) -> tuple[str, str]:
    shape: list[int | str] = ["batch", e.heads(attention), length, e.dims.head_dim(attention)]
    key, value = (e.graph.input(f"{prefix}_{part}.{layer}", e.attention_type, shape) for part in ("key", "value"))
    return key, value


def _last_token(e: Emitter, stream: Stream) -> Stream:
    """Keep the last position alone: nobody asks for the logits of a prompt's earlier tokens."""
    g = e.graph

    def last(value: str) -> str:
        name = f"{value}.last"
        inputs = [value, g.const([-1]), g.const([2**31 - 1]), g.const([1])]
        return g.node("Slice", inputs, name, name, dtype=g.type_of(value))

    return Stream(last(stream.x), last(stream.branch) if stream.branch else None, stream.branch_bias)
