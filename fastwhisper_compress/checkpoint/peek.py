"""The dimensions of a checkpoint without its weights: from what is known of released models, or from a file's head."""

from __future__ import annotations

import difflib
from pathlib import Path

from fastwhisper_compress.checkpoint.dims import Dims
from fastwhisper_compress.checkpoint.known import HUB_ID, KNOWN, model_id
from fastwhisper_compress.checkpoint.local_path import existing_path
from fastwhisper_compress.errors import ModelNotFoundError

_CONFIG, _CTRANSLATE2 = "config.json", "model.bin"


def peek_dims(model: str) -> tuple[str, Dims]:
    """Find out how large a model is, and load nothing of it.

    Args:
        model: As for :func:`fastwhisper_compress.checkpoint.open.open_checkpoint`. An id that is no released Whisper must
            be in the Hugging Face cache; nothing is downloaded.

    Returns:
        Its id (a local path as given) and its dimensions.

    Raises:
        ModelNotFoundError: No such path, and no id whose dimensions are known here.
        UnsafeInputError: The file is damaged or not a Whisper.
    """
    path = existing_path(model)
    if path is not None and path.is_dir():
        return model, _of_folder(path)
    if path is not None and path.suffix not in (".json", ".yaml", ".jsonl"):
        return model, _of_torch_file(path)
    identifier = model_id(model)
    if identifier in KNOWN:
        return identifier, KNOWN[identifier]
    if HUB_ID.fullmatch(identifier) and (folder := _cached(identifier)) is not None:
        return identifier, _of_folder(folder)
    nearest = difflib.get_close_matches(identifier, KNOWN, n=1, cutoff=0.7)
    raise ModelNotFoundError(
        "no such file or folder, and no model whose dimensions are known"
        + (f", did you mean {nearest[0]}?" if nearest else ""),
        place=model,
        remedy=f"give a checkpoint folder, a .pt file, or one of {', '.join(KNOWN)}",
    )


def _of_folder(folder: Path) -> Dims:
    if (folder / _CTRANSLATE2).is_file():
        from fastwhisper_compress.checkpoint.ctranslate2 import read_dims

        return read_dims(folder / _CTRANSLATE2)
    if not (folder / _CONFIG).is_file():
        raise ModelNotFoundError(
            f"not a checkpoint: it has neither {_CONFIG} nor {_CTRANSLATE2}",
            place=str(folder),
            remedy="give the folder of a Hugging Face or CTranslate2 model",
        )
    from fastwhisper_compress.checkpoint.huggingface import read_dims as read_config_dims

    return read_config_dims(folder / _CONFIG)


def _of_torch_file(path: Path) -> Dims:
    from fastwhisper_compress.checkpoint.openai_pt import dims_of, read_content

    return dims_of(read_content(path)["dims"], str(path))


def _cached(identifier: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(identifier, _CONFIG)
    return Path(found).parent if isinstance(found, str) else None
