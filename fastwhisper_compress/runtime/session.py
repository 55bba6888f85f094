"""ONNX Runtime sessions on exactly the provider that was asked for."""

from __future__ import annotations

from contextlib import contextmanager
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from fastwhisper_compress.errors import BackendError, ProviderError, UnsafeInputError
from fastwhisper_compress.runtime.out_of_memory import translated
from fastwhisper_compress.runtime.processor import has_dot_products

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import onnxruntime as ort

    from fastwhisper_compress.runtime.manifest import Manifest

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_PROVIDER_OPTIONS = {"cpu": {}, "cuda": {"use_tf32": "0"}}  # TF32 would round FP32 products to 10 bits

# What ONNX Runtime would do to our graphs on a CPU, which are written as they are to run, and be slower for it: the addition
# before a layer norm made part of it, and maxima taken over long rows instead of head by head.
SLOWER = ["SkipLayerNormFusion", "TransposeOptimizer", "TransposeOptimizer_CPUExecutionProvider"]

# Operators that only move integers and shapes about; ONNX Runtime keeps them on the CPU by design.
_PLUMBING = {
    *("Shape", "Slice", "Concat", "Add", "Sub", "Squeeze", "Unsqueeze", "Cast", "Range", "Greater", "Where"),
    *("Constant", "ConstantOfShape", "Identity", "MemcpyToHost", "MemcpyFromHost"),
}


def open_session(
    graph: Path,
    provider: str,
    threads: int | None = None,
    *,
    optimise: bool = True,
    lean: bool = False,
    prepack: bool = True,
    streamed: Mapping[str, ort.OrtValue] | None = None,
) -> ort.InferenceSession:
    """Open a graph.

    Args:
        graph: The ``.onnx`` file; its weights are mapped from the file beside it.
        provider: ``cpu`` or ``cuda``.
        threads: Of the CPU provider; None takes one a core.
        optimise: False leaves the graph as it was written.
        lean: Whether to take every activation from the system and give it back at once, rather than share one arena with
            other sessions, which keeps all it ever had.
        prepack: Whether kernels may copy weights into a layout they like better; False leaves them in the mapped file.
        streamed: For one part of a graph, weights by name that lie where the caller may drop them between runs: so
            nothing is computed from them beforehand or copied. Parts are lean.

    Raises:
        BackendError: ONNX Runtime is missing, twice installed, or without the provider.
        ProviderError: A computing node landed on another provider.
        OutOfMemoryError: Out of memory.
        UnsafeInputError: The file is not a graph that loads.
    """
    ort = require_provider(provider)
    options = _options(threads, lean=lean, prepack=prepack, streamed=streamed)
    if not optimise:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    if provider != "cpu":
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    disabled = [*(SLOWER if provider == "cpu" else ()), *(() if streamed is None else ("ConstantFolding",))]
    try:
        session = ort.InferenceSession(
            str(graph),
            options,
            providers=[(PROVIDERS[provider], _PROVIDER_OPTIONS[provider])],
            disabled_optimizers=disabled,
        )
    except Exception as error:  # ONNX Runtime's own exceptions share no base class of theirs
        if known := translated(error, "loading", str(graph)):
            raise known from error
        text = str(error).splitlines()[0][:300]
        raise UnsafeInputError(f"does not load: {text}", place=str(graph), remedy="run the recipe again") from error
    if PROVIDERS[provider] not in session.get_providers():
        raise ProviderError(
            f"{PROVIDERS[provider]} did not start, ONNX Runtime fell back to {', '.join(session.get_providers())}",
            place=f"--provider {provider}",
            remedy="check the driver and the CUDA libraries (`doctor` names the versions), or use --provider cpu",
        )
    if provider != "cpu":
        _refuse_strays(session, graph, provider)
    return session


@contextmanager
def computing(manifest: Manifest) -> Iterator[None]:
    """Tell graphs that fail while they run for what they are: not those that were verified when they were written.

    Raises:
        UnsafeInputError: One failed. (On a GPU, where drivers fail too, it is left as it is.)
    """
    try:
        yield
    except Exception as error:  # ONNX Runtime's own exceptions share no base class of theirs, and some are not its own
        own = type(error).__module__.startswith("onnxruntime") or str(error).startswith("Error in execution")
        if not own or manifest.provider != "cpu":
            raise
        text = str(error).splitlines()[0][:300]
        raise UnsafeInputError(
            f"its graphs fail: {text}", place=str(manifest.folder), remedy="run the recipe again"
        ) from error


def _options(
    threads: int | None, *, lean: bool, prepack: bool, streamed: Mapping[str, ort.OrtValue] | None
) -> ort.SessionOptions:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.enable_mem_pattern = False
    if lean or streamed is not None:
        options.enable_cpu_mem_arena = False
    else:
        _share_arena()
        options.add_session_config_entry("session.use_env_allocators", "1")
    if not prepack or streamed is not None:
        options.add_session_config_entry("session.disable_prepacking", "1")
    # The three sessions of an artifact run one after another: threads of one must not spin while the next one computes.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if not has_dot_products():
        # Such products would overflow. ONNX Runtime takes this exact way, 2.5 times as slow, with VNNI too if it is told to.
        options.add_session_config_entry("session.x64quantprecision", "1")
    if streamed is not None:
        # One level more, and constants are folded whatever is disabled: FP16 weights would stay in memory as FP32.
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        for name, value in streamed.items():
            options.add_initializer(name, value)
    if threads is not None:
        options.intra_op_num_threads = threads
    return options


def require_provider(provider: str) -> ort:
    """Import an ONNX Runtime that has the provider.

    Raises:
        BackendError: There is none.
    """
    ort = import_onnxruntime()
    if provider == "cuda":
        ort.preload_dlls()  # CUDA's libraries lie in packages of their own
    if PROVIDERS[provider] not in ort.get_available_providers():
        raise BackendError(
            f"this ONNX Runtime has no {PROVIDERS[provider]}",
            place=f"--provider {provider}",
            remedy="install fastwhisper-compress[gpu] instead of [cpu], or use --provider cpu",
        )
    return ort


def import_onnxruntime() -> ort:
    """Import ONNX Runtime, refusing an environment that holds two of them."""
    found = [name for name in ("onnxruntime", "onnxruntime-gpu") if _installed(name)]
    if len(found) > 1:
        raise BackendError(
            "two ONNX Runtimes are installed and overwrite each other's files: " + " and ".join(found),
            remedy="pip uninstall -y onnxruntime onnxruntime-gpu, then install one of the extras [cpu] or [gpu]",
        )
    try:
        import onnxruntime
    except ImportError as error:
        raise BackendError(
            "ONNX Runtime is not installed", remedy="pip install 'fastwhisper-compress[cpu]' (or [gpu])"
        ) from error
    onnxruntime.disable_telemetry_events()  # of Windows builds; the others have none
    return onnxruntime


@cache
def _share_arena() -> None:
    """Give all sessions of this process one arena, so that the decoder reuses what the encoder has given back.

    It starts as one large region: memory that is never touched costs nothing, while activations that grow from block to
    block would leave holes between many small regions. Chunks are split for the same reason.
    """
    import onnxruntime as ort

    place = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    sizes = {"initial_chunk_size_bytes": 1 << 27, "max_dead_bytes_per_chunk": 1 << 16}
    ort.create_and_register_allocator(place, ort.OrtArenaCfg(sizes))


def _installed(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


def _refuse_strays(session: ort.InferenceSession, graph: Path, provider: str) -> None:
    """Raise if a node that computes was given to another provider than asked."""
    for subgraph in session.get_provider_graph_assignment_info():
        if subgraph.ep_name == PROVIDERS[provider]:
            continue
        for node in subgraph.get_nodes():
            if node.op_type not in _PLUMBING:
                raise ProviderError(
                    f"{node.op_type} runs on {subgraph.ep_name}, not on {PROVIDERS[provider]}",
                    place=f"{graph.name}:{node.name}",
                    remedy="use another precision for this module, or --provider cpu",
                )
