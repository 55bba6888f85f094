"""Run a recipe in two worlds and compare what comes of it, byte by byte.

``python scripts/reproduce.py int8_attn_fp16 --model openai/whisper-tiny.en --limit 5``; exit code 1 if anything differs.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from reproducible.compare import differences
from reproducible.worlds import World, two_worlds

OUT = "out"


def run_twice(folder: Path, commands: Sequence[Sequence[object]]) -> tuple[World, World]:
    """Run a command in each of two worlds, at the same time; both leave their results in ``OUT``.

    Args:
        folder: Below which the worlds are made.
        commands: For each world, what follows ``run``.

    Raises:
        RuntimeError: One of them failed.
    """
    worlds = two_worlds(folder)
    started = [
        world.start("run", *command, "--out", OUT, "--json") for world, command in zip(worlds, commands, strict=True)
    ]
    ended = [process.communicate() for process in started]
    for process, (_, err) in zip(started, ended, strict=True):
        if process.returncode:
            raise RuntimeError(f"a run ended with exit code {process.returncode}:\n{err}")
    return worlds


def main() -> int:
    """Run, compare, and print what differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("--model", required=True)
    parser.add_argument("--limit", default="5")
    parser.add_argument("--threads", default="1", help="of each of the two, which run at the same time")
    asked = parser.parse_args()
    command = (asked.recipe, "--model", asked.model, "--limit", asked.limit, "--threads", asked.threads)
    with tempfile.TemporaryDirectory() as name:
        one, two = run_twice(Path(name), (command, (*command, "--offline")))
        found = [*differences(one.folder / OUT, two.folder / OUT), *two.sockets]
    print("\n".join(found) or "the same to the last byte, clocks and meters aside")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
