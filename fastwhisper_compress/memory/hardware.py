"""Find a device by its name: shipped profiles, a file of one's own, or the present machine."""

from __future__ import annotations

import re
from difflib import get_close_matches
from functools import cache
from pathlib import Path

from fastwhisper_compress.errors import UsageError
from fastwhisper_compress.memory.device import Device, Kind
from fastwhisper_compress.memory.device_file import read_device_file

_FOLDER = Path(__file__).parent / "devices"
_SUFFIXES = (".yaml", ".yml")
# Words of product names that say nothing: the maker, and the brands under which each number is sold but once.
_NOISE = frozenset({"nvidia", "geforce", "tesla"})


def device_names() -> list[str]:
    """The names of the shipped profiles, without reading them."""
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))


@cache
def _shipped(name: str) -> Device:
    """One shipped profile: a file each, because a plan needs but one and YAML is slow to read."""
    (device,) = read_device_file(_FOLDER / f"{name}.yaml")
    return device


def devices() -> dict[str, Device]:
    """Every shipped profile by its name."""
    return {name: _shipped(name) for name in device_names()}


def find_device(name: str, *, place: str = "--device", provider: Kind = "cpu") -> Device:
    """Return the device that is meant.

    Args:
        name: A name or alias of a shipped profile, however it is spelled (``T4``, ``rtx 3060``); a file of profiles
            (``my-device.yaml``, or ``my-devices.yaml#name`` if it holds several); or ``auto``: the present machine.
        place: What to call the place of the name in errors.
        provider: Whether ``auto`` means the host or its GPU.

    Raises:
        UsageError: if there is no such device, naming the nearest and all known; or if a file cannot be used.
        BackendError: if ``auto`` is to be a GPU and none can be seen.
    """
    if _squeezed(name) == "auto":
        from fastwhisper_compress.memory.local import detect

        return detect(provider, place=place)
    path, _, inner = name.partition("#")
    if path.lower().endswith(_SUFFIXES):
        return _of_file(Path(path), inner, place)
    if found := profile_of(name):
        return found
    close = get_close_matches(name[:80].lower(), [*device_names(), *_aliases()], n=1)
    raise UsageError(
        f"there is no device {name[:80]!r}" + (f"; did you mean {close[0]!r}?" if close else ""),
        place=place,
        remedy=f"name one of {', '.join(device_names())}; auto for this machine; or a file of profiles (.yaml)",
    )


def profile_of(name: str) -> Device | None:
    """The shipped profile with this name, alias or product name, if there is one."""
    wanted = _squeezed(name)
    for shipped in device_names():
        if _squeezed(shipped) == wanted:
            return _shipped(shipped)
    return next((_shipped(known) for alias, known in _aliases().items() if _squeezed(alias) == wanted), None)


def _aliases() -> dict[str, str]:
    return {alias: name for name, device in devices().items() for alias in device.aliases}


def _squeezed(name: str) -> str:
    """Two spellings of one name, squeezed, are equal."""
    words = re.findall(r"[a-z0-9]+", name.lower())
    return "".join(word for word in words if word not in _NOISE)


def _of_file(path: Path, name: str, place: str) -> Device:
    found = {device.name: device for device in read_device_file(path)}
    if name in found:
        return found[name]
    if not name and len(found) == 1:
        return next(iter(found.values()))
    raise UsageError(
        f"{path} has no device {name!r}" if name else f"{path} has {len(found)} devices",
        place=place,
        remedy=f"say which: {', '.join(f'{path}#{known}' for known in found)}",
    )
