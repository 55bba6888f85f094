"""The dimensions of a checkpoint without its weights: from what is known of released models, or from a file's head."""

from __future__ import annotations

import difflib
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

from fastwhisper_compress.checkpoint.dims import Dims
from fastwhisper_compress.checkpoint.known import HUB_ID, KNOWN, model_id
from fastwhisper_compress.checkpoint.local_path import existing_path
from fastwhisper_compress.errors import ModelNotFoundError, UnsafeInputError

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
    from fastwhisper_compress.checkpoint.openai_pt import dims_of
    from fastwhisper_compress.checkpoint.torch_file import check_archive

    check_archive(path)
    try:
        with zipfile.ZipFile(path) as archive:
            name = next(one for one in archive.namelist() if one.endswith("/data.pkl"))
            with archive.open(name) as file:
                content = _WithoutTensors(file).load()
    except Exception as error:  # a damaged pickle fails with whatever its interpreter trips over
        raise UnsafeInputError(
            f"its list of tensors cannot be read ({type(error).__name__})", place=str(path), remedy="get a fresh copy"
        ) from error
    if not isinstance(content, dict) or "dims" not in content:
        raise UnsafeInputError(
            "holds no dims, so it is not an openai-whisper checkpoint",
            place=str(path),
            remedy="give a .pt of openai-whisper, or the folder of a Hugging Face model",
        )
    return dims_of(content["dims"], str(path))


class _WithoutTensors(pickle.Unpickler):
    """Reads the containers of a torch pickle and leaves every tensor out: no class named in it is ever looked up."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch" or (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _nothing
        raise pickle.UnpicklingError(f"{module}.{name} is neither a container nor a tensor")

    def persistent_load(self, pid: Any) -> Any:
        del pid  # where a storage lies in the archive


def _nothing(*parts: Any) -> None:
    del parts


def _cached(identifier: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(identifier, _CONFIG)
    return Path(found).parent if isinstance(found, str) else None
