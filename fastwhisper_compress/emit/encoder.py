"""The audio encoder: log-mel in, the decoder's cross-attention keys and values out."""

from __future__ import annotations

from fastwhisper_compress.checkpoint.dims import Dims
from fastwhisper_compress.emit.attention import Int8Audio, audio_self_attention, cross_keys_values
from fastwhisper_compress.emit.blocks import Stream, normalise
from fastwhisper_compress.emit.emitter import Emitter
from fastwhisper_compress.emit.feed_forward import mlp
from fastwhisper_compress.emit.graph import FLOAT, INT64
from fastwhisper_compress.emit.linear import bias


def write_encoder(e: Emitter, dims: Dims) -> None:
    """Write the encoder graph.

    Shapes: input ``mel`` float32 (batch, n_mels, frames), an even number of frames, at most 2 * n_audio_ctx; outputs
    ``hidden`` float32 (batch, frames / 2, d_model) and for every decoder layer i ``cross_key.i``, ``cross_value.i``
    (batch, heads, frames / 2, head_dim) in the type of the KV cache, or int8; then also ``cross_key_scale.i``,
    ``cross_value_scale.i`` and ``cross_value_middle.i`` float32 (batch, 1, heads * head_dim).
    """
    g = e.graph
    mel = g.input("mel", FLOAT, ["batch", dims.n_mels, "frames"])
    x = _conv(e, mel, "encoder.conv1", stride=1)
    x = _conv(e, x, "encoder.conv2", stride=2)
    x = g.node("Transpose", [x], "encoder.by_frame", "encoder.by_frame", perm=[0, 2, 1])
    length = g.node("Shape", [x], "encoder.length", "encoder.length", dtype=INT64, start=1, end=2)
    table = positions(e, "encoder.embed_positions", kernel="Slice", node="encoder.positions")
    place = g.node("Slice", [table, g.const([0]), length], "encoder.positions", "encoder.positions")
    x = g.node("Add", [x, place], "encoder.stem", "encoder.stem")

    stream = Stream(x)
    for i in range(dims.encoder_layers):
        path = f"encoder.layers.{i}"
        last = i + 1 == dims.encoder_layers
        after = "encoder.layer_norm" if last else f"encoder.layers.{i + 1}.self_attn_layer_norm"
        stream = audio_self_attention(e, stream, path, then=f"{path}.final_layer_norm")
        stream = mlp(e, stream, path, then=after)
    _, hidden = normalise(e, stream, "encoder.layer_norm")
    told = hidden
    if e.plan.hidden_scale is not None:  # the projections below read it smoothed; whoever asks gets the model's own
        scale = g.tensor("encoder.hidden_scale", e.plan.hidden_scale)
        told = g.node("Mul", [hidden, scale], "encoder.unsmoothed", "encoder.unsmooth")
    g.output("hidden", told, FLOAT, ["batch", "audio", dims.d_model])

    for i in range(dims.decoder_layers):
        audio = cross_keys_values(e, hidden, f"decoder.layers.{i}")
        heads = e.heads(f"decoder.layers.{i}.encoder_attn")
        width = dims.head_dim("decoder.")
        for part, value in (("key", audio.key), ("value", audio.value)):
            g.output(f"cross_{part}.{i}", value, g.type_of(value), ["batch", heads, "audio", width])
        if isinstance(audio, Int8Audio):
            named = {"key_scale": audio.key_scale, "value_scale": audio.value_scale, "value_middle": audio.value_middle}
            for part, value in named.items():
                g.output(f"cross_{part}.{i}", value, FLOAT, ["batch", 1, heads * width])


def positions(e: Emitter, path: str, *, kernel: str, node: str) -> str:
    """Return the position embeddings as float32 (n_ctx, d_model), stored as the plan says, for the node to come."""
    weight, stored = e.stored(path)
    e.record(path, "positions", kernel, node, weight, stored=stored)
    return e.graph.cast(weight, FLOAT)


def _conv(e: Emitter, x: str, path: str, *, stride: int) -> str:
    """Write a convolution over time (kernel 3) and its GELU.

    Shapes: ``x`` float32 (batch, channels, frames) -> float32 (batch, d_model, frames / stride).
    """
    g = e.graph
    kind = e.compute_type(e.plan.of(path))
    weight, stored = e.stored(path)
    inputs = [g.cast(x, kind), g.cast(weight, kind), bias(e, path, kind)]
    out = g.node("Conv", inputs, f"{path}.out", path, dtype=kind, kernel_shape=[3], pads=[1, 1], strides=[stride])
    e.record(path, "conv", "Conv", path, weight, stored=stored + 4 * e.weight(path).shape[0])
    return g.cast(g.node("Gelu", [out], f"{path}.gelu", f"{path}.gelu", dtype=kind), FLOAT)
