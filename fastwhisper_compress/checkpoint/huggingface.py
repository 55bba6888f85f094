"""Reads a Hugging Face folder: ``config.json`` with safetensors, or ``pytorch_model.bin`` when there are none."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastwhisper_compress.checkpoint.decoding import Decoding, decoding_from_tokenizer
from fastwhisper_compress.checkpoint.dims import Dims, check_dims
from fastwhisper_compress.checkpoint.model import Checkpoint, Source
from fastwhisper_compress.checkpoint.resolve import WEIGHTS
from fastwhisper_compress.checkpoint.safe_load import FRESH_COPY, StoredTensor, load_tensors, printable, read_json
from fastwhisper_compress.checkpoint.safetensors_file import read_safetensors
from fastwhisper_compress.checkpoint.tokenizer import tokenizer_of_folder
from fastwhisper_compress.checkpoint.torch_file import load_torch, stored_tensors
from fastwhisper_compress.errors import UnsafeInputError

if TYPE_CHECKING:
    from collections.abc import Iterable

_LARGEST_SHARDS = 1_000
_LONGEST_NAME = 200


def read_huggingface(folder: Path, source: Source) -> Checkpoint:
    """Opens a Hugging Face Whisper folder; code it may bring is never run.

    Raises:
        UnsafeInputError: It is damaged, hostile, quantised or not a Whisper.
    """
    config = read_json(folder / "config.json")
    dims = _dims(config, str(folder / "config.json"))
    stored: dict[str, StoredTensor] = {}
    for path in _weight_files(folder):
        claims = read_safetensors(path) if path.suffix == ".safetensors" else stored_tensors(load_torch(path), path)
        for name, claim in claims.items():
            canonical = name.removeprefix("model.")
            if canonical in stored:
                raise UnsafeInputError(f"{printable(canonical)} is stored twice", place=claim.place, remedy=FRESH_COPY)
            stored[canonical] = claim
    tokenizer_json = tokenizer_of_folder(folder, dims)
    return Checkpoint(
        dims=dims,
        tensors=load_tensors(stored, dims, str(folder)),
        decoding=_decoding(folder, config, tokenizer_json, dims),
        tokenizer_json=tokenizer_json,
        source=source,
    )


def read_dims(path: Path) -> Dims:
    """The dimensions that a ``config.json`` tells.

    Raises:
        UnsafeInputError: It is damaged or not a Whisper's.
    """
    return _dims(read_json(path), str(path))


def _dims(config: dict[str, Any], place: str) -> Dims:
    expected = {"model_type": "whisper", "activation_function": "gelu", "scale_embedding": False}
    defaults = {"activation_function": "gelu", "scale_embedding": False}
    for key, value in expected.items():
        found = config.get(key, defaults.get(key))
        if found != value:
            raise UnsafeInputError(
                f"{key} is {printable(str(found))!r}, a Whisper has {value!r}",
                place=place,
                remedy="give a Whisper model",
            )
    if "quantization_config" in config:
        raise UnsafeInputError("the weights are already quantised", place=place, remedy="give the uncompressed model")
    fields = {
        "n_mels": "num_mel_bins",
        "n_vocab": "vocab_size",
        "d_model": "d_model",
        "encoder_layers": "encoder_layers",
        "decoder_layers": "decoder_layers",
        "encoder_heads": "encoder_attention_heads",
        "decoder_heads": "decoder_attention_heads",
        "encoder_ffn": "encoder_ffn_dim",
        "decoder_ffn": "decoder_ffn_dim",
        "n_audio_ctx": "max_source_positions",
        "n_text_ctx": "max_target_positions",
    }
    missing = [theirs for theirs in fields.values() if theirs not in config]
    if missing:
        raise UnsafeInputError(f"keys missing: {', '.join(missing[:3])}", place=place, remedy=FRESH_COPY)
    return check_dims(Dims(**{ours: config[theirs] for ours, theirs in fields.items()}), place)


def _weight_files(folder: Path) -> list[Path]:
    """The first of the known weight files, or the shards its index names."""
    path = next(folder / name for name in WEIGHTS if (folder / name).is_file())
    if path.suffix != ".json":
        return [path]
    weight_map = read_json(path).get("weight_map")
    names = sorted({str(name) for name in weight_map.values()}) if isinstance(weight_map, dict) else []
    suffix = Path(path.stem.removesuffix(".index")).suffix
    for name in names:
        # Only plain names beside the index: it must not lead anywhere else.
        plain = Path(name).name == name and "\\" not in name and len(name) <= _LONGEST_NAME
        if not plain or not name.endswith(suffix) or not (folder / name).is_file():
            raise UnsafeInputError(
                f"shard {printable(name)!r} is missing or not a {suffix} file of this folder",
                place=str(path),
                remedy=FRESH_COPY,
            )
    if not 1 <= len(names) <= _LARGEST_SHARDS:
        raise UnsafeInputError(f"names {len(names)} shards", place=str(path), remedy=FRESH_COPY)
    return [folder / name for name in names]


def _decoding(folder: Path, config: dict[str, Any], tokenizer_json: bytes, dims: Dims) -> Decoding:
    """What transformers' ``generate`` uses: generation_config.json, or config.json in folders from before it."""
    path = folder / "generation_config.json"
    generation = read_json(path) if path.is_file() else config

    def listed(key: str) -> Iterable[Any]:
        found: Iterable[Any] = generation.get(key) or ()
        return found

    max_length = generation.get("max_length")
    return decoding_from_tokenizer(
        tokenizer_json,
        dims,
        suppress=listed("suppress_tokens"),
        begin_suppress=listed("begin_suppress_tokens"),
        alignment_heads=listed("alignment_heads"),
        max_length=max_length if type(max_length) is int and max_length > 0 else None,
        place=str(path if path.is_file() else folder / "config.json"),
    )
