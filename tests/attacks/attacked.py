"""Run one command after the other in this process, as the program's own entry does, and watch its memory.

Each may reserve as much address space as the files that it is given have bytes, and 256 MB, on top of what there was
before it; what it really took is told besides. Reads ``commands.json``, and prints JSON.
"""

from __future__ import annotations

import io
import json
import os
import resource
import signal
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from fastwhisper_compress.cli import main

ALLOWANCE = 256_000_000
LONGEST_S = 30


def status(name):
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return 1024 * int(line.split()[1])


def size_of(path):
    """Bytes of the plain files at or below a path, as much as is really claimed by them."""
    found = [path, *path.rglob("*")] if path.is_dir() else [path]
    return sum(one.lstat().st_size for one in found if one.is_file() and not one.is_symlink())


def call(arguments):
    """Run a command; return its exit code and what it said."""
    sys.argv = ["fastwhisper-compress", *arguments]
    said = io.StringIO()
    with redirect_stderr(said), redirect_stdout(said):
        try:
            main()
        except SystemExit as end:
            return end.code or 0, said.getvalue()
        except TimeoutError:
            return "too long", said.getvalue()
    return 0, said.getvalue()


def too_long(*_):
    raise TimeoutError


def watched(arguments, given):
    """Run a command within its limit; return its exit code, what it said, and how much more memory it took."""
    Path("/proc/self/clear_refs").write_text("5")  # what follows is the peak of this command alone
    before, size = status("VmRSS"), size_of(Path(given))
    start = time.process_time()
    soft = status("VmSize") + size + ALLOWANCE
    resource.setrlimit(resource.RLIMIT_AS, (soft, resource.RLIM_INFINITY))
    signal.alarm(LONGEST_S)
    try:
        code, said = call(arguments)
    finally:
        signal.alarm(0)
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    return {
        "code": code,
        "said": said,
        "size": size,
        "grown": status("VmHWM") - before,
        "cpu_s": time.process_time() - start,
    }


if __name__ == "__main__":
    signal.signal(signal.SIGALRM, too_long)
    job = json.loads(Path("commands.json").read_text())
    for arguments in job["warm_up"]:
        call(arguments)
    os.environ["HF_HUB_OFFLINE"] = "1"
    json.dump({name: watched(*one) for name, one in job["commands"].items()}, sys.stdout)
