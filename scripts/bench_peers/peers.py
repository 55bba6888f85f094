"""What can be compared, and how each peer is installed and converted for."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fastwhisper_compress.errors import UsageError

OURS: Mapping[str, str] = {"ours": "ours", "ours-openvino": "ours_openvino"}
"""This project by the backend of its encoder: name on the command line, and module of ``bench_peers.runners``."""

Command = Callable[[Path, Path, str], list[str]]
"""From checkpoint folder, target folder and precision to the converter's arguments, for its Python interpreter."""


def _ctranslate2(source: Path, target: Path, precision: str) -> list[str]:
    arguments = ["--model", str(source), "--output_dir", str(target), "--quantization", precision, "--force"]
    return [
        *("-m", "ctranslate2.converters.transformers"),
        *arguments,
        *("--copy_files", "tokenizer.json", "preprocessor_config.json"),
    ]


def _openvino(source: Path, target: Path, precision: str) -> list[str]:
    task = ["--library", "transformers", "--task", "automatic-speech-recognition-with-past"]
    arguments = ["export", "openvino", "--model", str(source), *task, "--weight-format", precision, str(target)]
    return ["-m", "optimum.commands.optimum_cli", *arguments]


def _onnxruntime_genai(source: Path, target: Path, precision: str) -> list[str]:
    arguments = ["-i", str(source), "-o", str(target), "-p", precision, "-e", "cpu", "-c", str(target.parent / "cache")]
    return ["-m", "onnxruntime_genai.models.builder", *arguments]


def _own(name: str) -> Command:
    return lambda source, target, precision: [
        *("-m", f"bench_peers.converters.{name}"),
        *(str(source), str(target), precision),
    ]


@dataclass(frozen=True)
class Peer:
    """One runtime.

    Attributes:
        name: As it is called on the command line; also its environment and lock file.
        runner: Module of ``bench_peers.runners``.
        precisions: What it can be asked for.
        convert: Its converter; None if it reads the Hugging Face folder itself.
        source_build: Packages to compile for this very CPU instead of taking the wheel, with the environment variables
            of the build. If that fails the wheel is taken, and the table says so.
    """

    name: str
    runner: str
    precisions: tuple[str, ...]
    convert: Command | None
    source_build: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


_CMAKE = (
    "-DGGML_NATIVE=ON",
    "-DWHISPER_BUILD_EXAMPLES=OFF",
    "-DWHISPER_BUILD_TESTS=OFF",
    "-DCMAKE_INSTALL_RPATH=$ORIGIN",  # the extension finds the libraries beside it
    "-DCMAKE_BUILD_WITH_INSTALL_RPATH=ON",
)
# With ggml's kernels for AMX its 8-bit models crash where a virtual machine has that unit (version 1.5.1).
_NO_AMX = "-mno-amx-tile -mno-amx-int8 -mno-amx-bf16"

PEERS = {
    peer.name: peer
    for peer in (
        Peer("faster-whisper", "faster_whisper", ("int8", "float32"), _ctranslate2),
        Peer("openvino-genai", "openvino_genai", ("int8", "int4", "fp32"), _openvino),
        Peer(
            "whisper.cpp",
            "whisper_cpp",
            ("q8_0", "q5_1", "f16"),
            _own("whisper_cpp"),
            {
                "pywhispercpp": {
                    "NO_REPAIR": "1",
                    "CMAKE_ARGS": " ".join(_CMAKE),
                    "CFLAGS": _NO_AMX,
                    "CXXFLAGS": _NO_AMX,
                }
            },
        ),
        Peer("transformers", "transformers", ("fp32", "bf16"), None),
        Peer("onnxruntime-genai", "onnxruntime_genai", ("int8", "int4", "fp32"), _onnxruntime_genai),
        Peer("sherpa-onnx", "sherpa_onnx", ("int8", "fp32"), _own("sherpa_onnx")),
    )
}


@dataclass(frozen=True)
class Variant:
    """A peer at one precision, or this project with one recipe (``peer`` is then ``ours``)."""

    peer: str
    precision: str

    def __str__(self) -> str:
        return f"{self.peer}:{self.precision}"

    @property
    def is_ours(self) -> bool:
        """Whether it is this project."""
        return self.peer in OURS

    @property
    def folder_name(self) -> str:
        """The precision, or for a recipe file its stem, as part of a folder's name."""
        return Path(self.precision).stem if self.is_ours else self.precision


def parse_variants(text: str) -> tuple[Variant, ...]:
    """Read ``ours:RECIPE,PEER:PRECISION,...``.

    Raises:
        UsageError: An unknown peer or precision, or one given twice.
    """
    found: list[Variant] = []
    for item in filter(None, (part.strip() for part in text.split(","))):
        peer, _, precision = item.partition(":")
        known = (*OURS, *PEERS)
        if peer not in known:
            near = difflib.get_close_matches(peer, known, n=1)
            raise UsageError(
                f"unknown peer {peer!r}" + (f"; did you mean {near[0]!r}?" if near else ""),
                place="--peers",
                remedy=f"use {', '.join(known)}",
            )
        if not precision or (peer not in OURS and precision not in PEERS[peer].precisions):
            choices = "a recipe" if peer in OURS else " or ".join(PEERS[peer].precisions)
            raise UsageError(f"{item!r} needs a precision", place="--peers", remedy=f"write {peer}: and {choices}")
        variant = Variant(peer, precision)
        if variant in found:
            raise UsageError(f"{item!r} is given twice", place="--peers", remedy="give it once")
        found.append(variant)
    if not found:
        raise UsageError("nothing to measure", place="--peers", remedy="name one, such as ours:int8_dynamic")
    return tuple(found)
