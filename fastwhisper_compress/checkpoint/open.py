"""Open a checkpoint, whatever it was written by."""

from __future__ import annotations

from fastwhisper_compress.checkpoint.ctranslate2 import read_ctranslate2
from fastwhisper_compress.checkpoint.huggingface import read_huggingface
from fastwhisper_compress.checkpoint.model import Checkpoint, Source
from fastwhisper_compress.checkpoint.openai_pt import read_openai_pt
from fastwhisper_compress.checkpoint.resolve import CTRANSLATE2_WEIGHTS, WEIGHTS, find_model
from fastwhisper_compress.errors import ModelNotFoundError


def open_checkpoint(model: str, *, revision: str | None = None, offline: bool = False) -> Checkpoint:
    """Opens a Whisper checkpoint.

    Looked for in this order: local path, installed weights package, Hugging Face cache, hub.

    Args:
        model: A Hugging Face or CTranslate2 folder, an openai-whisper ``.pt``, a hub id or a size such as ``tiny.en``.
        revision: Commit, tag or branch of a hub id.
        offline: Never go to the hub; ``HF_HUB_OFFLINE=1`` says the same.

    Raises:
        ModelNotFoundError: There is no such path or id.
        HubUnavailableError: Only the hub could have it, and it is out of reach or ruled out.
        UnsafeInputError: The files are damaged, hostile, quantised or not a Whisper.
    """
    path, identifier, found_revision = find_model(model, revision=revision, offline=offline)

    def source(kind: str) -> Source:
        return Source(identifier, kind, str(path), found_revision)

    if path.is_file() and path.suffix not in (".bin", ".safetensors", ".json"):
        return read_openai_pt(path, source("openai"))
    if any((path / name).is_file() for name in WEIGHTS):
        return read_huggingface(path, source("huggingface"))
    if (path / CTRANSLATE2_WEIGHTS).is_file():
        return read_ctranslate2(path, source("ctranslate2"))
    raise ModelNotFoundError(
        "not a checkpoint",
        place=str(path),
        remedy="give an openai-whisper .pt file, or a folder with config.json and "
        f"{WEIGHTS[0]}, {WEIGHTS[2]} or {CTRANSLATE2_WEIGHTS}; an id that is also a folder here needs another directory",
    )
