"""Set up the peers below one folder, and tell what is not set up.

``envs/NAME`` are virtual environments, ``checkpoints/MODEL`` our checkpoint as a Hugging Face folder,
``artifacts/PEER/MODEL-PRECISION`` what a peer reads, ``ours/RECIPE-MODEL`` what this project runs. A stamp beside each
(``*.json``) holds what it was made from; one that was made from something else counts as missing.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench_peers.peers import OURS, PEERS, Variant
from fastwhisper_compress.checkpoint.known import model_id
from fastwhisper_compress.checkpoint.open import open_checkpoint
from fastwhisper_compress.checkpoint.safetensors_file import write_safetensors
from fastwhisper_compress.errors import ArtifactError, BackendError
from fastwhisper_compress.resources import data_dir

Tell = Callable[[str], None]

HERE = Path(__file__).resolve().parent
CONVERTERS = "converters"
_BUILD_LIMIT_S = 600
_STDERR_TAIL = 2_000
# The layers of the package that decide what an artifact holds.
_EMITTING = ("checkpoint", "recipe", "passes", "emit")


@dataclass(frozen=True)
class Home:
    """The folder of everything that is set up.

    Attributes:
        root: The folder.
        ours: Where artifacts of this project come from instead, named as ``run`` names them; None builds them.
    """

    root: Path
    ours: Path | None = None

    def environment(self, name: str) -> Path:
        """Return a virtual environment's folder."""
        return self.root / "envs" / name

    def python(self, variant: Variant) -> Path:
        """Return the interpreter that runs a variant."""
        return Path(sys.executable) if variant.is_ours else _python(self.environment(variant.peer))

    def artifact(self, variant: Variant, model: str) -> Path:
        """Return the folder that a variant reads."""
        if variant.is_ours:
            base = self.ours or self.root / "ours"
            return base / f"{variant.folder_name}-{Path(model_id(model)).name}"
        if PEERS[variant.peer].convert is None:
            return self.checkpoint(model)
        return self.root / "artifacts" / variant.peer / f"{_file_name(model)}-{variant.precision}"

    def checkpoint(self, model: str) -> Path:
        """Return the folder of a model in Hugging Face's format."""
        return self.root / "checkpoints" / _file_name(model)

    def build(self, peer: str) -> str:
        """Return how a peer was installed: ``wheel``, or ``native`` if it was compiled for this CPU."""
        return "" if peer in OURS else str((_stamp(self.environment(peer)) or {}).get("build", ""))


def missing(home: Home, variants: Iterable[Variant], models: Sequence[str]) -> list[str]:
    """Name everything that is not set up."""
    found: list[str] = []
    for variant in variants:
        if not variant.is_ours and not _installed(home, variant.peer):
            found.append(f"environment of {variant.peer}")
        found += [f"{variant} for {model}" for model in models if not _converted(home, variant, model)]
    return found


def require(home: Home, variants: Iterable[Variant], models: Sequence[str]) -> None:
    """Refuse to measure while something is missing.

    Raises:
        BackendError: Names all that is.
    """
    if lacks := missing(home, variants, models):
        raise BackendError(
            f"not set up, or made by older sources: {'; '.join(lacks)}",
            place=str(home.root),
            remedy="run again with --setup",
        )


def set_up(home: Home, variants: Sequence[Variant], models: Sequence[str], tell: Tell) -> None:
    """Make everything that is missing.

    Raises:
        BackendError: An installation or a converter failed.
        FastWhisperError: The checkpoint or the recipe cannot be used.
    """
    peers = [PEERS[variant.peer] for variant in variants if not variant.is_ours]
    converting = [CONVERTERS] if any(peer.convert for peer in peers) else []
    for name in dict.fromkeys([*(peer.name for peer in peers), *converting]):
        if not _installed(home, name):
            tell(f"install {name}")
            _install(home, name)
    if peers:
        for model in models:
            tell(f"checkpoint {model}")
            _write_checkpoint(home.checkpoint(model), model)
    todo = [(v, m) for v in variants for m in models if not _converted(home, v, m)]
    for variant, model in todo:
        if not variant.is_ours:
            tell(f"convert {model} for {variant}")
            _convert(home, variant, model)
    if home.ours is None:
        # In a store of its own: a stage that an older version of the sources left would be taken for a new one.
        home.root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".store-", dir=home.root) as store:
            for variant, model in todo:
                if variant.is_ours:
                    tell(f"run {variant.precision} on {model}")
                    _run_recipe(home, variant, model, Path(store))


def versions(home: Home, peer: str) -> dict[str, str]:
    """Return the locked versions of a peer's environment."""
    lines = (line.partition("==") for line in lock_file(peer).read_text(encoding="utf-8").splitlines() if "==" in line)
    return {name: version for name, _, version in lines} | ({"build": build} if (build := home.build(peer)) else {})


def lock_file(name: str) -> Path:
    """Return the file of an environment's exact versions."""
    return HERE / "locks" / f"{name}.txt"


def child_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a process that finds ``bench_peers`` and goes to no model hub."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))}
    fixed = {
        "PYTHONPATH": str(HERE.parent),
        "PYTHONSAFEPATH": "1",
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "DO_NOT_TRACK": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    return inherited | fixed | dict(extra)


def _installed(home: Home, name: str) -> bool:
    stamp = _stamp(home.environment(name))
    return stamp is not None and stamp.get("lock") == _digest([lock_file(name)])


def _install(home: Home, name: str) -> None:
    folder, lock = home.environment(name), lock_file(name)
    shutil.rmtree(folder, ignore_errors=True)
    _call([sys.executable, "-m", "venv", str(folder)], f"the environment of {name}")
    pip = [str(_python(folder)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
    pins = [line for line in lock.read_text(encoding="utf-8").splitlines() if "==" in line]
    if torch := [pin for pin in pins if pin.startswith("torch==")]:  # what it depends on differs between its builds
        _call([*pip, *torch, "-c", str(lock)], f"torch for {name}")
    build = "wheel"
    for package, variables in (PEERS[name].source_build if name in PEERS else {}).items():
        pin = next(line for line in pins if line.startswith(f"{package}=="))
        command = [*pip, "--no-deps", "--no-binary", package, "--no-cache-dir", pin]
        try:
            _call(command, f"the native build of {package}", extra=variables, limit_s=_BUILD_LIMIT_S)
            build = "native"
        except BackendError:
            continue
    _call([*pip, "--no-deps", "-r", str(lock)], f"the packages of {name}")
    _write_stamp(folder, {"lock": _digest([lock]), "build": build})


def _write_checkpoint(folder: Path, model: str) -> None:
    from fastwhisper_compress.emit.configs import config_files

    checkpoint = open_checkpoint(model)
    made_from = {"checkpoint": checkpoint.digest}
    if _stamp(folder) == made_from:
        return
    import numpy as np

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, content in config_files(checkpoint).items():
        (folder / name).write_bytes(content)
    tensors = {f"model.{name}": t.astype(np.float32, copy=False) for name, t in checkpoint.tensors.items()}
    write_safetensors(folder / "model.safetensors", tensors, {"format": "pt"})
    _write_stamp(folder, made_from)


def _made_from(home: Home, variant: Variant, model: str) -> dict[str, Any]:
    """All that decides what a peer's artifact holds."""
    made = dict(_stamp(home.checkpoint(model)) or {})
    convert = PEERS[variant.peer].convert
    if convert is not None:
        made["lock"] = _digest([lock_file(CONVERTERS)])
        made["command"] = convert(Path("source"), Path("target"), variant.precision)
        if any(word.startswith("bench_peers.") for word in made["command"]):  # a converter of our own
            made["converters"] = _digest(sorted((HERE / "converters").glob("*.py")))
    return made


def _converted(home: Home, variant: Variant, model: str) -> bool:
    folder = home.artifact(variant, model)
    if variant.is_ours:
        if home.ours is not None:
            return (folder / "manifest.json").is_file()
        return _stamp(folder) == {"sources": _sources(variant.precision)}
    return _stamp(folder) == _made_from(home, variant, model) and folder.is_dir()


def _convert(home: Home, variant: Variant, model: str) -> None:
    convert, folder = PEERS[variant.peer].convert, home.artifact(variant, model)
    if convert is None:
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".draft-", dir=folder.parent) as draft:
        target = Path(draft) / "out"
        target.mkdir()
        python = _python(home.environment(CONVERTERS))
        _call([str(python), *convert(home.checkpoint(model), target, variant.precision)], f"conversion for {variant}")
        target.rename(folder)
    _write_stamp(folder, _made_from(home, variant, model))


def _run_recipe(home: Home, variant: Variant, model: str, store: Path) -> None:
    folder = home.artifact(variant, model)
    shutil.rmtree(folder, ignore_errors=True)
    sources = _sources(variant.precision)
    arguments = ["run", variant.precision, "--model", model, "--suite", "demo", "--limit", "1", "--out", str(folder)]
    _call(
        [sys.executable, "-m", "fastwhisper_compress", *arguments],
        str(variant),
        extra={"FASTWHISPER_CACHE": str(store), "HF_HUB_OFFLINE": os.environ.get("HF_HUB_OFFLINE", "0")},
    )
    if not (folder / "manifest.json").is_file():
        raise ArtifactError("the run left no artifact", place=str(folder), remedy="run the recipe by itself")
    _write_stamp(folder, {"sources": sources})


def _sources(recipe: str) -> str:
    """Digest of what decides the content of an artifact: the recipe, and the code of the layers that write it."""
    import fastwhisper_compress

    package = Path(fastwhisper_compress.__file__).parent
    code = [path for layer in _EMITTING for path in sorted((package / layer).rglob("*.py"))]
    shipped = data_dir("recipes") / f"{recipe}.yaml"
    return _digest([*code, shipped if shipped.is_file() else Path(recipe)])


def _python(environment: Path) -> Path:
    return environment / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def _file_name(model: str) -> str:
    return model.strip("/").replace("/", "--")


def _digest(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        digest.update(hashlib.sha256(path.read_bytes() if path.is_file() else b"").digest())
    return digest.hexdigest()


def _stamp_file(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.json")


def _stamp(folder: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(_stamp_file(folder).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _write_stamp(folder: Path, content: Mapping[str, Any]) -> None:
    _stamp_file(folder).write_text(json.dumps(content) + "\n", encoding="utf-8")


def _call(
    command: Sequence[str], what: str, *, extra: Mapping[str, str] | None = None, limit_s: float | None = None
) -> None:
    try:
        done = subprocess.run(  # noqa: S603
            command,
            env=child_environment(extra or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=limit_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise BackendError(f"took longer than {limit_s:.0f} s", place=what, remedy="try again") from error
    if done.returncode:
        tail = done.stderr.decode(errors="replace")[-_STDERR_TAIL:]
        raise BackendError(f"failed (exit code {done.returncode}):\n{tail}", place=what, remedy="see the message above")
