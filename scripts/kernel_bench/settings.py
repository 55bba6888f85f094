"""Session settings to compare with the shipped ones, put into the runtime of a child process from outside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal
from unittest import mock

MIB = 2**20
_SHIPPED_CHUNK = 128 * MIB


@dataclass(frozen=True)
class Setting:
    """How sessions are opened.

    Attributes:
        name: What tables call it.
        options: Attributes of ``SessionOptions``; a graph optimisation level by its name.
        config: Session configuration entries.
        arena: ``shared`` by all sessions as shipped, ``own`` for each session, or ``none``.
        arena_sizes: Of a shared arena, instead of the shipped ones.
        threads: Instead of those asked for.
        one_pool: Whether all sessions share one thread pool.
        in_memory: Whether the weight file is read into memory instead of mapped.
        prepacked: Whether the graphs were saved with their weights already packed.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, str] = field(default_factory=dict)
    arena: Literal["shared", "own", "none"] = "shared"
    arena_sizes: Mapping[str, int] = field(default_factory=dict)
    threads: int | None = None
    one_pool: bool = False
    in_memory: bool = False
    prepacked: bool = False


def _config(key: str, value: str = "1") -> Setting:
    return Setting(f"{key}={value}", config={key: value})


def _level(name: str) -> Setting:
    return Setting(f"graph_optimization_level={name}", options={"graph_optimization_level": name})


def _chunk(mib: int) -> Setting:
    return Setting(f"shared arena, first region {mib} MiB", arena_sizes={"initial_chunk_size_bytes": mib * MIB})


SHIPPED = Setting("as shipped")
DEVICE_ALLOCATOR = _config("session.use_device_allocator_for_initializers")
FILE_BUFFERS = _config("session.use_external_initializer_file_buffers_directly")
NO_PREPACKING = _config("session.disable_prepacking")
IN_MEMORY = Setting("weight file read into memory", in_memory=True)
PREPACKED = Setting("saved prepacked", prepacked=True)

SETTINGS: tuple[Setting, ...] = (
    SHIPPED,
    Setting("an arena per session", arena="own"),
    Setting("no arena", arena="none"),
    _chunk(32),
    Setting("enable_mem_pattern=True", options={"enable_mem_pattern": True}),
    _config("session.intra_op.allow_spinning", "0"),
    _config("session.force_spinning_stop", "0"),
    _config("session.intra_op.spin_duration_us", "50"),
    _config("session.intra_op.spin_duration_us", "1000"),
    Setting("one thread pool for all sessions", one_pool=True),
    _level("ORT_ENABLE_BASIC"),
    _level("ORT_ENABLE_EXTENDED"),
    DEVICE_ALLOCATOR,
    FILE_BUFFERS,
    IN_MEMORY,
    PREPACKED,
    _config("session.prepack.enable_parallel"),
    Setting("threads=1", threads=1),
)
BY_NAME = {setting.name: setting for setting in (*SETTINGS, NO_PREPACKING)}


def install(setting: Setting, threads: int) -> None:
    """Make every session that this process opens from now on one of ``setting``."""
    import onnxruntime as ort

    from fastwhisper_compress.runtime import resident, session

    if setting.prepacked:  # whose places of weights in their file are not those that are allowed of a stranger's graph
        mock.patch.object(resident, "check_graph", return_value=None).start()
    if setting.arena != "shared" or setting.arena_sizes:
        mock.patch.object(session, "_share_arena", cache(partial(_arena, setting))).start()
    if setting.one_pool:
        ort.set_global_thread_pool_sizes(threads, 1)
    open_original = ort.InferenceSession

    def open_changed(graph: str, options: Any, **rest: Any) -> Any:
        _apply(setting, options)
        buffers = _in_memory(options, Path(graph).parent) if setting.in_memory else []
        try:
            return open_original(graph, options, **rest)
        finally:
            buffers.clear()  # until here ONNX Runtime reads them

    mock.patch.object(ort, "InferenceSession", open_changed).start()


def save_prepacked(graph: Path, folder: Path) -> Path:
    """Save an optimised graph whose weights are packed for this machine's kernels already."""
    import onnxruntime as ort

    from fastwhisper_compress.runtime.session import SLOWER

    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(folder / graph.name)
    options.add_session_config_entry("session.save_external_prepacked_constant_initializers", "1")
    options.add_session_config_entry("session.optimized_model_external_initializers_file_name", f"{graph.stem}.bin")
    options.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "1024")
    ort.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"], disabled_optimizers=SLOWER)
    return folder / graph.name


def _apply(setting: Setting, options: Any) -> None:
    import onnxruntime as ort

    if setting.arena != "shared":
        options.add_session_config_entry("session.use_env_allocators", "0")
        options.enable_cpu_mem_arena = setting.arena == "own"
    if setting.one_pool:
        options.use_per_session_threads = False
    for name, value in setting.options.items():
        known = getattr(ort.GraphOptimizationLevel, value) if isinstance(value, str) else value
        setattr(options, name, known)
    for key, value in setting.config.items():
        options.add_session_config_entry(key, value)


def _in_memory(options: Any, folder: Path) -> list[bytes]:
    """Hand the weight files of a folder over as bytes; they must live until the session is open."""
    buffers = {path.name: path.read_bytes() for path in folder.glob("*.bin")}
    sizes = [len(data) for data in buffers.values()]
    options.add_external_initializers_from_files_in_memory(list(buffers), list(buffers.values()), sizes)
    return list(buffers.values())


def _arena(setting: Setting) -> None:
    """Register the arena that a setting asks for, in place of the runtime's."""
    import onnxruntime as ort

    if setting.arena != "shared":
        return
    place = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    shipped = {"initial_chunk_size_bytes": _SHIPPED_CHUNK, "max_dead_bytes_per_chunk": 1 << 16}
    ort.create_and_register_allocator(place, ort.OrtArenaCfg({**shipped, **setting.arena_sizes}))
