"""Kill runs with SIGKILL again and again, or fail their disk, finish them, and compare what they made.

    python scripts/crash_loop.py --kills 5000 --log small.jsonl
    python scripts/crash_loop.py --kills 200 --model MODEL --log real.jsonl
    python scripts/crash_loop.py --faults

Without ``--model``, a job without torch is killed at every call that touches the disk and then at any time; with it,
``run`` of that model, at any time. Stopped and started again with the same log it goes on. With ``--faults`` each of that
job's calls fails in turn, with each of three errors. The exit code is 1 if a stage was there without being what was
written, a run ended with other bytes or an untyped error, or ``cache gc`` left something behind.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from crash.forks import fail_each, kill_one, reference
from crash.log import append, read_log, totals
from crash.real import Runs

from fastwhisper_compress.errors import ResourceError

Kill = Callable[[int], dict[str, Any]]


def main() -> int:
    """Read the arguments, kill, and print the sums as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--kills", type=int, help="how many processes are to be killed, in all")
    what.add_argument("--faults", action="store_true", help="let each call fail instead")
    parser.add_argument("--model", type=Path, help="kill the command line's run of this checkpoint")
    parser.add_argument("--log", type=Path, help="a row for each kill; goes on after the rows that are there")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="crash-loop-") as name:
        folder = Path(name)
        if asked.faults:
            return _faults(folder)
        log = asked.log or folder / "log.jsonl"
        rows = read_log(log)
        if rows and rows[0]["seed"] != asked.seed:
            parser.error(f"{log} was begun with --seed {rows[0]['seed']}")
        kill = _real(folder, asked.model, asked.seed) if asked.model else _small(folder, asked.seed)
        while sum(row["kills"] for row in rows) < asked.kills:
            row = kill(len(rows)) | {"number": len(rows), "seed": asked.seed}
            append(log, row)
            rows.append(row)
    found = totals(rows)
    print(json.dumps(found))
    return int(any(found[name] for name in ("corrupt", "wrong", "rubbish")))


def _faults(folder: Path) -> int:
    rows = list(fail_each(folder, reference(folder)))
    codes = Counter(f"{row['error']} {row['code']}" for row in rows)
    sums = {name: sum(row[name] for row in rows) for name in ("corrupt", "wrong")}
    rubbish = sum(len(row["rubbish"]) for row in rows)
    print(json.dumps({"faults": len(rows), "codes": codes} | sums | {"rubbish": rubbish}))
    untyped = any(row["code"] not in (0, ResourceError.exit_code) for row in rows)
    return int(untyped or rubbish > 0 or any(sums.values()))


def _small(folder: Path, seed: int) -> Kill:
    known = reference(folder)
    return lambda number: kill_one(folder, known, number, seed)


def _real(folder: Path, model: Path, seed: int) -> Kill:
    runs = Runs(folder, model)
    return lambda number: runs.kill_one(number, seed)


if __name__ == "__main__":
    sys.exit(main())
