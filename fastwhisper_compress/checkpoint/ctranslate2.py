"""Reads a CTranslate2 folder, the format most Whisper servers hold, and splits its packed attention projections."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastwhisper_compress.checkpoint.ctranslate2_file import Variable, read_variables
from fastwhisper_compress.checkpoint.decoding import decoding_from_tokenizer
from fastwhisper_compress.checkpoint.dims import Dims, check_dims
from fastwhisper_compress.checkpoint.model import Checkpoint, Source
from fastwhisper_compress.checkpoint.safe_load import (
    FRESH_COPY,
    StoredTensor,
    load_tensors,
    read_json,
    widen_bfloat16,
)
from fastwhisper_compress.checkpoint.tokenizer import begin_suppress_ids, suppress_ids, tokenizer_of_folder
from fastwhisper_compress.errors import UnsafeInputError

if TYPE_CHECKING:
    from pathlib import Path

# Options of CTranslate2's generic transformer, and the value that makes it a Whisper; the rest carries no arithmetic.
_WHISPER_OPTIONS = {"activation": 3, "pre_norm": 1, "scale_embeddings": 0, "alibi": 0, "start_from_zero_embedding": 0}
_IGNORED_OPTIONS = {"num_heads", "alignment_heads", "alignment_layer"}

# Their names below a layer, ours, and the parts that are packed along the first axis.
_LAYER_PARTS: dict[str, tuple[str, ...]] = {
    "self_attention/layer_norm": ("self_attn_layer_norm",),
    "self_attention/linear_0": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "self_attention/linear_1": ("self_attn.out_proj",),
    "attention/layer_norm": ("encoder_attn_layer_norm",),
    "attention/linear_0": ("encoder_attn.q_proj",),
    "attention/linear_1": ("encoder_attn.k_proj", "encoder_attn.v_proj"),
    "attention/linear_2": ("encoder_attn.out_proj",),
    "ffn/layer_norm": ("final_layer_norm",),
    "ffn/linear_0": ("fc1",),
    "ffn/linear_1": ("fc2",),
}
_PARTS: dict[str, tuple[str, ...]] = {
    "conv1": ("conv1",),
    "conv2": ("conv2",),
    "layer_norm": ("layer_norm",),
    "position_encodings": ("embed_positions",),
    "embeddings": ("embed_tokens",),
}
_ENDINGS = {"weight": "weight", "bias": "bias", "gamma": "weight", "beta": "bias", "encodings": "weight"}


def read_ctranslate2(folder: Path, source: Source) -> Checkpoint:
    """Opens a CTranslate2 Whisper folder.

    Raises:
        UnsafeInputError: It is damaged, hostile, quantised or not a Whisper.
    """
    weights = folder / "model.bin"
    stored, dims = read_claims(weights)
    config = read_json(folder / "config.json")
    suppress, begin = config.get("suppress_ids"), config.get("suppress_ids_begin")
    tokenizer_json = tokenizer_of_folder(folder, dims)
    return Checkpoint(
        dims=dims,
        tensors=load_tensors(stored, dims, str(weights)),
        decoding=decoding_from_tokenizer(
            tokenizer_json,
            dims,
            suppress=suppress_ids(dims) if suppress is None else suppress,
            begin_suppress=begin_suppress_ids(dims) if begin is None else begin,
            alignment_heads=config.get("alignment_heads") or (),
            place=str(folder),
        ),
        tokenizer_json=tokenizer_json,
        source=source,
    )


def read_dims(weights: Path) -> Dims:
    """The dimensions of a ``model.bin``, from its names and shapes alone.

    Raises:
        UnsafeInputError: It is damaged, quantised or not a Whisper.
    """
    return read_claims(weights)[1]


def read_claims(weights: Path) -> tuple[dict[str, StoredTensor], Dims]:
    """What a ``model.bin`` says it holds; no weight is read.

    Raises:
        UnsafeInputError: It is damaged, quantised or not a Whisper.
    """
    variables = read_variables(weights)
    _refuse_quantised(variables, weights)
    options = {name: v for name, v in variables.items() if not v.shape}
    _check_options(options, weights)
    stored: dict[str, StoredTensor] = {}
    for name, variable in variables.items():
        if variable.shape:
            stored |= _canonical(name, variable, weights)
    return stored, _dims(options, stored, weights)


def _refuse_quantised(variables: dict[str, Variable], path: Path) -> None:
    for name, variable in variables.items():
        if variable.shape and variable.dtype in ("int8", "int16"):
            raise UnsafeInputError(
                f"{name} is already quantised to {variable.dtype}",
                place=str(path),
                remedy="give the float16 conversion (ct2-transformers-converter --quantization float16), which is lossless",
            )


def _check_options(options: dict[str, Variable], path: Path) -> None:
    for name in options:
        side, _, option = name.partition("/")
        known = side in ("encoder", "decoder") and (option in _IGNORED_OPTIONS or option in _WHISPER_OPTIONS)
        expected = _WHISPER_OPTIONS.get(option)
        if not known or (expected is not None and _scalar(options, name, path) != expected):
            raise UnsafeInputError(
                f"option {name} is not one of Whisper's",
                place=str(path),
                remedy="give a Whisper model converted by CTranslate2 without extra options",
            )


def _scalar(options: dict[str, Variable], name: str, path: Path) -> int:
    variable = options.get(name)
    if variable is None or variable.dtype not in ("int8", "int16", "int32"):
        raise UnsafeInputError(f"{name} is missing or not an integer", place=str(path), remedy=FRESH_COPY)
    return int(variable.data.view(variable.dtype)[0])


def _canonical(name: str, variable: Variable, path: Path) -> dict[str, StoredTensor]:
    """One of their variables under our names, unpacked where several projections share it."""
    place = f"{path}: {name}"
    if name == "decoder/projection/weight":
        return {"proj_out.weight": _slice(variable, 0, 1, place)}
    side, _, rest = name.partition("/")
    part, _, ending = rest.rpartition("/")
    prefix = side
    if part.startswith("layer_") and "/" in part:
        layer, _, part = part.partition("/")
        prefix = f"{side}.layers.{layer.removeprefix('layer_')}"
        targets = _LAYER_PARTS.get(part)
    else:
        targets = _PARTS.get(part)
    if side not in ("encoder", "decoder") or targets is None or ending not in _ENDINGS:
        return {name: _slice(variable, 0, 1, place)}  # reported with the other unexpected tensors
    if variable.shape[0] % len(targets):
        raise UnsafeInputError(f"cannot be split into {len(targets)} projections", place=place, remedy=FRESH_COPY)
    return {
        f"{prefix}.{target}.{_ENDINGS[ending]}": _slice(variable, i, len(targets), place)
        for i, target in enumerate(targets)
    }


def _slice(variable: Variable, index: int, parts: int, place: str) -> StoredTensor:
    rows = variable.shape[0] // parts

    def read() -> np.ndarray:
        # Data in the file is not aligned; numpy copes, and the first conversion to float32 aligns it.
        dtype = np.uint16 if variable.dtype == "bfloat16" else np.dtype(variable.dtype)
        whole = variable.data.view(dtype).reshape(variable.shape)
        part = whole[index * rows : (index + 1) * rows]
        return widen_bfloat16(part) if variable.dtype == "bfloat16" else part

    return StoredTensor((rows, *variable.shape[1:]), variable.dtype, place, read)


def _dims(options: dict[str, Variable], stored: dict[str, StoredTensor], path: Path) -> Dims:
    """Dimensions from shapes and options; whether all tensors agree with them is checked later."""

    def size(name: str, axis: int) -> int:
        claim = stored.get(name)
        if claim is None or len(claim.shape) <= axis:
            raise UnsafeInputError(f"missing tensors: {name}", place=str(path), remedy=FRESH_COPY)
        return claim.shape[axis]

    def depth(side: str) -> int:
        return len({name.split(".")[2] for name in stored if name.startswith(f"{side}.layers.")})

    dims = Dims(
        n_mels=size("encoder.conv1.weight", 1),
        n_vocab=size("decoder.embed_tokens.weight", 0),
        d_model=size("decoder.embed_tokens.weight", 1),
        encoder_layers=depth("encoder"),
        decoder_layers=depth("decoder"),
        encoder_heads=_scalar(options, "encoder/num_heads", path),
        decoder_heads=_scalar(options, "decoder/num_heads", path),
        encoder_ffn=size("encoder.layers.0.fc1.weight", 0),
        decoder_ffn=size("decoder.layers.0.fc1.weight", 0),
        n_audio_ctx=size("encoder.embed_positions.weight", 0),
        n_text_ctx=size("decoder.embed_positions.weight", 0),
    )
    return check_dims(dims, str(path))
