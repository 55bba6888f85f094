"""The small JSON files beside the graphs, in the form that Hugging Face transformers and its ports read."""

from __future__ import annotations

import json
from typing import Any

from fastwhisper_compress.checkpoint.model import Checkpoint
from fastwhisper_compress.emit.log_mel import HOP, N_FFT, SAMPLE_RATE


def config_files(checkpoint: Checkpoint) -> dict[str, bytes]:
    """Return file name to content: config, generation config, preprocessor, tokenizer and its config."""
    seconds = 2 * checkpoint.dims.n_audio_ctx * HOP // SAMPLE_RATE
    preprocessor = {
        "feature_extractor_type": "WhisperFeatureExtractor",
        "processor_class": "WhisperProcessor",
        "feature_size": checkpoint.dims.n_mels,
        "sampling_rate": SAMPLE_RATE,
        "n_fft": N_FFT,
        "hop_length": HOP,
        "chunk_length": seconds,
        "n_samples": seconds * SAMPLE_RATE,
        "nb_max_frames": 2 * checkpoint.dims.n_audio_ctx,
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": False,
    }
    tokenizer = {
        "tokenizer_class": "WhisperTokenizer",
        "processor_class": "WhisperProcessor",
        "model_max_length": checkpoint.decoding.max_length,
        "bos_token": "<|endoftext|>",
        "eos_token": "<|endoftext|>",
        "pad_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>",
        "add_prefix_space": False,
        "errors": "replace",
    }
    return {
        "config.json": _json(model_config(checkpoint)),
        "generation_config.json": _json(generation_config(checkpoint)),
        "preprocessor_config.json": _json(preprocessor),
        "tokenizer.json": _compact(checkpoint.tokenizer_json),
        "tokenizer_config.json": _json(tokenizer),
    }


def model_config(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return ``config.json`` as transformers' WhisperConfig reads it.

    The dimensions are those of the unpruned architecture, which is all that the class can describe.
    """
    dims, ids = checkpoint.dims, checkpoint.decoding
    return {
        "model_type": "whisper",
        "architectures": ["WhisperForConditionalGeneration"],
        "is_encoder_decoder": True,
        "activation_function": "gelu",
        "d_model": dims.d_model,
        "encoder_layers": dims.encoder_layers,
        "decoder_layers": dims.decoder_layers,
        "num_hidden_layers": dims.encoder_layers,
        "encoder_attention_heads": dims.encoder_heads,
        "decoder_attention_heads": dims.decoder_heads,
        "encoder_ffn_dim": dims.encoder_ffn,
        "decoder_ffn_dim": dims.decoder_ffn,
        "num_mel_bins": dims.n_mels,
        "vocab_size": dims.n_vocab,
        "max_source_positions": dims.n_audio_ctx,
        "max_target_positions": dims.n_text_ctx,
        "max_length": ids.max_length,
        "scale_embedding": False,
        "tie_word_embeddings": True,
        "use_cache": True,
        "bos_token_id": ids.eot,
        "eos_token_id": ids.eot,
        "pad_token_id": ids.eot,
        "decoder_start_token_id": ids.sot,
    }


def generation_config(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return ``generation_config.json`` as transformers' Whisper reads it."""
    ids = checkpoint.decoding
    config: dict[str, Any] = {
        "bos_token_id": ids.eot,
        "eos_token_id": ids.eot,
        "pad_token_id": ids.eot,
        "decoder_start_token_id": ids.sot,
        "no_timestamps_token_id": ids.no_timestamps,
        "max_length": ids.max_length,
        "max_initial_timestamp_index": 50,
        "suppress_tokens": list(ids.suppress),
        "begin_suppress_tokens": list(ids.begin_suppress),
        "is_multilingual": bool(ids.languages),
        "return_timestamps": False,
    }
    if ids.alignment_heads:
        config["alignment_heads"] = [list(pair) for pair in ids.alignment_heads]
    if ids.languages:
        config["lang_to_id"] = {f"<|{code}|>": token for code, token in ids.languages.items()}
        config["task_to_id"] = {"transcribe": ids.transcribe, "translate": ids.translate}
    return config


def _json(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def _compact(tokenizer: bytes) -> bytes:
    """Drop the indentation that tokenizer files are shipped with: a third of their size."""
    return json.dumps(json.loads(tokenizer), ensure_ascii=False, separators=(",", ":")).encode()
