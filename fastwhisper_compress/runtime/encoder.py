"""The encoder graph on ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from fastwhisper_compress.runtime.session import open_session

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import onnxruntime as ort


class Encoder(Protocol):
    """What the transcriber needs of an encoder.

    Attributes:
        outputs: Names of the graph's outputs.
    """

    outputs: tuple[str, ...]

    def run(self, mel: np.ndarray, names: tuple[str, ...]) -> dict[str, ort.OrtValue]:
        """Return the outputs of those names for a spectrogram float32 (batch, n_mels, frames)."""

    def run_into(self, mel: np.ndarray, outputs: Mapping[str, np.ndarray]) -> None:
        """Write the outputs of those names into arrays of just their shape; only on a CPU."""


class OnnxRuntimeEncoder:
    """The encoder where an artifact was written to run; for arguments and errors see ``open_session``."""

    def __init__(self, graph: Path, provider: str, threads: int | None = None) -> None:
        self._session = open_session(graph, provider, threads)
        self._provider = provider
        self.outputs = tuple(node.name for node in self._session.get_outputs())

    def run(self, mel: np.ndarray, names: tuple[str, ...]) -> dict[str, ort.OrtValue]:
        """Encode. ONNX Runtime allocates the outputs where its activations have been: they take no room of their own."""
        binding = self._session.io_binding()
        binding.bind_cpu_input("mel", mel)
        for name in names:
            binding.bind_output(name, self._provider)
        self._session.run_with_iobinding(binding)
        return dict(zip(names, binding.get_outputs(), strict=True))

    def run_into(self, mel: np.ndarray, outputs: Mapping[str, np.ndarray]) -> None:
        """Encode into arrays that are there already."""
        import onnxruntime as ort

        binding = self._session.io_binding()
        binding.bind_cpu_input("mel", mel)
        for name, array in outputs.items():
            binding.bind_ortvalue_output(name, ort.OrtValue.ortvalue_from_numpy(array))
        self._session.run_with_iobinding(binding)
