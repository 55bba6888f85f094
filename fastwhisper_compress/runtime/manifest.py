"""Read an artifact's manifest: what the runtime must know besides the graphs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastwhisper_compress.errors import ArtifactError, ProviderError, UnsafeInputError

FORMAT = "fastwhisper-compress/native"
SCHEMA_VERSION = 1
_GRAPHS = ("log_mel", "encoder", "decoder")


@dataclass(frozen=True)
class Decoding:
    """Token ids that steer decoding; ``None`` and empty where an English-only model has none."""

    sot: int
    eot: int
    no_timestamps: int
    transcribe: int | None
    translate: int | None
    languages: Mapping[str, int]
    suppress: tuple[int, ...]
    begin_suppress: tuple[int, ...]
    max_length: int


@dataclass(frozen=True)
class Manifest:
    """An artifact's folder and what its ``manifest.json`` says.

    Attributes:
        folder: The artifact.
        provider: ``cpu`` or ``cuda``: what its graphs were written for.
        graphs: Graph name to file.
        decoding: Token ids.
    """

    folder: Path
    provider: str
    graphs: Mapping[str, Path]
    decoding: Decoding


def read_manifest(folder: Path, provider: str | None = None) -> Manifest:
    """Read and check ``manifest.json`` of an artifact.

    Args:
        folder: The artifact.
        provider: What it is to run on; None takes what its graphs were written for.

    Raises:
        ArtifactError: The folder is no artifact, or files are missing.
        ProviderError: Its graphs were written for another provider.
        UnsafeInputError: The manifest names files outside its folder or holds values of a wrong type.
    """
    path = folder / "manifest.json"
    try:
        raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise ArtifactError(
            "not an artifact: it has no manifest.json",
            place=str(folder),
            remedy="give the --out folder of a finished run",
        ) from None
    except (OSError, ValueError) as error:
        raise ArtifactError(f"unreadable: {error}", place=str(path), remedy="run the recipe again") from None
    if not isinstance(raw, dict) or (raw.get("format"), raw.get("schema_version")) != (FORMAT, SCHEMA_VERSION):
        raise ArtifactError(
            f"not a {FORMAT} manifest of version {SCHEMA_VERSION}",
            place=str(path),
            remedy="run the recipe again with this version of fastwhisper-compress",
        )
    try:
        ids = raw["decoding"]
        decoding = Decoding(
            sot=int(ids["sot"]),
            eot=int(ids["eot"]),
            no_timestamps=int(ids["no_timestamps"]),
            transcribe=_optional_int(ids["transcribe"]),
            translate=_optional_int(ids["translate"]),
            languages={str(code): int(token) for code, token in ids["languages"].items()},
            suppress=tuple(int(token) for token in ids["suppress"]),
            begin_suppress=tuple(int(token) for token in ids["begin_suppress"]),
            max_length=int(ids["max_length"]),
        )
        graphs = {name: _inside(folder, str(raw["graphs"][name])) for name in _GRAPHS}
        written_for = str(raw["provider"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UnsafeInputError(
            f"damaged manifest ({type(error).__name__}: {error})", place=str(path), remedy="run the recipe again"
        ) from None
    if written_for not in ("cpu", "cuda"):
        raise UnsafeInputError(f"unknown provider {written_for!r}", place=str(path), remedy="run the recipe again")
    if provider not in (None, written_for):
        raise ProviderError(
            f"the artifact's graphs were written for {written_for}, not for {provider}",
            place=f"--provider {provider}",
            remedy=f"run the recipe again with --provider {provider}",
        )
    return Manifest(folder, written_for, graphs, decoding)


def _optional_int(value: Any) -> int | None:
    return None if value is None else int(value)


def _inside(folder: Path, name: str) -> Path:
    """Return the file of a manifest entry, refusing one that leaves the artifact."""
    path = folder / name
    if Path(name).is_absolute() or not path.resolve().is_relative_to(folder.resolve()):
        raise UnsafeInputError("a path leaves the artifact", place=name, remedy="do not use this artifact")
    if not path.is_file():
        raise ArtifactError(
            "missing file", place=str(path), remedy="copy the whole artifact folder, or run the recipe again"
        )
    return path
