"""Reports: results.json in, pages out.

``Results`` is the typed record of a run, ``verdict`` its one-sentence judgement, ``render`` writes the reports beside it.
:mod:`fastwhisper_compress.report.compare` puts several runs on one page.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastwhisper_compress.report.judge import verdict
from fastwhisper_compress.report.model import Results
from fastwhisper_compress.report.utterances import Align, Row, read_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

__all__ = ["Results", "Row", "read_rows", "render", "verdict"]


def render(
    results: Results,
    baseline_rows: Iterable[Row | Mapping[str, object]],
    candidate_rows: Iterable[Row | Mapping[str, object]],
    out_dir: Path,
    *,
    align: Align | None = None,
) -> tuple[Path, ...]:
    """Write report.html, report.md and README.md (the model card) into ``out_dir``.

    Args:
        results: The run.
        baseline_rows: Per-utterance rows of the FP32 model, as in ``eval/baseline.jsonl``.
        candidate_rows: The same of the candidate.
        out_dir: The run folder.
        align: Word alignment, for tests; ``evaluation.wer.alignment`` otherwise.

    Returns:
        The files, each written whole or not at all.
    """
    from fastwhisper_compress.files import write_text
    from fastwhisper_compress.report.card import render_card
    from fastwhisper_compress.report.html import render_html
    from fastwhisper_compress.report.markdown import render_markdown
    from fastwhisper_compress.report.recordings import recordings_section
    from fastwhisper_compress.report.utterances import paired, to_rows, worst_utterances
    from fastwhisper_compress.report.view import build_view

    language = results.suite.language
    pairs = paired(to_rows(baseline_rows), to_rows(candidate_rows), language)
    worst = worst_utterances(pairs, language=language, align=align)
    view = build_view(results, worst, recordings_section(results, pairs, align))
    pages = {
        "report.md": render_markdown(view),
        "README.md": render_card(view, results),
        "report.html": render_html(view, results),
    }
    return tuple(write_text(out_dir / name, text) for name, text in pages.items())
