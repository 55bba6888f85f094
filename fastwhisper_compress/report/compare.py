"""Several runs on one page: which of them nothing else beats, in size, in memory and in speed."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastwhisper_compress.errors import OutputError, UsageError
from fastwhisper_compress.files import sweep, write_text
from fastwhisper_compress.report.format import count
from fastwhisper_compress.report.model import RESULTS_FILE, Results
from fastwhisper_compress.report.pareto import AXES, pareto_front

if TYPE_CHECKING:
    from collections.abc import Sequence

COMPARE_FILE = "compare.json"


@dataclass(frozen=True)
class Entry:
    """One line of the comparison: a candidate, or the FP32 baseline of a model (once per model)."""

    path: str
    recipe: str
    model: str
    model_digest: str
    baseline: bool
    comparable: bool
    not_comparable_because: str | None
    provider: str
    wer: float
    wer_delta_pp: float | None
    ci95_pp: tuple[float, float] | None
    size_on_disk_bytes: int
    weight_bytes: int
    peak_rss_bytes: int
    rtfx: float
    verdict: str


def compare(paths: Sequence[Path], out: Path) -> dict[str, Any]:
    """Put runs on one Pareto report: report.html, report.md and compare.json.

    Different models may stand side by side, different suites may not. Limited runs are listed, marked and never on a front.

    Args:
        paths: results.json files or run folders.
        out: Folder for the report; it must be new, empty or of an earlier comparison.

    Returns:
        The content of compare.json.

    Raises:
        UsageError: No runs, one run named twice, or runs of different suites.
        OutputError: ``out`` holds something else.
    """
    runs = load_runs(paths)
    files = [out / name for name in (COMPARE_FILE, "report.md", "report.html")]
    sweep(files)
    check_output(out)
    data = comparison(runs)
    from fastwhisper_compress.report.compare_pages import build_view, compare_html, compare_markdown

    view = build_view(data)
    # By the first the folder is known to be ours, should the others be cut off.
    figures = json.dumps(data, ensure_ascii=False, indent=2, allow_nan=False) + "\n"
    for file, text in zip(files, (figures, compare_markdown(view), compare_html(view, data)), strict=True):
        write_text(file, text)
    return data


def load_runs(paths: Sequence[Path]) -> list[tuple[Path, Results]]:
    """Load and check that the runs speak of the same utterances."""
    if not paths:
        raise UsageError("no runs to compare", place="RUN", remedy="name run folders or results.json files")
    files = [path / RESULTS_FILE if path.is_dir() else path for path in map(Path, paths)]
    resolved = [file.resolve() for file in files]
    for index, file in enumerate(resolved):
        if file in resolved[:index]:
            raise UsageError("this run is named twice", place=str(paths[index]), remedy="name each run once")
    runs = [(file, Results.load(file)) for file in files]
    # A limited run hears fewer utterances, so its digest differs by nature: name and language must do, and it is set apart.
    full = [run for run in runs if run[1].suite.limit is None]
    first_path, first = (full or runs)[0]
    for path, run in runs:
        suite, other = run.suite, first.suite
        same_name = (suite.name, suite.language) == (other.name, other.language)
        same_rows = suite.limit is not None or suite.digest == other.digest
        if not (same_name and same_rows) or run.candidate.eval.metric != first.candidate.eval.metric:
            why = "the same name but other utterances" if same_name else f"{suite.name} ({suite.language})"
            raise UsageError(
                f"runs of different suites cannot be compared: {why} here, {other.name} ({other.language}) in {first_path}",
                place=str(path),
                remedy="evaluate all runs on one suite with --suite",
            )
    return runs


def check_output(out: Path) -> None:
    """Refuse a folder that is not ours: above all a run folder, whose report would be overwritten."""
    if out.exists() and not out.is_dir():
        raise OutputError("not a folder", place=str(out), remedy="choose another folder with --out")
    if out.is_dir() and any(out.iterdir()) and not (out / COMPARE_FILE).is_file():
        raise OutputError(
            "the folder is not empty and holds no comparison",
            place=str(out),
            remedy="choose an empty or new folder with --out",
        )


def comparison(runs: Sequence[tuple[Path, Results]]) -> dict[str, Any]:
    """The data of compare.json: entries sorted by error rate, then size, and the fronts as positions in that list."""
    entries: list[Entry] = []
    seen: set[str] = set()
    for path, run in sorted(runs, key=lambda item: not item[1].comparable):  # the baseline of a full run is preferred
        if run.model.digest not in seen:
            seen.add(run.model.digest)
            entries.append(_entry(path, run, baseline=True))
        entries.append(_entry(path, run, baseline=False))
    entries.sort(key=lambda e: (not e.comparable, e.wer, e.size_on_disk_bytes, e.recipe, e.path))
    fronts = {}
    for axis in AXES:
        able = [index for index, entry in enumerate(entries) if entry.comparable]
        costs = [(getattr(entries[i], axis.field) * (-1 if axis.more_is_better else 1), entries[i].wer) for i in able]
        fronts[axis.key] = [able[position] for position in pareto_front(costs)]
    suite = runs[0][1].suite
    full = next((run.suite for _, run in runs if run.suite.limit is None), suite)
    return {
        "schema_version": 1,
        "suite": full.model_dump(mode="json"),
        "metric": runs[0][1].candidate.eval.metric,
        "runs": [asdict(entry) for entry in entries],
        "fronts": fronts,
        "notes": _notes(runs),
    }


def _entry(path: Path, run: Results, *, baseline: bool) -> Entry:
    side = run.baseline if baseline else run.candidate
    return Entry(
        path=path.resolve().parent.name,  # the folder's name: where it lies is this machine's affair
        recipe=side.recipe,
        model=run.model.id,
        model_digest=run.model.digest,
        baseline=baseline,
        comparable=run.comparable,
        not_comparable_because=run.not_comparable_because,
        provider=side.artifact.provider,
        wer=side.eval.wer,
        wer_delta_pp=None if baseline else run.delta.wer_delta_pp,
        ci95_pp=None if baseline else run.delta.ci95_pp,
        size_on_disk_bytes=side.artifact.size_on_disk_bytes,
        weight_bytes=side.memory.weight_bytes,
        peak_rss_bytes=side.memory.peak_rss_bytes,
        rtfx=side.eval.rtfx,
        verdict="" if baseline else run.verdict,
    )


def _notes(runs: Sequence[tuple[Path, Results]]) -> list[str]:
    """What stands in the way of taking the figures at face value."""
    notes = []
    if len({(r.environment.cpu, r.environment.platform) for _, r in runs}) > 1:
        notes.append("The runs come from different machines: memory and speed do not compare.")
    if len({r.candidate.eval.threads for _, r in runs}) > 1:
        notes.append("The runs used different numbers of threads: speed does not compare.")
    if len({r.recipe.provider for _, r in runs}) > 1:
        notes.append(
            "The runs used different providers: memory and speed compare between providers, not between recipes."
        )
    if len({json.dumps(r.environment.versions, sort_keys=True) for _, r in runs}) > 1:
        notes.append("The runs used different package versions.")
    limited = sum(not run.comparable for _, run in runs)
    if limited:
        notes.append(f"{count(limited, 'run')} limited or otherwise not comparable: listed last and on no front.")
    return notes
