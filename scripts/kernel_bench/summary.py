"""The figures of ``scripts/bench_kernels.py`` as Markdown tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kernel_bench.layers import CONTRAST, SHIPPING

_MB = 1e6
_TIMES = (
    "Milliseconds, median, of all layers of a kind together (`4x`: of so many layers); the fastest in bold. "
    "`nbits8/128` is MatMulNBits with 8 bits and a scale per 128 weights, activations rounded to INT8 "
    "(accuracy_level 4)."
)
_HELD = (
    "Weights in the file: what a process holds once the graph is loaded, its own memory + what it has touched of the "
    "mapped file, in MB."
)
_TIED = (
    "The tied embedding, lookup and logits together, MB (own + mapped). The 200 tokens are drawn evenly from the whole "
    "vocabulary, the worst case for a mapped table: text keeps to the low ids."
)
_CLEAR = 0.02  # a setting is better or worse if every round says so, and the median by this much


def markdown(result: Mapping[str, Any]) -> str:
    """Return the page."""
    lines = [
        "# Kernels: time and memory of every kind of layer",
        "",
        "```sh",
        result["command"],
        "```",
        "",
        _where(result),
    ]
    if result["quick"]:
        lines += ["", "**Made with `--quick`: the times mean nothing.**"]
    for name, model in result["models"].items():
        lines += _model(name, model)
    lines += _settings(result["settings"])
    return "\n".join(lines) + "\n"


def _where(result: Mapping[str, Any]) -> str:
    return (
        f"{result['created']}, {result['cpu']} ({', '.join(result['cpu_int8'])}), {result['cores']} cores, "
        f"{result['threads']} threads, ONNX Runtime {result['versions']['onnxruntime']}; load average before "
        f"{result['load_before']:.1f}; took {result['took_s']} s."
    )


def _model(name: str, model: Mapping[str, Any]) -> list[str]:
    shipping, contrast = [kernel.name for kernel in SHIPPING], [kernel.name for kernel in CONTRAST]
    timed = [
        (f"{kind['kind']} ({kind['layers']}x)", row["rows"], row["kernels"])
        for kind in model["layers"]
        for row in kind["rows"]
    ]
    lines = [
        "",
        f"## {name} (d_model {model['d_model']})",
        "",
        _TIMES,
        "",
        *_times([*timed, *_sums(model["layers"], shipping)], shipping),
        "",
        "MatMulNBits at accuracy_level 0 and 1 (activations stay FP32), beside 4, which ships:",
        "",
        *_times(timed, ["nbits8/128", *contrast[:2], "nbits4/32", *contrast[2:]]),
        "",
        _HELD,
        "",
        *_memory(model["layers"], shipping),
    ]
    for kind in model["layers"]:
        if "memory_settings" in kind:
            lines += ["", f"The same for {kind['kind']}, under other session settings:", ""]
            lines += _memory_settings(kind)
    if "tied" in model:
        lines += ["", _TIED, ""]
        lines += _table(
            ["kernel", "session", "in file", "after load", "after 200 lookups and logits"],
            (
                [row["kernel"], row["setting"], _mb(row["weight_bytes"]), _held(row, "loaded"), _held(row, "ran")]
                for row in model["tied"]
            ),
        )
    return lines


_Timed = tuple[str, int, Mapping[str, Mapping[str, float]]]


def _times(timed: Sequence[_Timed], kernels: Sequence[str]) -> list[str]:
    rows = []
    for label, n, found in timed:
        here = {name: found[name]["median_ms"] for name in kernels if name in found}
        fastest = min(here.values())
        cells = ["-" if name not in here else _bold(f"{here[name]:.3f}", here[name] == fastest) for name in kernels]
        rows.append([label, str(n), *cells])
    return _table(["layers", "rows", *kernels], rows)


def _sums(kinds: Iterable[Mapping[str, Any]], kernels: Sequence[str]) -> list[_Timed]:
    """Add up the kinds of each side, for those kernels that all of them have."""
    sums: dict[tuple[str, int], list[Mapping[str, Mapping[str, float]]]] = {}
    for kind in kinds:
        for row in kind["rows"]:
            sums.setdefault((kind["side"], row["rows"]), []).append(row["kernels"])
    return [
        (
            f"**all, {side}**",
            n,
            {
                name: {"median_ms": sum(one[name]["median_ms"] for one in found)}
                for name in kernels
                if all(name in one for one in found)
            },
        )
        for (side, n), found in sums.items()
        if len(found) > 1
    ]


def _memory(kinds: Sequence[Mapping[str, Any]], kernels: Sequence[str]) -> list[str]:
    rows = []
    for kind in kinds:
        cells = []
        for name in kernels:
            found = kind["memory"].get(name)
            cells.append("-" if found is None else f"{_mb(found['weight_bytes'])}: {_held(found, 'loaded')}")
        rows.append([kind["kind"], *cells])
    return _table(["layers", *kernels], rows)


def _memory_settings(kind: Mapping[str, Any]) -> list[str]:
    kernels = list(next(iter(kind["memory_settings"].values())))
    return _table(
        ["session", *(f"{name} ({_mb(kind['memory'][name]['weight_bytes'])} in file)" for name in kernels)],
        (
            [setting, *(_held(found[name], "loaded") for name in kernels)]
            for setting, found in kind["memory_settings"].items()
        ),
    )


def _settings(settings: Mapping[str, Any]) -> list[str]:
    lines = [
        "",
        "## Session settings",
        "",
        (
            f"{settings['recipe']} of {settings['model']}, {settings['n_clips']} clips of {settings['suite']}, "
            f"{settings['rounds']} rounds, a fresh process each. Medians; in brackets the median of the ratios to the "
            f"shipped settings within a round, bold where every round agrees on its sign and it is at least "
            f"{_CLEAR:.0%}."
        ),
        "",
    ]
    rows = []
    for row in settings["rows"]:
        if "failed" in row:
            rows.append([row["setting"], row["failed"], *[""] * 7])
            continue
        figures = (
            ("load_s", f"{row['load_s']:.2f} s"),
            ("rtfx", f"{row['rtfx']:.1f}"),
            ("rss_load_bytes", _mb(row["rss_load_bytes"])),
            ("peak_rss_bytes", _mb(row["peak_rss_bytes"])),
            ("anonymous_bytes", _mb(row["anonymous_bytes"])),
        )
        cells = [f"{text} ({_ratio(row, key)})" for key, text in figures]
        same = "yes" if row["same_texts"] else "**no**"
        rows.append([row["setting"], *cells, _mb(row["artifact_bytes"]), same, f"{row['other_cores']:.2f}"])
    header = ["setting", "load", "RTFx", "RSS loaded, MB", "peak RSS, MB", "own at end, MB"]
    header += ["on disk, MB", "same texts", "other cores"]
    return lines + _table(header, rows)


def _ratio(row: Mapping[str, Any], key: str) -> str:
    low, high = row[f"{key}_ratio_range"]
    ratio = row[f"{key}_ratio"]
    return _bold(f"{ratio:.2f}", (low > 1 or high < 1) and abs(ratio - 1) >= _CLEAR)


def _held(found: Mapping[str, int], when: str) -> str:
    return f"{_mb(found[f'{when}_anonymous_bytes'])} + {_mb(found[f'{when}_mapped_bytes'])}"


def _mb(size: float) -> str:
    return f"{size / _MB:.1f}"


def _bold(text: str, yes: bool) -> str:
    return f"**{text}**" if yes else text


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = ["| " + " | ".join(header) + " |", "| " + " | ".join([":--"] + ["--:"] * (len(header) - 1)) + " |"]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]
