"""What is written down of a training: a line of JSON for each step."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from fastwhisper_compress.files import write_text

FILE = "log.jsonl"


@dataclass(frozen=True)
class Point:
    """One step.

    Attributes:
        step: Its number, from 1.
        loss: What was made smaller: the parts below by their weights.
        kl: Divergence from the teacher's scores, for each token.
        ce: Cross entropy on the teacher's text, for each token.
        hidden: Squared error of the outputs of encoder and decoder as a share of the teacher's square.
        grad_norm: Length of the gradient before it was clipped; None where it overflowed half precision and the step was
            left out.
        learning_rate: Of this step.
        seconds: How long it took.
    """

    step: int
    loss: float
    kl: float
    ce: float
    hidden: float
    grad_norm: float | None
    learning_rate: float
    seconds: float


class Log:
    """The log of a training in a folder; the steps that a resumed training makes again replace those of before."""

    def __init__(self, folder: Path, *, upto: int = 0) -> None:
        self._path = folder / FILE
        self.points = [point for point in read_log(folder) if point.step <= upto]
        write_text(self._path, "".join(map(_line, self.points)))

    def add(self, point: Point) -> None:
        """Write a step down."""
        self.points.append(point)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(_line(point))


def read_log(folder: Path) -> list[Point]:
    """Return the steps in a folder's log; a last line that was cut off by a crash is left out."""
    path = folder / FILE
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [Point(**json.loads(line)) for line in lines if line.endswith("\n")]


def _line(point: Point) -> str:
    return json.dumps(asdict(point)) + "\n"
