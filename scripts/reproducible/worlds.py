"""Two worlds to run a command in: other folders, locale, time zone, hash seed and mask, and in one of them no network."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

# Read by Python when it starts, in every process of the second world. Whatever asks for a socket is written down and fails.
# The locale is put into effect for numbers too, as a program does that this package is imported into.
_SITE = """
import locale, os, sys

def _refuse(event, arguments):
    if event.startswith("socket."):
        with open(os.environ["SOCKETS_LOG"], "a") as log:
            log.write(f"{event} {arguments}\\n")
        raise PermissionError("there are no sockets in this world")

sys.addaudithook(_refuse)
locale.setlocale(locale.LC_ALL, "")
"""
_FROM_OUTSIDE = ("PATH", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "SYSTEMROOT")
_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class World:
    """Where a command runs.

    Attributes:
        folder: The working folder; everything else that the command may touch lies beside it.
        variables: The whole environment.
        umask: Of files that are made.
        prefix: What the command is started with.
    """

    folder: Path
    variables: Mapping[str, str]
    umask: int
    prefix: tuple[str, ...] = ()

    def start(self, *arguments: object) -> subprocess.Popen[str]:
        """Start the command line of this package."""
        return self.start_python("-m", "fastwhisper_compress", *map(str, arguments))

    def start_python(self, *arguments: str) -> subprocess.Popen[str]:
        """Start Python."""
        return subprocess.Popen(  # noqa: S603 - this interpreter
            [*self.prefix, sys.executable, *arguments],
            cwd=self.folder,
            env=dict(self.variables),
            umask=self.umask,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )

    @property
    def sockets(self) -> list[str]:
        """What asked for a socket, in a world without."""
        log = Path(self.variables["SOCKETS_LOG"])
        return log.read_text(encoding="utf-8").splitlines() if log.exists() else []


def two_worlds(folder: Path) -> tuple[World, World]:
    """Make two worlds below a folder; the second has no sockets, and no network where that can be taken away."""
    first = _world(folder / "one", {"PYTHONHASHSEED": "0", "LC_ALL": "C", "TZ": "UTC"}, 0o022)
    second = _world(
        folder / "a second, wörld",
        {"PYTHONHASHSEED": "4242", "TZ": "Asia/Kathmandu", **_comma_locale(folder)},
        0o077,
        without_network(),
    )
    site = second.folder.parent / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(_SITE, encoding="utf-8")
    log = second.folder.parent / "sockets.log"
    path = os.pathsep.join([str(site), second.variables["PYTHONPATH"]])
    variables = {**second.variables, "PYTHONPATH": path, "SOCKETS_LOG": str(log)}
    return first, World(second.folder, variables, second.umask, second.prefix)


def without_network() -> tuple[str, ...]:
    """Return what starts a command in a namespace of its own without network; nothing where that is not allowed."""
    command = ("unshare", "--map-root-user", "--net")
    if shutil.which(command[0]) is None:
        return ()
    return () if subprocess.run([*command, "true"], capture_output=True, check=False).returncode else command  # noqa: S603


def _world(folder: Path, variables: Mapping[str, str], umask: int, prefix: tuple[str, ...] = ()) -> World:
    places = {name: folder / name for name in ("work", "home", "tmp", "cache")}
    for place in places.values():
        place.mkdir(parents=True)
    own = {
        "HOME": str(places["home"]),
        "TMPDIR": str(places["tmp"]),
        "FASTWHISPER_CACHE": str(places["cache"]),
        "PYTHONPATH": str(_ROOT),
        "OMP_NUM_THREADS": "1",  # torch would start a thread a core in each of them
    }
    outside = {name: os.environ[name] for name in _FROM_OUTSIDE if name in os.environ}
    return World(places["work"], {**outside, **own, **variables}, umask, prefix)


def _comma_locale(folder: Path) -> dict[str, str]:
    """Make a locale that writes a decimal comma, where the system can."""
    if shutil.which("localedef"):
        made = folder / "locales" / "de_DE.UTF-8"
        made.parent.mkdir(parents=True)
        subprocess.run(["localedef", "-i", "de_DE", "-f", "UTF-8", made], capture_output=True, check=False)  # noqa: S603, S607
        if made.is_dir():
            return {"LC_ALL": made.name, "LOCPATH": str(made.parent)}
    return {"LC_ALL": "C.UTF-8"}
