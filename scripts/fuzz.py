"""Feed the program broken and hostile files: each is to be read, or refused by a typed error, within its time.

    python scripts/fuzz.py recipes --count 1000000 --log recipes.jsonl
    python scripts/fuzz.py audio --count 100000 --jobs 2
    python scripts/fuzz.py ctranslate2 --count 1000 --seed 5000

Case n of a seed is case 0 of the seed + n, so that a bad one is tried again by ``--count 1 --seed`` and its number, which is
told with it; ``--keep`` also writes its file. Stopped and started again with the same log it goes on. A recipe and a
``model.bin`` (a small one) may take 100 ms of computing, audio 5 s. The exit code is 1 if a case ended badly.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from crash.log import append, read_log
from fuzz_cases.kinds import KINDS
from fuzz_cases.trying import summed, try_cases

_BLOCK = 500  # cases between two rows of the log


def main() -> int:
    """Read the arguments, try the cases, and print the sums as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--count", type=int, required=True, help="how many cases, in all")
    parser.add_argument("--seed", type=int, default=0, help="the number of the first case")
    parser.add_argument("--log", type=Path, help="a row for each block of cases; goes on after the rows that are there")
    parser.add_argument("--jobs", type=int, default=1, help="how many processes at a time")
    parser.add_argument("--keep", type=Path, help="a folder for the files of bad cases")
    asked = parser.parse_args()
    rows = read_log(asked.log) if asked.log else []
    if any(row["kind"] != asked.kind for row in rows):
        parser.error(f"{asked.log} is a log of {rows[0]['kind']}")
    done = {row["seed"]: row["cases"] for row in rows}
    for row in _tried(asked.kind, _blocks(asked.seed, asked.count, done), asked.jobs):
        if asked.log:
            append(asked.log, row)
        rows.append(row)
        for bad in row["bad"]:
            print(f"case {bad['seed']}: {bad['what']}", file=sys.stderr, flush=True)
            if asked.keep:
                _keep(asked.keep, asked.kind, bad["seed"])
    found = summed(rows)
    print(json.dumps({"kind": asked.kind} | found | {"seconds": round(sum(row["seconds"] for row in rows), 1)}))
    return int(bool(found["bad"]))


def _blocks(first: int, count: int, done: dict[int, int]) -> Iterator[tuple[int, int]]:
    """The first number and the length of what is still to be tried."""
    at = first
    while at < first + count:
        n = done.get(at) or min(_BLOCK, first + count - at)
        if at not in done:
            yield at, n
        at += n


def _tried(kind: str, blocks: Iterator[tuple[int, int]], jobs: int) -> Iterator[dict[str, Any]]:
    """The rows of blocks, in order; a thread waits for each process."""
    with ThreadPoolExecutor(jobs) as pool:
        rows = pool.map(lambda block: {"kind": kind, "seed": block[0]} | try_cases(kind, *block), blocks)
        yield from rows


def _keep(folder: Path, kind: str, seed: int) -> None:
    suffix, data = KINDS[kind]().case(seed)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{kind}-{seed}{suffix}").write_bytes(data)


if __name__ == "__main__":
    sys.exit(main())
