"""From rows, one per variant, model and round, to medians, ratios and tables."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from bench_peers.peers import OURS

Row = Mapping[str, Any]

_MEDIANS = (
    "rtfx",
    "wer",
    "peak_rss_bytes",
    "rss_imports_bytes",
    "import_s",
    "load_s",
    "first_clip_s",
    "clip_wall_s_median",
    "artifact_bytes",
    "own_cores",
    "other_cores",
)
_RATIOS = ("rtfx", "peak_rss_bytes", "artifact_bytes", "load_s")
_MIB = 2**20
_MB = 1e6


def medians(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return one entry per model and variant, in the order of their first rows."""
    found = []
    for (model, peer, precision), group in _groups(rows).items():
        found.append(
            {
                "model": model,
                "peer": peer,
                "precision": precision,
                "rounds": len(group),
                "noisy_rounds": sum(bool(one["noisy"]) for one in group),
                **{key: statistics.median(one[key] for one in group) for key in _MEDIANS},
            }
        )
    return found


def ratios(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Compare each of our recipes with each peer: the median, over rounds, of the ratio within a round.

    A round counts where both were measured in it. ``wer_delta_pp`` is a difference: ours less the peer's.
    """
    groups = _groups(rows)
    found = []
    for (model, peer, precision), ours in groups.items():
        if peer not in OURS:
            continue
        for (other_model, other, other_precision), theirs in groups.items():
            if other in OURS or other_model != model:
                continue
            by_round = {one["round"]: one for one in theirs}
            pairs = [(one, by_round[one["round"]]) for one in ours if one["round"] in by_round]
            if not pairs:
                continue
            per_round = {key: [_ratio(mine[key], its[key]) for mine, its in pairs] for key in _RATIOS}
            found.append(
                {
                    "model": model,
                    "ours": precision if peer == "ours" else f"{peer}:{precision}",
                    "peer": other,
                    "precision": other_precision,
                    "rounds": len(pairs),
                    "noisy_rounds": sum(bool(mine["noisy"] or its["noisy"]) for mine, its in pairs),
                    **{key: statistics.median(values) for key, values in per_round.items()},
                    "rtfx_per_round": per_round["rtfx"],
                    "wer_delta_pp": 100 * statistics.median(mine["wer"] - its["wer"] for mine, its in pairs),
                }
            )
    return found


def tables(result: Mapping[str, Any]) -> str:
    """Return both tables in Markdown, with what they were measured on above them."""
    suite = result["manifest"]
    speech = "synthetic speech, " if suite["synthetic"] else ""
    cut = f", the first {suite['limit']} only" if suite["limit"] else ""
    head = (
        f"{suite['n_clips']} clips of {suite['name']} ({speech}{suite['audio_s'] / 60:.1f} min{cut}), {result['cpu']}, "
        f"{result['threads']} threads, {result['created'][:10]}, median of {result['rounds']} "
        f"round{'s' * (result['rounds'] != 1)}. Noisy: rounds in which other processes kept more than "
        f"{result['noisy_cores']} cores busy."
    )
    columns = ("model", "runtime", "precision", "RTFx", "WER %", "peak RSS MiB", "start s", "on disk MB", "noisy")
    lines = [head, "", *_head(columns, 3)]
    for one in result["medians"]:
        built = result["versions"].get(one["peer"], {}).get("build")
        lines.append(
            _line(
                one["model"],
                one["peer"] + (f" ({built})" if built and one["peer"] in _BUILDS else ""),
                one["precision"],
                f"{one['rtfx']:.1f}",
                f"{100 * one['wer']:.2f}",
                f"{one['peak_rss_bytes'] / _MIB:.0f}",
                f"{one['import_s'] + one['load_s']:.2f}",
                f"{one['artifact_bytes'] / _MB:.1f}",
                f"{one['noisy_rounds']}/{one['rounds']}",
            )
        )
    lines += ["", "Ours by the peer, round by round:", ""]
    columns = ("model", "ours", "against", "speed", "of the rounds", "memory", "on disk", "WER, points", "noisy")
    lines += _head(columns, 3)
    for one in result["ratios"]:
        lines.append(
            _line(
                one["model"],
                one["ours"],
                f"{one['peer']} {one['precision']}",
                f"{one['rtfx']:.2f}",
                f"{min(one['rtfx_per_round']):.2f} to {max(one['rtfx_per_round']):.2f}",
                f"{one['peak_rss_bytes']:.2f}",
                f"{one['artifact_bytes']:.2f}",
                f"{one['wer_delta_pp']:+.2f}",
                f"{one['noisy_rounds']}/{one['rounds']}",
            )
        )
    return "\n".join(lines) + "\n"


_BUILDS = frozenset({"whisper.cpp"})  # the only peer that is faster when compiled for the CPU at hand


def _groups(rows: Sequence[Row]) -> dict[tuple[str, str, str], list[Row]]:
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for one in rows:
        groups.setdefault((one["model"], one["peer"], one["precision"]), []).append(one)
    return groups


def _ratio(mine: float, its: float) -> float:
    return mine / its if its else float("nan")


def _head(columns: Sequence[str], n_words: int) -> list[str]:
    rule = (":--" if i < n_words else "--:" for i in range(len(columns)))
    return [_line(*columns), _line(*rule)]


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
