"""Run the job in forks of this process, which has imported everything: a run takes a few milliseconds."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crash.faults import Calls, failing, killed
from crash.job import Place, digest
from fastwhisper_compress.errors import ResourceError

_BUG = 70
ERRORS = (errno.EIO, errno.ENOSPC, errno.EACCES)


@dataclass(frozen=True)
class Reference:
    """An undisturbed run.

    Attributes:
        digest: Of what it published.
        contents: Of its stages.
        n_calls: How many calls touched the disk.
        seconds: How long it took.
    """

    digest: str
    contents: Mapping[str, str]
    n_calls: int
    seconds: float


def fork(work: Callable[[], object], *, before: Callable[[], object] = lambda: None) -> int:
    """Start work in a fork and return its process id; see :func:`end`."""
    child = os.fork()
    if child:
        return child
    code = _BUG
    try:
        before()
        work()
        code = 0
    except ResourceError as error:
        code = error.exit_code
    except BaseException:  # noqa: BLE001 - whatever it is, the parent is to know
        traceback.print_exc()
    finally:
        os._exit(code)


def end(child: int) -> int:
    """Wait for a fork and return its exit code, or the negative number of the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def reference(folder: Path) -> Reference:
    """Run the job undisturbed, after a run that loads what is loaded late."""
    Place(folder / "first").run()
    place = Place(folder / "reference").with_earlier()
    counted = folder / "calls"
    start = time.perf_counter()
    if end(fork(lambda: Place(folder / "timed").run())):
        raise RuntimeError("an undisturbed run failed")
    seconds = time.perf_counter() - start

    def count() -> None:
        calls = Calls()
        place.run()
        calls.stop()
        counted.write_text(str(calls.n))

    if end(fork(count)):
        raise RuntimeError("an undisturbed run failed")
    return Reference(digest(place.out), place.contents(), int(counted.read_text()), seconds)


def kill_one(folder: Path, known: Reference, number: int, seed: int) -> dict[str, Any]:
    """Kill a run at the next of its calls, or at any time once all calls had their turn, and finish it.

    Every other time the run that goes on is killed too, at one of its calls.

    Returns:
        ``kills``, ``corrupt`` and ``wrong`` (counts), ``rubbish`` (names), ``seconds``.
    """
    rng, start = random.Random(f"{seed} {number}"), time.perf_counter()  # noqa: S311 - a reproducible choice
    place = Place(folder / str(number)).with_earlier()
    row: dict[str, Any] = {"kills": 0, "corrupt": 0, "wrong": 0}

    def look(code: int) -> None:
        if code not in (0, -signal.SIGKILL):
            raise RuntimeError(f"a run ended with exit code {code}: kill {number}, seed {seed}, in {place.folder}")
        row["kills"] += code != 0
        row["corrupt"] += _corrupt(place, known)

    if number < known.n_calls:
        look(end(fork(place.run, before=lambda: Calls(number + 1, killed))))
    else:
        child = fork(place.run)
        time.sleep(rng.uniform(0, 1.2 * known.seconds))
        os.kill(child, signal.SIGKILL)
        look(end(child))
    if number % 2:
        at = rng.randint(1, known.n_calls)
        look(end(fork(place.run, before=lambda: Calls(at, killed))))
    return row | _finished(place, known) | {"seconds": round(time.perf_counter() - start, 3)}


def fail_each(folder: Path, known: Reference) -> Iterator[dict[str, Any]]:
    """Let each call of a run fail with each error, and finish the run; yield what came of it."""
    for number in ERRORS:
        for at in range(1, known.n_calls + 1):
            place = Place(folder / f"{errno.errorcode[number]}-{at}").with_earlier()
            full = number == errno.ENOSPC
            code = end(
                fork(
                    place.run,
                    before=lambda at=at, number=number, full=full: Calls(  # type: ignore[misc]
                        at, failing(number), full_from_then_on=full
                    ),
                )
            )
            row = {"error": errno.errorcode[number], "at": at, "code": code, "corrupt": _corrupt(place, known)}
            yield row | _finished(place, known)


def _corrupt(place: Place, known: Reference) -> int:
    """Return how many stages and output folders are there without being right."""
    found = place.contents()
    return sum(known.contents[kind] != content for kind, content in found.items()) + place.torn(known.digest)


def _finished(place: Place, known: Reference) -> dict[str, Any]:
    """Run to the end, clean, and look at what is there; the folder is kept if anything is wrong."""
    code = end(fork(place.run))
    if code:
        raise RuntimeError(f"a run that went on ended with exit code {code}: {place.folder}")
    place.clean()
    wrong = int(place.contents() != known.contents) + int(digest(place.out) != known.digest)
    rubbish = place.rubbish()
    if not wrong and not rubbish:
        shutil.rmtree(place.folder)
    return {"wrong": wrong, "rubbish": rubbish}
