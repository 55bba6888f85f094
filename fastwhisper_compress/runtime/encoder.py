"""The encoder graph on ONNX Runtime."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import onnxruntime as ort

    from fastwhisper_compress.runtime.layered import LayeredSession
    from fastwhisper_compress.runtime.phases import OnPhase


class RunsEncoder(Protocol):
    """An encoder that is in memory."""

    def run(self, mel: np.ndarray, names: tuple[str, ...]) -> dict[str, ort.OrtValue]:
        """Return the outputs of those names for a spectrogram float32 (batch, n_mels, frames)."""

    def run_into(self, mel: np.ndarray, outputs: Mapping[str, np.ndarray]) -> None:
        """Write the outputs of those names into arrays of just their shape; only on a CPU."""


class Encoder(Protocol):
    """An encoder that need not be in memory all the time.

    Attributes:
        outputs: Names of the graph's outputs.
    """

    outputs: tuple[str, ...]

    def ready(self, on_phase: OnPhase) -> AbstractContextManager[RunsEncoder]:
        """Have it in memory for as long as a batch is encoded; ``on_phase`` is told if it must be loaded."""


class OnnxRuntimeEncoder:
    """The encoder where an artifact was written to run, whole or in parts."""

    def __init__(self, session: ort.InferenceSession | LayeredSession, provider: str) -> None:
        self._session = session
        self._provider = provider
        self.outputs = tuple(node.name for node in session.get_outputs())

    def ready(self, on_phase: OnPhase) -> AbstractContextManager[RunsEncoder]:
        """Return itself: it is."""
        del on_phase
        return nullcontext(self)

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
