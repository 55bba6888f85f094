"""How much memory and how many cores this process may have: what the machine has, less what containers allow.

Files of the system are read below ``root``, so that other systems can be tried.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from fastwhisper_compress.resources import usable_cpus

_ROOT = Path("/")
_KIB = 1024


def read(path: Path) -> str | None:
    """The text of a small system file, None if there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def total_bytes(root: Path = _ROOT) -> int:
    """Memory that this process can have at most: physical memory, or the least limit set on it."""
    limits = [limit for limit, _ in _cgroup_memory(root)]
    addresses = address_space()
    return min([_physical(root)[0], *limits, *([addresses] if addresses is not None else [])])


def available_bytes(root: Path = _ROOT) -> int:
    """Memory that is free for this process now, under the same limits. Caches that give way count as free."""
    addresses = address_space()
    rooms = [max(0, limit - used) for limit, used in _cgroup_memory(root) if used is not None]
    if addresses is not None and (taken := _virtual(root)) is not None:
        rooms.append(max(0, addresses - taken))
    return min([_physical(root)[1], *rooms])


def usable_cores(root: Path = _ROOT) -> float:
    """Cores' worth of time that this process gets: those it may run on, or the quota of its container if less."""
    return min([float(len(usable_cpus())), *_cgroup_cores(root)])


def _physical(root: Path) -> tuple[int, int]:
    """Total and available bytes of the machine."""
    found = {}
    for line in (read(root / "proc/meminfo") or "").splitlines():
        key, _, rest = line.partition(":")
        if (words := rest.split()) and words[0].isdigit():
            found[key] = int(words[0]) * _KIB
    if "MemTotal" in found and "MemAvailable" in found:
        return found["MemTotal"], found["MemAvailable"]
    import psutil

    memory = psutil.virtual_memory()
    return int(memory.total), int(memory.available)


def address_space() -> int | None:
    """The limit on addresses (``ulimit -v``), None where there is none."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if soft == resource.RLIM_INFINITY else soft


def _virtual(root: Path) -> int | None:
    """Addresses that this process has taken already."""
    for line in (read(root / "proc/self/status") or "").splitlines():
        if line.startswith("VmSize:"):
            return int(line.split()[1]) * _KIB
    return None


def _cgroup_memory(root: Path) -> Iterator[tuple[int, int | None]]:
    """Limit and usage of every control group above this process that has a limit."""
    for folder in _cgroups(root, "memory"):
        limit = _number(folder / "memory.max") or _number(folder / "memory.limit_in_bytes")
        if limit is None:
            continue
        used = _number(folder / "memory.current")
        used = used if used is not None else _number(folder / "memory.usage_in_bytes")
        # File pages that nobody has touched lately are counted as used, and given up when memory is asked for.
        idle = [line for line in (read(folder / "memory.stat") or "").splitlines() if "inactive_file " in line]
        given_up = max((int(line.split()[1]) for line in idle), default=0)
        yield limit, None if used is None else max(0, used - given_up)


def _cgroup_cores(root: Path) -> Iterator[float]:
    """Quota in cores of every control group above this process that has one."""
    for folder in _cgroups(root, "cpu"):
        quota, period = _number(folder / "cpu.cfs_quota_us"), _number(folder / "cpu.cfs_period_us")
        if words := (read(folder / "cpu.max") or "").split():
            quota, period = (int(word) if word.isdigit() else None for word in (words * 2)[:2])
        if quota and period:
            yield quota / period


def _cgroups(root: Path, controller: str) -> Iterator[Path]:
    """Folders of the groups that this process is in, from its own up to the top; versions 1 and 2."""
    mounted = root / "sys/fs/cgroup"
    for line in (read(root / "proc/self/cgroup") or "0::/").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and controller not in controllers.split(","):
            continue
        # Version 1 has a folder for each controller, or set of controllers, that is mounted; version 2 has one for all.
        top = mounted / controllers if (mounted / controllers).is_dir() else mounted / controller
        # Inside a container the path may be that of the host: what is not here is skipped.
        own = Path(path.lstrip("/"))
        yield from (folder for level in [own, *own.parents] if (folder := top / level).is_dir())


def _number(path: Path) -> int | None:
    """A whole number from a file; None if there is no such file or it says ``max`` or -1, which mean no limit."""
    text = read(path)
    return int(text) if text is not None and text.isdigit() else None
