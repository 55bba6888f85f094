"""Reads openai-whisper's own ``.pt`` files: ``{"dims": ..., "model_state_dict": ...}`` in a torch archive."""

from __future__ import annotations

import base64
import gzip
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from fastwhisper_compress.checkpoint.decoding import decoding_from_tokenizer
from fastwhisper_compress.checkpoint.dims import Dims, check_dims
from fastwhisper_compress.checkpoint.model import Checkpoint, Source
from fastwhisper_compress.checkpoint.safe_load import FRESH_COPY, load_tensors
from fastwhisper_compress.checkpoint.tokenizer import begin_suppress_ids, released_tokenizer, suppress_ids
from fastwhisper_compress.checkpoint.torch_file import load_torch, stored_tensors
from fastwhisper_compress.errors import UnsafeInputError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

# Their names to ours, applied in order.
_RENAMES = (
    (r"^(encoder|decoder)\.blocks\.", r"\1.layers."),
    (r"\.attn_ln\.", ".self_attn_layer_norm."),
    (r"\.cross_attn_ln\.", ".encoder_attn_layer_norm."),
    (r"\.mlp_ln\.", ".final_layer_norm."),
    (r"\.attn\.", ".self_attn."),
    (r"\.cross_attn\.", ".encoder_attn."),
    (r"\.query\.", ".q_proj."),
    (r"\.key\.", ".k_proj."),
    (r"\.value\.", ".v_proj."),
    (r"_attn\.out\.", "_attn.out_proj."),
    (r"\.mlp\.0\.", ".fc1."),
    (r"\.mlp\.2\.", ".fc2."),
    (r"^encoder\.ln_post\.", "encoder.layer_norm."),
    (r"^decoder\.ln\.", "decoder.layer_norm."),
    (r"^decoder\.token_embedding\.", "decoder.embed_tokens."),
    (r"\.positional_embedding$", ".embed_positions.weight"),
)


def read_openai_pt(path: Path, source: Source) -> Checkpoint:
    """Opens an openai-whisper checkpoint file.

    Raises:
        UnsafeInputError: It is damaged, hostile or not a Whisper.
    """
    content = read_content(path)
    dims = dims_of(content["dims"], str(path))
    stored = {_canonical(name): tensor for name, tensor in stored_tensors(content["model_state_dict"], path).items()}
    tokenizer_json = released_tokenizer(dims, str(path))
    return Checkpoint(
        dims=dims,
        tensors=load_tensors(stored, dims, str(path)),
        decoding=decoding_from_tokenizer(
            tokenizer_json,
            dims,
            suppress=suppress_ids(dims),
            begin_suppress=begin_suppress_ids(dims),
            alignment_heads=_alignment_heads(dims, path.stem),
            place=str(path),
        ),
        tokenizer_json=tokenizer_json,
        source=source,
    )


def read_content(path: Path) -> dict[str, Any]:
    """What is in a file, of which no weight is read.

    Raises:
        UnsafeInputError: It is damaged or hostile, or holds something else than dimensions and weights.
    """
    content = load_torch(path)
    if not isinstance(content, dict) or not {"dims", "model_state_dict"} <= content.keys():
        raise UnsafeInputError(
            "holds no dims and model_state_dict, so it is not an openai-whisper checkpoint",
            place=str(path),
            remedy="give a .pt of openai-whisper, or the folder of a Hugging Face model",
        )
    return content


def _canonical(name: str) -> str:
    for pattern, replacement in _RENAMES:
        name = re.sub(pattern, replacement, name)
    return name


def dims_of(stored: Any, place: str) -> Dims:
    """The dimensions of a file's ``dims``; the feed-forward is four times as wide as the model, always."""
    try:
        width, text_width = stored["n_audio_state"], stored["n_text_state"]
        if not (type(width) is type(text_width) is int and width == text_width):
            raise UnsafeInputError(
                "the widths of encoder and decoder are not one whole number", place=place, remedy=FRESH_COPY
            )
        dims = Dims(
            n_mels=stored["n_mels"],
            n_vocab=stored["n_vocab"],
            d_model=width,
            encoder_layers=stored["n_audio_layer"],
            decoder_layers=stored["n_text_layer"],
            encoder_heads=stored["n_audio_head"],
            decoder_heads=stored["n_text_head"],
            encoder_ffn=4 * width,
            decoder_ffn=4 * width,
            n_audio_ctx=stored["n_audio_ctx"],
            n_text_ctx=stored["n_text_ctx"],
        )
    except (KeyError, TypeError, IndexError) as error:
        raise UnsafeInputError("dims is incomplete", place=place, remedy=FRESH_COPY) from error
    return check_dims(dims, place)


def _alignment_heads(dims: Dims, stem: str) -> list[tuple[int, int]]:
    """openai-whisper's table of heads that follow time, by the released model of these dimensions; else none."""
    import whisper

    names = {
        (4, 4, 51_864): "tiny.en",
        (4, 4, 51_865): "tiny",
        (6, 6, 51_864): "base.en",
        (6, 6, 51_865): "base",
        (12, 12, 51_864): "small.en",
        (12, 12, 51_865): "small",
        (24, 24, 51_864): "medium.en",
        (24, 24, 51_865): "medium",
        (32, 32, 51_866): "large-v3",
        (32, 4, 51_866): "large-v3-turbo",
        # large-v1 and v2 differ only in their weights: the file's own name has to tell.
        (32, 32, 51_865): stem if stem in ("large-v1", "large-v2") else "",
    }
    name = names.get((dims.encoder_layers, dims.decoder_layers, dims.n_vocab), "")
    table: Mapping[str, bytes] = whisper._ALIGNMENT_HEADS  # noqa: SLF001 - published nowhere else
    if name not in table:
        return []
    flags = np.frombuffer(gzip.decompress(base64.b85decode(table[name])), dtype=bool)
    if flags.size != dims.decoder_layers * dims.decoder_heads:
        return []
    return [(int(layer), int(head)) for layer, head in np.argwhere(flags.reshape(dims.decoder_layers, -1))]
