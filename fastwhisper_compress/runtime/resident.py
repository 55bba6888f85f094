"""Which of an artifact's models are in memory, and when.

``none`` opens all of them and keeps them. ``phase`` opens the encoder to encode a batch, the decoder to decode it, and
closes each before the other opens. ``layers`` keeps both open over weights of which only one layer is resident.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from fastwhisper_compress.errors import ProviderError, UsageError
from fastwhisper_compress.runtime.contract import Ports, check_models, ports
from fastwhisper_compress.runtime.decode import Decoder
from fastwhisper_compress.runtime.encoder import Encoder, OnnxRuntimeEncoder, RunsEncoder
from fastwhisper_compress.runtime.graph_file import check_graph
from fastwhisper_compress.runtime.hypothesis import Hypothesis
from fastwhisper_compress.runtime.layered import LayeredSession, WeightMap
from fastwhisper_compress.runtime.memory import release_free_memory, return_large_blocks
from fastwhisper_compress.runtime.openvino_encoder import OpenVinoEncoder
from fastwhisper_compress.runtime.phases import OnPhase, ignore_phase
from fastwhisper_compress.runtime.session import open_session

if TYPE_CHECKING:
    import numpy as np
    import onnxruntime as ort

    from fastwhisper_compress.runtime.manifest import Decoding, Manifest, Offload
    from fastwhisper_compress.runtime.options import Options

# Operators that are slow, or need more memory, unless their weights were repacked when the session opened. The others
# read them in the mapped file, which opens at once and has nothing to copy.
_REPACKED = {"DynamicQuantizeMatMul", "MatMulInteger", "MatMulNBits"}


class Decodes(Protocol):
    """What the transcriber needs of a decoder; see :class:`Decoder`."""

    def decode(
        self, cross: Mapping[str, ort.OrtValue], options: Options, *, on_phase: OnPhase = ignore_phase
    ) -> list[Hypothesis]:
        """Find the text of each clip."""

    def languages(self, cross: Mapping[str, ort.OrtValue]) -> np.ndarray:
        """Return how likely each language is."""

    def forced(self, cross: Mapping[str, ort.OrtValue], prompt: Sequence[int], tokens: Sequence[int]) -> np.ndarray:
        """Return the logits behind given tokens."""

    def queries(
        self, cross: Mapping[str, ort.OrtValue], sequences: Sequence[Sequence[int]]
    ) -> list[dict[int, np.ndarray]]:
        """Return what given tokens ask of the audio."""


@dataclass(frozen=True)
class Models:
    """An artifact's models.

    Attributes:
        log_mel: The session of the features.
        encoder: The encoder.
        decoder: The decoder.
        decoder_inputs: Its inputs by name.
        decoder_outputs: Likewise.
    """

    log_mel: ort.InferenceSession
    encoder: Encoder
    decoder: Decodes
    decoder_inputs: Ports
    decoder_outputs: Ports


def open_models(manifest: Manifest, threads: int | None, backend: str, offload: Offload) -> Models:
    """Open an artifact's graphs, which are looked at before; for other errors see ``open_session``.

    Raises:
        UnsafeInputError: A graph is not of this format, or not what the manifest says.
        ProviderError: Layers cannot be streamed to the provider.
        UsageError: There is no such backend, it cannot stream layers, or the artifact has none to stream.
    """
    if backend not in ("onnxruntime", "openvino"):
        raise UsageError(f"unknown backend {backend!r}", place="--backend", remedy="use onnxruntime or openvino")
    opened = _layers if offload == "layers" else _graphs
    models = opened(manifest, threads, backend, offload)
    check_models(manifest, models)
    return models


def _graphs(manifest: Manifest, threads: int | None, backend: str, offload: Offload) -> Models:
    for graph in manifest.graphs.values():
        check_graph(graph)
    lean = offload == "phase"
    if lean:
        return_large_blocks()
    prepack = not lean or bool(manifest.kernels & _REPACKED)
    graphs, provider = manifest.graphs, manifest.provider

    def open_encoder() -> OnnxRuntimeEncoder | OpenVinoEncoder:
        if backend == "openvino":
            return OpenVinoEncoder(graphs["encoder"], provider, threads)
        session = open_session(graphs["encoder"], provider, threads, lean=lean, prepack=prepack)
        return OnnxRuntimeEncoder(session, provider)

    def open_decoder() -> ort.InferenceSession:
        return open_session(graphs["decoder"], provider, threads, lean=lean, prepack=prepack)

    log_mel = open_session(graphs["log_mel"], "cpu", threads, lean=lean)
    encoder: Encoder = open_encoder()
    if lean:  # it was opened only to find out now whether it can be
        encoder = PhasedEncoder(open_encoder, encoder.outputs)
    release_free_memory()  # what unpacking the encoder's weights took, before the decoder's are
    session = open_decoder()
    decoder = PhasedDecoder(open_decoder, manifest.decoding) if lean else Decoder(session, manifest.decoding)
    return Models(log_mel, encoder, decoder, *ports(session))


def _layers(manifest: Manifest, threads: int | None, backend: str, offload: Offload) -> Models:
    if backend != "onnxruntime":
        raise UsageError(
            f"{backend} cannot stream layers", place=f"offload: {offload}", remedy="use offload: phase or none with it"
        )
    if manifest.provider != "cpu":
        raise ProviderError(
            f"layers are streamed into a CPU's memory, the artifact is for {manifest.provider}",
            place=f"offload: {offload}",
            remedy="use offload: phase",
        )
    if manifest.layers is None:
        raise UsageError(
            "the artifact was written without layers to stream",
            place=str(manifest.folder),
            remedy="run the recipe again with `-o offload=layers`, or use offload: phase",
        )
    for graph in [
        manifest.graphs["log_mel"],
        *(one.graph for one in manifest.layers.encoder + manifest.layers.decoder),
    ]:
        check_graph(graph)
    return_large_blocks()
    weights = WeightMap(manifest.layers.weights)
    log_mel = open_session(manifest.graphs["log_mel"], "cpu", threads, lean=True)
    encoder = OnnxRuntimeEncoder(LayeredSession(manifest.layers.encoder, weights, threads), "cpu")
    session = LayeredSession(manifest.layers.decoder, weights, threads)
    return Models(log_mel, encoder, Decoder(session, manifest.decoding), *ports(session))


class PhasedEncoder:
    """An encoder that is in memory while it encodes a batch.

    Attributes:
        outputs: Names of its outputs.
    """

    def __init__(self, opened: Callable[[], RunsEncoder], outputs: tuple[str, ...]) -> None:
        self._open = opened
        self.outputs = outputs

    @contextmanager
    def ready(self, on_phase: OnPhase) -> Iterator[RunsEncoder]:
        """Open it, and close it when the batch is encoded."""
        on_phase("load")
        encoder = _Outliving(self._open())
        try:
            yield encoder
        finally:
            encoder.close()
            release_free_memory()


class _Outliving:
    """An encoder whose outputs are copied: as they come, they keep alive the session that made them."""

    def __init__(self, encoder: RunsEncoder) -> None:
        self._encoder: RunsEncoder | None = encoder

    def run(self, mel: np.ndarray, names: tuple[str, ...]) -> dict[str, ort.OrtValue]:
        return {name: _copied(value) for name, value in self._opened().run(mel, names).items()}

    def run_into(self, mel: np.ndarray, outputs: Mapping[str, np.ndarray]) -> None:
        self._opened().run_into(mel, outputs)

    def close(self) -> None:
        """Let the session go, whoever else still holds this object."""
        self._encoder = None

    def _opened(self) -> RunsEncoder:
        if self._encoder is None:
            raise RuntimeError("the encoder is closed")
        return self._encoder


def _copied(value: ort.OrtValue) -> ort.OrtValue:
    """Return a value that owns its memory, on the same device."""
    import onnxruntime as ort

    array = value.numpy()
    copy = ort.OrtValue.ortvalue_from_shape_and_type(array.shape, array.dtype, value.device_name())
    copy.update_inplace(array)
    return copy


class PhasedDecoder:
    """A decoder that is in memory while it decodes; see :class:`Decoder` for its methods."""

    def __init__(self, opened: Callable[[], ort.InferenceSession], decoding: Decoding) -> None:
        self._open = opened
        self._decoding = decoding

    def decode(
        self, cross: Mapping[str, ort.OrtValue], options: Options, *, on_phase: OnPhase = ignore_phase
    ) -> list[Hypothesis]:
        """Open the decoder, find the texts, and close it."""
        on_phase("load")
        try:
            return Decoder(self._open(), self._decoding).decode(cross, options, on_phase=on_phase)
        finally:
            release_free_memory()

    def languages(self, cross: Mapping[str, ort.OrtValue]) -> np.ndarray:
        """Open the decoder, tell the languages, and close it."""
        try:
            return Decoder(self._open(), self._decoding).languages(cross)
        finally:
            release_free_memory()

    def forced(self, cross: Mapping[str, ort.OrtValue], prompt: Sequence[int], tokens: Sequence[int]) -> np.ndarray:
        """Open the decoder, compute the logits, and close it."""
        try:
            return Decoder(self._open(), self._decoding).forced(cross, prompt, tokens)
        finally:
            release_free_memory()

    def queries(
        self, cross: Mapping[str, ort.OrtValue], sequences: Sequence[Sequence[int]]
    ) -> list[dict[int, np.ndarray]]:
        """Open the decoder, read the tokens, and close it."""
        try:
            return Decoder(self._open(), self._decoding).queries(cross, sequences)
        finally:
            release_free_memory()
