"""A Hugging Face folder to sherpa-onnx's two graphs and token list: ``SOURCE TARGET PRECISION``.

The layout is that of its own export: the encoder takes any length and returns the decoder's cross keys and values, the
decoder's self-attention cache has its full length, INT8 is dynamic on every MatMul with constant weights.
"""

from __future__ import annotations

import base64
import importlib
import sys
from pathlib import Path
from typing import Any

from bench_peers.converters.tokenizer import read_json, special_tokens, token_bytes

_OPSET = 17


def _networks(torch: Any, model: Any) -> tuple[Any, Any]:
    """Return encoder and decoder as modules over the weights of a transformers model."""
    functional = torch.nn.functional
    heads = model.config.encoder_attention_heads

    def attend(attention: Any, query: Any, key: Any, value: Any, mask: Any = None) -> Any:
        """Shapes: query (n, t, d), key and value (n, s, d), mask (t, s) -> (n, t, d)."""

        def split(x: Any) -> Any:
            return x.view(x.shape[0], x.shape[1], heads, -1).permute(0, 2, 1, 3)

        query = split(attention.q_proj(query) * attention.scaling)
        weights = query @ split(key).transpose(-1, -2)
        weights = torch.softmax(weights if mask is None else weights + mask, dim=-1)
        return attention.out_proj((weights @ split(value)).permute(0, 2, 1, 3).flatten(2))

    def feed_forward(layer: Any, x: Any) -> Any:
        return x + layer.fc2(functional.gelu(layer.fc1(layer.final_layer_norm(x))))

    class Encoder(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.net, self.decoder = model.model.encoder, model.model.decoder

        def forward(self, mel: Any) -> Any:
            x = functional.gelu(self.net.conv1(mel))
            x = functional.gelu(self.net.conv2(x)).permute(0, 2, 1)
            x = x + self.net.embed_positions.weight[: x.shape[1]]
            for layer in self.net.layers:
                y = layer.self_attn_layer_norm(x)
                x = x + attend(layer.self_attn, y, layer.self_attn.k_proj(y), layer.self_attn.v_proj(y))
                x = feed_forward(layer, x)
            x = self.net.layer_norm(x)
            cross = [layer.encoder_attn for layer in self.decoder.layers]
            return torch.stack([one.k_proj(x) for one in cross]), torch.stack([one.v_proj(x) for one in cross])

    class Decoder(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.net = model.model.decoder

        def forward(self, tokens: Any, keys: Any, values: Any, cross_k: Any, cross_v: Any, offset: Any) -> Any:
            begin = offset[0]
            end = begin + tokens.shape[1]
            positions = torch.arange(keys.shape[2])
            seen = positions[None, :end] <= positions[begin:end, None]
            mask = torch.where(seen, 0.0, float("-inf"))
            x = self.net.embed_tokens(tokens) + self.net.embed_positions.weight[begin:end]
            new_keys, new_values = [], []
            for i, layer in enumerate(self.net.layers):
                y = layer.self_attn_layer_norm(x)
                key = torch.cat([keys[i, :, :begin], layer.self_attn.k_proj(y)], dim=1)
                value = torch.cat([values[i, :, :begin], layer.self_attn.v_proj(y)], dim=1)
                new_keys.append(torch.cat([key, keys[i, :, end:]], dim=1))
                new_values.append(torch.cat([value, values[i, :, end:]], dim=1))
                x = x + attend(layer.self_attn, y, key, value, mask)
                x = x + attend(layer.encoder_attn, layer.encoder_attn_layer_norm(x), cross_k[i], cross_v[i])
                x = feed_forward(layer, x)
            logits = self.net.layer_norm(x) @ self.net.embed_tokens.weight.T
            return logits, torch.stack(new_keys), torch.stack(new_values)

    return Encoder().eval(), Decoder().eval()


def convert(source: Path, target: Path, precision: str) -> None:
    """Write ``encoder.onnx``, ``decoder.onnx`` and ``tokens.txt`` into an existing folder."""
    torch = importlib.import_module("torch")
    onnx = importlib.import_module("onnx")
    model = importlib.import_module("transformers").WhisperForConditionalGeneration.from_pretrained(
        source, dtype=torch.float32
    )
    config = model.config
    encoder, decoder = _networks(torch, model)
    cache = torch.zeros(config.decoder_layers, 1, config.max_target_positions, config.d_model)
    cross = torch.zeros(config.decoder_layers, 1, config.max_source_positions, config.d_model)
    names = ("in_n_layer_self_k_cache", "in_n_layer_self_v_cache", "n_layer_cross_k", "n_layer_cross_v")
    with torch.inference_mode():
        torch.onnx.export(
            encoder,
            (torch.zeros(1, config.num_mel_bins, 2 * config.max_source_positions),),
            target / "encoder.onnx",
            input_names=["mel"],
            output_names=["n_layer_cross_k", "n_layer_cross_v"],
            dynamic_axes={"mel": {0: "n", 2: "T"}} | {name: {1: "n", 2: "T2"} for name in names[2:]},
            opset_version=_OPSET,
            dynamo=False,
        )
        torch.onnx.export(
            decoder,
            (torch.zeros(1, 3, dtype=torch.int64), cache, cache, cross, cross, torch.zeros(1, dtype=torch.int64)),
            target / "decoder.onnx",
            input_names=["tokens", *names, "offset"],
            output_names=["logits", "out_n_layer_self_k_cache", "out_n_layer_self_v_cache"],
            dynamic_axes={"tokens": {0: "n", 1: "n_tokens"}}
            | {name: {1: "n"} for name in (*names[:2], "out_n_layer_self_k_cache", "out_n_layer_self_v_cache")}
            | {name: {1: "n", 2: "T2"} for name in names[2:]}
            | {"logits": {0: "n", 1: "n_tokens"}},
            opset_version=_OPSET,
            dynamo=False,
        )
    _share_embedding(onnx, target / "decoder.onnx")
    if precision == "int8":
        quantization = importlib.import_module("onnxruntime.quantization")
        for name in ("encoder.onnx", "decoder.onnx"):
            quantization.quantize_dynamic(
                target / name,
                target / name,
                op_types_to_quantize=["MatMul"],
                weight_type=quantization.QuantType.QInt8,
            )
    graph = onnx.load(target / "encoder.onnx")
    onnx.helper.set_model_props(graph, _metadata(source, config))
    onnx.save(graph, target / "encoder.onnx")
    tokens = token_bytes(source, config.eos_token_id)
    lines = (f"{base64.b64encode(token).decode()} {index}\n" for index, token in enumerate(tokens))
    (target / "tokens.txt").write_text("".join(lines), encoding="ascii")


def _share_embedding(onnx: Any, path: Path) -> None:
    """Let the logits read the embedding of the token lookup, of which the exporter stored a transposed copy.

    In sherpa-onnx's own models it is stored once, and as it is no constant of that MatMul, INT8 leaves it in FP32.
    """
    model = onnx.load(path)
    graph = model.graph
    lookup = next(node for node in graph.node if node.op_type == "Gather" and "tokens" in node.input)
    product = next(node for node in graph.node if "logits" in node.output)
    copy = next(one for one in graph.initializer if one.name == product.input[1])
    transpose = onnx.helper.make_node("Transpose", [lookup.input[0]], ["embedding_transposed"], perm=[1, 0])
    product.input[1] = transpose.output[0]
    graph.initializer.remove(copy)
    graph.node.insert(0, transpose)
    onnx.save(model, path)


def _metadata(source: Path, config: Any) -> dict[str, str]:
    special = special_tokens(source)
    generation = read_json(source / "generation_config.json")
    languages = generation.get("lang_to_id", {})
    sot, transcribe = special["<|startoftranscript|>"], special["<|transcribe|>"]
    sequence = (sot, languages["<|en|>"], transcribe) if languages else (sot,)
    values: dict[str, Any] = {
        "model_type": f"whisper-{source.name}",
        "version": 1,
        "maintainer": "k2-fsa",
        "n_mels": config.num_mel_bins,
        "n_audio_ctx": config.max_source_positions,
        "n_audio_state": config.d_model,
        "n_audio_head": config.encoder_attention_heads,
        "n_audio_layer": config.encoder_layers,
        "n_vocab": config.vocab_size,
        "n_text_ctx": config.max_target_positions,
        "n_text_state": config.d_model,
        "n_text_head": config.decoder_attention_heads,
        "n_text_layer": config.decoder_layers,
        "sot_sequence": ",".join(map(str, sequence)),
        "all_language_tokens": ",".join(map(str, languages.values())),
        "all_language_codes": ",".join(name.strip("<|>") for name in languages),
        "sot": sot,
        "sot_index": 0,
        "eot": config.eos_token_id,
        "blank_id": 220,  # the token of one space
        "is_multilingual": int(bool(languages)),
        "no_speech": special.get("<|nospeech|>", special.get("<|nocaptions|>")),
        "non_speech_tokens": ",".join(map(str, generation["suppress_tokens"])),
        "transcribe": transcribe,
        "translate": special["<|translate|>"],
        "sot_prev": special["<|startofprev|>"],
        "sot_lm": special["<|startoflm|>"],
        "no_timestamps": special["<|notimestamps|>"],
    }
    return {key: str(value) for key, value in values.items()}


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
