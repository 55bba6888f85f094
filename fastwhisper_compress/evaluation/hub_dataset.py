"""Suites that are data sets on the Hugging Face hub, kept in the user's cache as files and a manifest.

Audio is written as the bytes the data set holds, never decoded here: what is measured later includes our own decoding.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastwhisper_compress.errors import BackendError, HubUnavailableError, SuiteError
from fastwhisper_compress.resources import cache_dir

if TYPE_CHECKING:
    from collections.abc import Iterator

PROBE_TIMEOUT_S = 2.0

_COMMIT = re.compile(r"[0-9a-f]{40}")
_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,5}")
_NETWORK_PACKAGES = frozenset({"aiohttp", "fsspec", "httpcore", "httpx", "httpx2", "huggingface_hub", "requests"})


@dataclass(frozen=True)
class HubDataset:
    """Where a suite's rows are on the hub."""

    repo: str
    config: str | None
    split: str
    revision: str
    audio_column: str = "audio"
    text_column: str = "text"
    id_column: str | None = None
    speaker_column: str | None = None


def fetch(dataset: HubDataset, *, limit: int | None, offline: bool, place: str) -> tuple[Path, str]:
    """Return the manifest of a hub data set in the user's cache, filling the cache first where needed.

    Args:
        dataset: What to fetch.
        limit: Only this many rows are needed.
        offline: Go nowhere: use the cache or fail at once.
        place: The suite file, for error messages.

    Returns:
        The manifest (it may hold more rows than asked for) and the commit it is from.
    """
    commit = dataset.revision if _COMMIT.fullmatch(dataset.revision) else None
    if commit and (cached := _cached(dataset, commit, limit)):
        return cached, commit
    if offline or os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "TRUE", "YES", "ON"}:
        raise _unavailable(dataset, place, "it is not in the cache and offline mode is on")
    commit = _resolve(dataset, place)
    return _cached(dataset, commit, limit) or _download(dataset, commit, limit, place), commit


def _folder(dataset: HubDataset, commit: str) -> Path:
    key = json.dumps(asdict(dataset) | {"revision": commit}, sort_keys=True)
    name = re.sub(r"[^A-Za-z0-9.-]+", "--", f"{dataset.repo}-{dataset.split}")
    return cache_dir() / "suites" / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"


def _cached(dataset: HubDataset, commit: str, limit: int | None) -> Path | None:
    """Return the cached manifest if it holds the rows asked for: all, or the first ``limit``."""
    manifest = _folder(dataset, commit) / "manifest.jsonl"
    partial = _folder(dataset, commit) / "partial.jsonl"
    if manifest.is_file():
        return manifest
    if limit is not None and partial.is_file() and len(partial.read_bytes().splitlines()) >= limit:
        return partial
    return None


def _resolve(dataset: HubDataset, place: str) -> str:
    _datasets_package()
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    try:
        info = HfApi().dataset_info(dataset.repo, revision=dataset.revision, timeout=PROBE_TIMEOUT_S)
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise SuiteError(
            f"the hub has no data set {dataset.repo} at revision {dataset.revision}",
            place=place,
            remedy="check repo and revision; for a gated data set log in with `hf auth login`",
        ) from error
    except Exception as error:
        if not _is_network(error):
            raise
        raise _unavailable(dataset, place, _first_line(error)) from error
    return str(info.sha)


def _download(dataset: HubDataset, commit: str, limit: int | None, place: str) -> Path:
    folder = _folder(dataset, commit)
    (folder / "audio").mkdir(parents=True, exist_ok=True)
    try:
        rows = [_store(row, i, dataset, folder) for i, row in enumerate(islice(_rows(dataset, commit), limit))]
    except KeyError as error:
        raise SuiteError(
            f"{dataset.repo} has no column {error}", place=place, remedy="correct the *_column names of the suite"
        ) from error
    except Exception as error:
        if not _is_network(error):
            raise
        raise _unavailable(dataset, place, _first_line(error)) from error
    path = folder / ("manifest.jsonl" if limit is None else "partial.jsonl")
    _write("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode(), path)
    return path


def _rows(dataset: HubDataset, commit: str) -> Iterator[dict[str, Any]]:
    """Stream the rows, audio as undecoded bytes; streaming keeps `--limit` from fetching the whole data set."""
    datasets = _datasets_package()
    stream = datasets.load_dataset(dataset.repo, dataset.config, split=dataset.split, revision=commit, streaming=True)
    yield from stream.cast_column(dataset.audio_column, datasets.Audio(decode=False))


def _store(row: dict[str, Any], index: int, dataset: HubDataset, folder: Path) -> dict[str, Any]:
    audio = row[dataset.audio_column]
    suffix = Path(audio.get("path") or "").suffix
    path = folder / "audio" / f"{index:06d}{suffix if _SUFFIX.fullmatch(suffix) else '.audio'}"
    if not path.is_file():
        content = audio.get("bytes")
        _write(content if content is not None else Path(audio["path"]).read_bytes(), path)
    return {
        "audio_filepath": f"audio/{path.name}",
        "text": row[dataset.text_column],
        "id": str(row[dataset.id_column]) if dataset.id_column else f"{index:06d}",
        "speaker": str(row[dataset.speaker_column]) if dataset.speaker_column else None,
    }


def _write(content: bytes, path: Path) -> None:
    staging = path.with_name(f".{path.name}.{os.getpid()}")
    with staging.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    staging.replace(path)


def _datasets_package() -> Any:
    try:
        import datasets
    except ImportError as error:
        raise BackendError(
            "reading a suite from the Hugging Face hub needs the package datasets",
            place="datasets",
            remedy="pip install 'fastwhisper-compress[datasets]'",
        ) from error
    return datasets


def _unavailable(dataset: HubDataset, place: str, reason: str) -> HubUnavailableError:
    return HubUnavailableError(
        f"the data set {dataset.repo} cannot be fetched: {reason}",
        place=place,
        remedy="run once with network access, or use the suite `demo`, which ships with the package, "
        "or a NeMo manifest of your own (--suite path.jsonl)",
    )


def _is_network(error: Exception) -> bool:
    packages = {cls.__module__.split(".")[0] for cls in type(error).__mro__}
    return isinstance(error, OSError | EOFError) or bool(packages & _NETWORK_PACKAGES)


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
