"""Speed and memory by batch size, as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastwhisper_compress.report.format import NONE, count, megabytes, number, ratio, seconds
from fastwhisper_compress.report.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastwhisper_compress.report.batch_model import BatchPoint, Throughput
    from fastwhisper_compress.report.model import Results


def throughput_table(results: Results, synthetic: str) -> Table | None:
    """Format the sweep over batch sizes; None where there was none."""
    found = results.throughput
    if found is None:
        return None
    video = any(point.peak_vram_bytes is not None for point in found.points)
    single = found.points[0]
    head = ["Clips at a time", "RTFx", "Speed", "Peak RSS", "Memory", *(["Peak VRAM"] if video else [])]
    return Table(
        "The candidate at several batch sizes" + (f" ({synthetic})" if synthetic else ""),
        (*head, "Texts as at batch 1"),
        tuple(_row(point, single, found, video=video) for point in found.points),
        note=_note(found),
    )


def _row(point: BatchPoint, single: BatchPoint, found: Throughput, *, video: bool) -> tuple[str, ...]:
    cells = [
        _size(point),
        _or_none(point.rtfx, lambda value: number(value, 1)),
        _against(point.rtfx, single.rtfx),
        _or_none(point.peak_rss_bytes, megabytes),
        _against(point.peak_rss_bytes, single.peak_rss_bytes),
        *([_or_none(point.peak_vram_bytes, megabytes)] if video else []),
        _or_none(point.texts_equal, lambda value: f"{number(value)} of {number(found.n_clips)}"),
    ]
    return tuple(cells)


def _size(point: BatchPoint) -> str:
    used = point.batch_size_used
    return number(point.batch_size) + (f", recovered to {number(used)}" if used not in (None, point.batch_size) else "")


def _against(value: float | None, single: float | None) -> str:
    return ratio(value / single) if value is not None and single else NONE


def _or_none(value: float | None, words: Callable[[float], str]) -> str:
    return NONE if value is None else words(value)


def _note(found: Throughput) -> str:
    text = (
        f"Each size in a process of its own, on the same {count(found.n_clips, 'clip')} ({seconds(found.audio_s)} of audio), "
        f"{count(found.threads, 'thread')}; speed and memory are ratios to batch 1."
    )
    failed = [point for point in found.points if point.error is not None]
    return " ".join([text, *(f"Batch {number(one.batch_size)} could not be measured: {one.error}." for one in failed)])
