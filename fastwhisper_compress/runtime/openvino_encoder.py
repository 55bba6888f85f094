"""The encoder graph on OpenVINO instead of ONNX Runtime.

OpenVINO reads the very graph that was written for ONNX Runtime, fused operators included, but computes it in its own
arithmetic: BF16 where the CPU has instructions for it (FP32 elsewhere), and other kernels for 8-bit weights. So the gate
that an artifact passed on ONNX Runtime says little about it here; ``eval --backend openvino`` measures what it costs.

Only the encoder: a decoder step was slower there than on ONNX Runtime (eval/baselines/openvino.md).
"""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from fastwhisper_compress.errors import BackendError, ProviderError, UnsafeInputError
from fastwhisper_compress.runtime.out_of_memory import translated

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import onnxruntime as ort

    from fastwhisper_compress.runtime.encoder import RunsEncoder
    from fastwhisper_compress.runtime.phases import OnPhase

_TELEMETRY = "openvino_telemetry"
_UNSUPPORTED = ("No conversion rule found", "Unsupported operation", "is not supported")


class OpenVinoEncoder:
    """One compiled encoder graph.

    Attributes:
        outputs: Names of its outputs.
    """

    def __init__(self, graph: Path, provider: str, threads: int | None = None) -> None:
        """Read and compile the graph.

        Args:
            graph: The ``.onnx`` file; its weights are mapped from the file beside it.
            provider: What the artifact was written for; only ``cpu`` runs here.
            threads: None takes one a core.

        Raises:
            BackendError: OpenVINO is not installed.
            ProviderError: The graph is for another provider, or holds an operator that OpenVINO cannot run.
            OutOfMemoryError: Out of memory.
            UnsafeInputError: The file is not a graph that loads.
        """
        if provider != "cpu":
            raise ProviderError(
                f"OpenVINO runs graphs written for cpu, not for {provider}",
                place="--backend openvino",
                remedy="run the recipe again with --provider cpu, or use --backend onnxruntime",
            )
        openvino = import_openvino()
        settings: dict[str, str | int] = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1}
        if threads is not None:
            settings["INFERENCE_NUM_THREADS"] = threads
        try:
            core = openvino.Core()
            model = core.read_model(graph)
            self.outputs = tuple(node.any_name for node in model.outputs)  # compiled ones carry inner names too
            compiled = core.compile_model(model, "CPU", settings)
        except (RuntimeError, MemoryError) as error:  # OpenVINO itself raises only the first
            raise translated(error, "loading", str(graph)) or _explained(str(error), graph) from error
        self._tensor = openvino.Tensor
        self._compiled = compiled

    def ready(self, on_phase: OnPhase) -> AbstractContextManager[RunsEncoder]:
        """Return itself: it is."""
        del on_phase
        return nullcontext(self)

    def run(self, mel: np.ndarray, names: tuple[str, ...]) -> dict[str, ort.OrtValue]:
        """Encode float32 (batch, n_mels, frames), which is read in place.

        A request of its own for each run: its buffers are the outputs, which nothing may overwrite later.
        """
        import onnxruntime as ort

        request = self._compiled.create_infer_request()
        request.set_input_tensor(self._tensor(mel, shared_memory=True))
        request.infer()
        return {name: ort.OrtValue.ortvalue_from_numpy(request.get_tensor(name).data) for name in names}

    def run_into(self, mel: np.ndarray, outputs: Mapping[str, np.ndarray]) -> None:
        """Encode into arrays that are there already."""
        request = self._compiled.create_infer_request()
        request.set_input_tensor(self._tensor(mel, shared_memory=True))
        for name, array in outputs.items():
            request.set_tensor(name, self._tensor(array, shared_memory=True))
        request.infer()


def import_openvino() -> ModuleType:
    """Import OpenVINO, and keep it from reporting that to its makers.

    Left alone it writes an id into the home folder and sends an event at every import. The telemetry is a package of
    its own, without which it goes on where that cannot be imported.

    Raises:
        BackendError: It is not installed.
    """
    hidden = _TELEMETRY not in sys.modules
    if hidden:
        sys.modules[_TELEMETRY] = None  # type: ignore[assignment]  # Python's own way to forbid an import
    try:
        import openvino
    except ImportError as error:
        raise BackendError(
            "OpenVINO is not installed",
            place="--backend openvino",
            remedy="pip install 'fastwhisper-compress[openvino]', or use --backend onnxruntime",
        ) from error
    finally:
        if hidden:
            del sys.modules[_TELEMETRY]
    module: ModuleType = openvino
    return module


def _explained(text: str, graph: Path) -> ProviderError | UnsafeInputError:
    reason = text.strip().splitlines()[-1][:300]  # the lines before it name OpenVINO's source files
    if any(words in text for words in _UNSUPPORTED):
        return ProviderError(
            f"OpenVINO cannot run it: {reason}",
            place=str(graph),
            remedy="use --backend onnxruntime, or leave the module out of the recipe's `fuse`",
        )
    return UnsafeInputError(f"does not load: {reason}", place=str(graph), remedy="run the recipe again")
