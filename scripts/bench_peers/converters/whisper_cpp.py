"""A Hugging Face folder to whisper.cpp's ggml file: ``SOURCE TARGET PRECISION``.

The quantisers are those of the package ``gguf``. As in whisper.cpp, matrices alone are quantised; convolutions stay
FP16, positions, biases and norms FP32.
"""

from __future__ import annotations

import importlib
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench_peers.converters.tokenizer import read_json, token_bytes

_MAGIC = 0x67676D6C
_QUANTISED = 2_000  # of the header's file type: version 2 of the quantised formats
_FILE_TYPES = {"f16": 1, "q8_0": _QUANTISED + 7, "q5_1": _QUANTISED + 9}

# Hugging Face names, part by part, to openai-whisper's, in this order.
_NAMES = (
    ("model.", ""),
    (".layers.", ".blocks."),
    ("self_attn_layer_norm", "attn_ln"),
    ("encoder_attn_layer_norm", "cross_attn_ln"),
    ("final_layer_norm", "mlp_ln"),
    ("encoder_attn", "cross_attn"),
    ("self_attn", "attn"),
    ("q_proj", "query"),
    ("k_proj", "key"),
    ("v_proj", "value"),
    ("out_proj", "out"),
    ("fc1", "mlp.0"),
    ("fc2", "mlp.2"),
    ("encoder.layer_norm", "encoder.ln_post"),
    ("decoder.layer_norm", "decoder.ln"),
    ("embed_positions.weight", "positional_embedding"),
    ("embed_tokens", "token_embedding"),
)


def convert(source: Path, target: Path, precision: str) -> None:
    """Write ``ggml-model.bin`` into an existing folder."""
    config = read_json(source / "config.json")
    extractor = importlib.import_module("transformers").WhisperFeatureExtractor.from_pretrained(source)
    filters = np.ascontiguousarray(np.asarray(extractor.mel_filters, np.float32).T)  # (n_mels, n_fft // 2 + 1)
    tokens = token_bytes(source, config["eos_token_id"])
    tensors = importlib.import_module("safetensors.numpy").load_file(source / "model.safetensors")
    hyper = (
        config["vocab_size"],
        config["max_source_positions"],
        config["d_model"],
        config["encoder_attention_heads"],
        config["encoder_layers"],
        config["max_target_positions"],
        config["d_model"],
        config["decoder_attention_heads"],
        config["decoder_layers"],
        config["num_mel_bins"],
        _FILE_TYPES[precision],
    )
    with (target / "ggml-model.bin").open("wb") as file:
        file.write(struct.pack("<I11i", _MAGIC, *hyper))
        file.write(struct.pack("<2i", *filters.shape) + filters.tobytes())
        file.write(struct.pack("<i", len(tokens)))
        for token in tokens:
            file.write(struct.pack("<i", len(token)) + token)
        for name, tensor in tensors.items():
            if name != "proj_out.weight":  # tied to the embedding
                file.write(_record(_openai_name(name), tensor, precision))


def _openai_name(name: str) -> str:
    for ours, theirs in _NAMES:
        name = name.replace(ours, theirs)
    return name


def _record(name: str, tensor: npt.NDArray[np.float32], precision: str) -> bytes:
    """One tensor with its header; dimensions are written innermost first."""
    gguf: Any = importlib.import_module("gguf")
    if "conv" in name and name.endswith(".bias"):
        tensor = tensor[:, None]
    kind = gguf.GGMLQuantizationType.F32
    if tensor.ndim == 3:
        kind = gguf.GGMLQuantizationType.F16
    elif tensor.ndim == 2 and tensor.shape[1] > 1 and "positional" not in name:
        kind = gguf.GGMLQuantizationType[precision.upper()]
    text = name.encode()
    header = struct.pack("<3i", tensor.ndim, len(text), int(kind)) + struct.pack(
        f"<{tensor.ndim}i", *reversed(tensor.shape)
    )
    data = gguf.quantize(np.ascontiguousarray(tensor, np.float32), kind)
    return header + text + np.ascontiguousarray(data).tobytes()


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
