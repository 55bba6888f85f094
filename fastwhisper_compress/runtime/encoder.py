"""The encoder graph on ONNX Runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    import onnxruntime as ort

    from fastwhisper_compress.runtime.layered import LayeredSession


class Encoder(Protocol):
    """What the transcriber needs of an encoder.

    Attributes:
        outputs: Names of the graph's outputs.
    """

    outputs: tuple[str, ...]

    def run(self, mel: np.ndarray, names: tuple[str, ...]) -> dict[str, ort.OrtValue]:
        """Return the outputs of those names for a spectrogram float32 (batch, n_mels, frames)."""


class OnnxRuntimeEncoder:
    """The encoder where an artifact was written to run, whole or in parts."""

    def __init__(self, session: ort.InferenceSession | LayeredSession, provider: str) -> None:
        self._session = session
        self._provider = provider
        self.outputs = tuple(node.name for node in session.get_outputs())

    def run(self, mel: np.ndarray, names: tuple[str, ...]) -> dict[str, ort.OrtValue]:
        """Encode. ONNX Runtime allocates the outputs where its activations have been: they take no room of their own."""
        binding = self._session.io_binding()
        binding.bind_cpu_input("mel", mel)
        for name in names:
            binding.bind_output(name, self._provider)
        self._session.run_with_iobinding(binding)
        return dict(zip(names, binding.get_outputs(), strict=True))
