"""Read an artifact's manifest: what the runtime must know besides the graphs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from fastwhisper_compress.errors import ArtifactError, FastWhisperError, ProviderError, UnsafeInputError
from fastwhisper_compress.runtime.json_file import read_json
from fastwhisper_compress.runtime.parts import Layers, read_layers

FORMAT = "fastwhisper-compress/native"
SCHEMA_VERSION = 4
_WINDOW_S = 30
_GRAPHS = ("log_mel", "encoder", "decoder")
_OFFLOADS = ("none", "phase", "layers")

Offload = Literal["none", "phase", "layers"]
"""What leaves memory while it is not needed: nothing, encoder or decoder in turn, or every layer but the one at work."""

BatchSize = int | Literal["auto"]
"""How many clips are decoded together; ``auto`` is what fits into the memory that is free when a job begins."""


@dataclass(frozen=True)
class Decoding:
    """Token ids that steer decoding; ``None`` and empty where the model has none.

    Attributes:
        sot: Start of transcript.
        eot: End of text.
        sot_prev: What earlier text stands behind.
        no_timestamps: Prompt token that asks for text alone.
        timestamp_begin: The first timestamp, 0 s.
        no_speech: Its probability at the start of transcript tells silence.
        transcribe: Task token of a multilingual model, as is ``translate``.
        translate: Task token.
        languages: Language code to id; empty for an English-only model.
        suppress: Never to be chosen.
        begin_suppress: Not to be chosen first.
        alignment_heads: (decoder layer, head) pairs whose cross attention follows time; empty when unknown.
        max_length: Most tokens a sequence may have, prompt included.
    """

    sot: int
    eot: int
    sot_prev: int
    no_timestamps: int
    timestamp_begin: int
    no_speech: int | None
    transcribe: int | None
    translate: int | None
    languages: Mapping[str, int]
    suppress: tuple[int, ...]
    begin_suppress: tuple[int, ...]
    alignment_heads: tuple[tuple[int, int], ...]
    max_length: int

    @property
    def largest_id(self) -> int:
        """The largest id that decoding may feed to the model or look up in its logits."""
        optional = [token for token in (self.transcribe, self.translate, self.no_speech) if token is not None]
        prompt = [self.sot, self.eot, self.sot_prev, self.no_timestamps, *optional, *self.languages.values()]
        return max(*prompt, self.timestamp_begin, *self.suppress, *self.begin_suppress)


@dataclass(frozen=True)
class EncoderContext:
    """How much the encoder is given of each clip.

    Attributes:
        margin_s: Seconds behind the end of the clip; None is Whisper's own way, a full window of 30 s always.
    """

    margin_s: float | None = None


@dataclass(frozen=True)
class Manifest:
    """An artifact's folder and what its ``manifest.json`` says.

    Attributes:
        folder: The artifact.
        provider: ``cpu`` or ``cuda``: what its graphs were written for.
        graphs: Graph name to file.
        tokenizer: Its ``tokenizer.json``.
        decoding: Token ids.
        encoder_context: What the recipe chose.
        batch_size: How many clips the recipe would decode together.
        offload: What the recipe would keep out of memory.
        kernels: Operators that its modules are computed by.
        layers: The parts to stream it in; None where it was written without.
    """

    folder: Path
    provider: str
    graphs: dict[str, Path]
    tokenizer: Path
    decoding: Decoding
    encoder_context: EncoderContext
    batch_size: BatchSize
    offload: Offload
    kernels: frozenset[str]
    layers: Layers | None


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
        raw: dict[str, Any] = read_json(path)
    except (FileNotFoundError, NotADirectoryError):
        raise ArtifactError(
            "not an artifact: it has no manifest.json",
            place=str(folder),
            remedy="give the --out folder of a finished run",
        ) from None
    except (OSError, ValueError, RecursionError) as error:
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
            sot=_count(ids["sot"]),
            eot=_count(ids["eot"]),
            sot_prev=_count(ids["sot_prev"]),
            no_timestamps=_count(ids["no_timestamps"]),
            timestamp_begin=_count(ids["timestamp_begin"]),
            no_speech=_optional_count(ids["no_speech"]),
            transcribe=_optional_count(ids["transcribe"]),
            translate=_optional_count(ids["translate"]),
            languages={str(code): _count(token) for code, token in ids["languages"].items()},
            suppress=tuple(_count(token) for token in ids["suppress"]),
            begin_suppress=tuple(_count(token) for token in ids["begin_suppress"]),
            alignment_heads=tuple((_count(layer), _count(head)) for layer, head in ids["alignment_heads"]),
            max_length=_count(ids["max_length"]),
        )
        graphs = {name: inside_of(folder, str(raw["graphs"][name])) for name in _GRAPHS}
        tokenizer = inside_of(folder, "tokenizer.json")
        context = EncoderContext(_optional_margin(raw["encoder_context"]["margin_s"]))
        batch_size, offload = _batch_size(raw["batch_size"]), _offload(raw["offload"])
        kernels = frozenset(str(module["kernel"]) for module in raw["modules"])
        layers = None if raw["layers"] is None else read_layers(raw["layers"], partial(inside_of, folder))
        written_for = str(raw["provider"])
    except FastWhisperError:
        raise  # some of ours are ValueErrors too
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
    return Manifest(folder, written_for, graphs, tokenizer, decoding, context, batch_size, offload, kernels, layers)


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r} is no token id or length")
    return value


def _batch_size(value: Any) -> BatchSize:
    if value == "auto":
        return "auto"
    if _count(value) == 0:
        raise ValueError("0 is no number of clips")
    return int(value)


def _offload(value: Any) -> Offload:
    if value not in _OFFLOADS:
        raise ValueError(f"{value!r} is none of {', '.join(_OFFLOADS)}")
    found: Offload = value
    return found


def _optional_count(value: Any) -> int | None:
    return None if value is None else _count(value)


def _optional_margin(value: Any) -> float | None:
    if value is None:
        return None
    if type(value) not in (int, float) or not 0 <= value <= _WINDOW_S:
        raise ValueError(f"{value!r} is no margin of 0 to {_WINDOW_S} s")
    return float(value)


def inside_of(folder: Path, name: str) -> Path:
    """Return the file of a manifest entry, refusing one that leaves the artifact.

    Raises:
        ArtifactError: There is no such file.
        UnsafeInputError: It lies elsewhere, or has a name that no file can have.
    """
    path = folder / name
    try:
        outside = Path(name).is_absolute() or not path.resolve().is_relative_to(folder.resolve())
        missing = not path.is_file()
    except (OSError, RuntimeError, ValueError) as error:  # too long a name, a loop of links, a NUL
        raise UnsafeInputError(
            f"no name that a file can have ({type(error).__name__}): {name[:80]!a}",
            place=str(folder / "manifest.json"),
            remedy="do not use this artifact",
        ) from None
    if outside or (missing and path.is_symlink()):
        raise UnsafeInputError("a path leaves the artifact", place=name, remedy="do not use this artifact")
    if missing:
        raise ArtifactError(
            "missing file", place=str(path), remedy="copy the whole artifact folder, or run the recipe again"
        )
    return path
