"""A run that could have been: results and rows with the shapes and sizes of tiny.en, for tests to bend."""

from __future__ import annotations

import copy
import difflib
import random
from pathlib import Path
from typing import Any

from fastwhisper_compress.report import Results, render, verdict

PRECISION_BYTES = {"fp32": 4.0, "fp16": 2.0, "int8": 1.0, "int4": 0.5625}
D_MODEL, FFN, VOCAB, LAYERS = 384, 1536, 51864, 4

Json = dict[str, Any]


def module_rows(recipe: str) -> list[Json]:
    """Every module of tiny.en as recipe ``fp32`` or ``int8_attn_fp16`` keeps it."""

    def module(path: str, kind: str, parameters: int, *way: str) -> Json:
        storage, compute, kernel = way
        n_bytes = int(parameters * PRECISION_BYTES[storage])
        row = {"path": path, "kind": kind, "storage": storage, "compute": compute, "kernel": kernel}
        return row | {"parameters": parameters, "bytes": n_bytes, "sparsity": 0.0}

    small = recipe != "fp32"
    attention = ("fp16", "fp32", "MatMul") if small else ("fp32", "fp32", "MatMul")
    dense = ("int8", "int8", "DynamicQuantizeMatMul") if small else ("fp32", "fp32", "MatMul")
    table = ("int8", "int8", "GatherBlockQuantized + MatMulNBits") if small else ("fp32", "fp32", "Gather + MatMul")
    square = D_MODEL * D_MODEL
    rows = [
        module("encoder.conv1", "conv", D_MODEL * 80 * 3, "fp32", "fp32", "Conv"),
        module("encoder.conv2", "conv", D_MODEL * D_MODEL * 3, "fp32", "fp32", "Conv"),
        module("encoder.embed_positions", "positions", 1500 * D_MODEL, "fp32", "fp32", "Add"),
    ]
    for half in ("encoder", "decoder"):
        for layer in range(LAYERS):
            prefix = f"{half}.layers.{layer}"
            for name in ["self_attn"] + (["encoder_attn"] if half == "decoder" else []):
                rows.append(module(f"{prefix}.{name}", "attention", 0, "fp32", "fp32", "MultiHeadAttention"))
                rows += [
                    module(f"{prefix}.{name}.{p}_proj", "linear", square, *attention) for p in ("q", "k", "v", "out")
                ]
                rows.append(
                    module(
                        f"{prefix}.{name}_layer_norm",
                        "layer_norm",
                        2 * D_MODEL,
                        "fp32",
                        "fp32",
                        "SkipLayerNormalization",
                    )
                )
            rows += [module(f"{prefix}.{name}", "linear", D_MODEL * FFN, *dense) for name in ("fc1", "fc2")]
            rows.append(
                module(
                    f"{prefix}.final_layer_norm", "layer_norm", 2 * D_MODEL, "fp32", "fp32", "SkipLayerNormalization"
                )
            )
        rows.append(module(f"{half}.layer_norm", "layer_norm", 2 * D_MODEL, "fp32", "fp32", "LayerNormalization"))
    rows.append(module("decoder.embed_tokens", "embedding", VOCAB * D_MODEL, *table))
    rows.append(module("decoder.embed_positions", "positions", 448 * D_MODEL, "fp32", "fp32", "Gather"))
    return rows


def trace(peak: int) -> Json:
    """Memory by phase of a process whose peak lies in the prefill, over three clips."""
    names = ("imports", "load", "idle", "log_mel", "encode", "prefill", "decode")
    peaks = (
        81_264_640,
        peak - 60_000_000,
        peak - 50_000_000,
        peak - 40_000_000,
        peak - 2_000_000,
        peak,
        peak - 1_000_000,
    )
    clip = [(0.0, 3), (0.02, 4), (0.3, 5), (0.33, 6), (0.6, 2)]
    points = [[0.0, 20_000_000, 0], [0.3, 81_264_640, 1], [0.5, peak - 60_000_000, 1]]
    points += [[round(0.8 + 0.7 * i + t, 4), peaks[phase], phase] for i in range(3) for t, phase in clip]
    return {
        "method": "kernel high-water mark",
        "phases": [
            {
                "phase": name,
                "entries": 1 if name in ("imports", "load") else 3,
                "seconds": 0.25 + 0.5 * index,
                "peak_rss_bytes": most,
                "end_rss_bytes": most - 500_000,
                "anon_bytes": most - 40_500_000,
                "file_bytes": 40_000_000,
                "peak_vram_bytes": None,
            }
            for index, (name, most) in enumerate(zip(names, peaks, strict=True))
        ],
        "timeline": points,
        "timeline_vram_bytes": None,
        "detail_s": 2.8,
        "fragmentation": {
            "kept_since_load_bytes": 43_100_000,
            "malloc": {"held_bytes": 304_000_000, "unused_bytes": 2_200_000, "unused_resident_bytes": 980_000},
            "torch": None,
        },
    }


def side(recipe: str) -> Json:
    """Half of a results file."""
    small = recipe != "fp32"
    modules = module_rows(recipe)
    weights: dict[str, int] = dict.fromkeys(PRECISION_BYTES, 0)
    for row in modules:
        weights[row["storage"]] += row["bytes"]
    files = [
        ("onnx/log_mel.onnx", 301_422),
        ("onnx/encoder.onnx", 14_912_004 if small else 32_890_112),
        ("onnx/decoder.onnx", 31_004_518 if small else 118_223_991),
        ("tokenizer.json", 2_480_617),
        ("manifest.json", 61_902),
    ]
    rate = (154, 48, 23) if small else (150, 41, 19)
    fusions = {"attention": 12, "bias_gelu": 8, "skip_layer_norm": 20, "packed_qkv": 8}
    applied = [
        {"pass": "int8_dynamic", "n_modules": 17, "note": "per output channel"},
        {"pass": "fp16", "n_modules": 48, "note": "storage only: the CPU computes attention in FP32"},
        {"pass": "fuse", "n_modules": 0, "note": "48 operators fused"},
    ]
    return {
        "recipe": recipe,
        "artifact": {
            "size_on_disk_bytes": sum(size for _, size in files),
            "files": [
                {"path": path, "bytes": size, "sha256": f"{i:x}" * 64} for i, (path, size) in enumerate(files, 1)
            ],
            "provider": "cpu",
            "kv_dtype": "fp32",
            "modules": modules,
            "fusions": fusions,
            "applied": applied if small else [{"pass": "fuse", "n_modules": 0, "note": ""}],
        },
        "memory": {
            "peak_rss_bytes": 318_214_144 if small else 431_726_592,
            "rss_after_load_bytes": 241_172_480 if small else 352_321_536,
            "rss_imports_bytes": 81_264_640,
            "peak_vram_bytes": None,
            "weight_bytes": sum(weights.values()),
            "weight_bytes_by_precision": weights,
            "trace": trace(318_214_144 if small else 431_726_592),
            "predicted": None,
        },
        "eval": {
            "metric": "wer",
            "wer": sum(rate) / 2041,
            "rtfx": 24.61 if small else 16.37,
            "n_utterances": 124,
            "n_ref_words": 2041,
            "substitutions": rate[0],
            "deletions": rate[1],
            "insertions": rate[2],
            "empty_outputs": 0,
            "repetition_loops": 1 if small else 0,
            "redone": 0,
            "failed": [],
            "load_s": 0.42 if small else 0.61,
            "audio_s": 713.4,
            "wall_s": 28.99 if small else 43.58,
            "threads": 2,
            "measured_at": "2026-08-14T09:30:12+00:00" if small else "2026-08-14T09:29:03+00:00",
            "recordings": None,
        },
        "verify": {
            "token_agreement": 0.982 if small else 1.0,
            "sqnr_db": {"encoder": 31.8, "decoder": 27.4} if small else {"encoder": 112.3, "decoder": 108.9},
            "max_abs_error": {
                "log_mel": 2.1e-5,
                "encoder": 0.41 if small else 3.2e-5,
                "logits": 1.87 if small else 4.4e-5,
            },
            "greedy_tokens_equal": {"n": 21, "of": 24} if small else {"n": 24, "of": 24},
            "gate": {"token_agreement": 0.9, "passed": True},
        },
    }


def sweep(*, failed: str | None = None, video: bool = False) -> Json:
    """The ``throughput`` part: batches of 1, 2 and 4, the last of which ran out of memory or could not be measured."""
    figures = [(1, 1, 20.0, 150), (2, 2, 30.0, 175), (4, 2, 31.0, 190)]
    points: list[Json] = [
        {
            "batch_size": size,
            "batch_size_used": used,
            "rtfx": rtfx,
            "peak_rss_bytes": mb * 1_000_000,
            "peak_vram_bytes": 2 * mb * 1_000_000 if video else None,
            "texts_equal": 33 - size,
            "error": None,
        }
        for size, used, rtfx, mb in figures
    ]
    if failed is not None:
        points[-1] = dict.fromkeys(points[-1]) | {"batch_size": 4, "error": failed}
    return {"n_clips": 32, "audio_s": 171.2, "threads": 2, "points": points}


def training(name: str = "distill", steps: int = 30) -> Json:
    """A training whose loss falls from 2 to 1."""
    same = {"kl": 0.5, "ce": 0.0, "hidden": 0.5, "grad_norm": 0.4, "learning_rate": 1e-4, "seconds": 2.0}
    points = [same | {"step": i + 1, "loss": 2 - i / (steps - 1)} for i in range(steps)]
    return {"pass": name, "n_clips": 64, "audio_s": 770.0, "points": points}


def results_json(**changes: Any) -> Json:
    """A whole results file. ``changes`` are dotted paths written with ``__``: ``delta__ci95_pp=None``."""
    baseline, candidate = side("fp32"), side("int8_attn_fp16")
    data: Json = {
        "schema_version": 4,
        "created": "2026-08-14T09:31:07+00:00",
        "comparable": True,
        "not_comparable_because": None,
        "recipe": {
            "name": "int8_attn_fp16",
            "description": "Feed-forward layers and the embedding run in 8 bits, attention keeps 16-bit weights.",
            "digest": "sha256:" + "5a" * 32,
            "provider": "cpu",
            "encoder_margin_s": None,
            "calibration": None,
            "passes": [
                {"pass": "int8_dynamic", "targets": ["*"], "ignore": ["*_attn"]},
                {"pass": "fp16", "targets": ["*_attn"], "ignore": []},
                {"pass": "fuse", "targets": ["*"], "ignore": []},
            ],
            "overrides": [],
        },
        "model": {
            "id": "openai/whisper-tiny.en",
            "digest": "sha256:" + "c3" * 32,
            "parameters": 37_760_256,
            "dims": {
                "n_mels": 80,
                "n_vocab": VOCAB,
                "d_model": D_MODEL,
                "encoder_layers": LAYERS,
                "decoder_layers": LAYERS,
            },
            "source_kind": "openai",
            "revision": None,
        },
        "suite": {
            "name": "demo",
            "digest": "sha256:" + "7e" * 32,
            "language": "en",
            "synthetic": True,
            "license": "CC0-1.0",
            "revision": None,
            "n_utterances": 124,
            "limit": None,
        },
        "baseline": baseline,
        "candidate": candidate,
        "delta": {
            "wer_delta_pp": 100 * (225 - 210) / 2041,
            "ci95_pp": [0.05, 1.52],
            "ci95_by_speaker_pp": None,
            "n_speakers": None,
            "share_no_worse": 0.9194,
            "insertions_delta": 4,
            "empty_delta": 0,
            "loops_delta": 1,
            "identical": False,
            "unit": "utterance",
            "n_units": 124,
            "statement": "+0.73 pp (95 % interval +0.05 to +1.52 pp) over 124 utterances.",
            "size_saved_pct": 0.0,
            "weight_saved_pct": 0.0,
            "rss_saved_pct": 0.0,
            "rtfx_ratio": 24.61 / 16.37,
            "recordings": None,
        },
        "environment": {
            "package_version": "0.1.0",
            "python": "3.12.4",
            "platform": "Linux-6.1-x86_64",
            "cpu": "AMD EPYC 9R14",
            "cores": 2,
            "threads": 2,
            "memory_bytes": 8_200_000_000,
            "versions": {
                "torch": "2.13.0",
                "transformers": "5.2.0",
                "onnxruntime": "1.32.0",
                "onnx": "1.23.2",
                "numpy": "2.4.6",
            },
            "providers": ["CPUExecutionProvider"],
        },
        "verdict": "",
        "timings_s": {
            "checkpoint": 0.81,
            "emit fp32": 1.92,
            "emit candidate": 2.45,
            "verify": 14.2,
            "evaluate": 78.6,
            "report": 1.3,
        },
    }
    for key, value in changes.items():
        *path, last = key.split("__")
        target = data
        for part in path:
            target = target[part]
        target[last] = copy.deepcopy(value)
    fill_savings(data, changes)
    return data


def fill_savings(data: Json, changes: Json) -> None:
    """Derive the savings from the sizes, unless a test set them."""
    before, after, delta = data["baseline"], data["candidate"], data["delta"]
    for key, part, field in (
        ("size_saved_pct", "artifact", "size_on_disk_bytes"),
        ("weight_saved_pct", "memory", "weight_bytes"),
        ("rss_saved_pct", "memory", "peak_rss_bytes"),
    ):
        if f"delta__{key}" not in changes:
            delta[key] = 100 * (1 - after[part][field] / before[part][field])


SENTENCES = (
    "the quick brown fox jumps over the lazy dog near the river bank",
    "on the fourteenth of march nineteen ninety two the committee met in room thirty one",
    "please send the invoice to doctor mary ellen o'brien before a quarter past nine",
    "their house is over there and they're painting it with a pale shade of blue",
    "we counted eight hundred and sixty four boxes in the warehouse on tuesday morning",
)


def row(id_: str, reference: str, text: str, errors: tuple[int, int, int] = (0, 0, 0), **more: Any) -> Json:
    """One line of an evaluation's rows file, with all the keys that the evaluation writes."""
    substitutions, deletions, insertions = errors
    base = {
        "id": id_,
        "text": text,
        "tokens": [1, 2, 3],
        "looped": False,
        "redone": False,
        "audio_s": 4.2,
        "wall_s": 0.3,
        "error": None,
        "reference": reference,
    }
    counts = {"substitutions": substitutions, "deletions": deletions, "insertions": insertions}
    return base | counts | {"n_ref_words": len(reference.split()), "speaker": None} | more


def rows_pair(n: int = 24, seed: int = 3) -> tuple[list[Json], list[Json]]:
    """Rows of both sides; some utterances of the candidate lose words, one gains."""
    chance = random.Random(seed)
    baseline, candidate = [], []
    for index in range(n):
        reference = SENTENCES[index % len(SENTENCES)]
        words = reference.split()
        good = list(words)
        if index % 6 == 0:
            good[2] = "browse"
        worse = list(good)
        loss = chance.choice([0, 0, 0, 1, 2, 4])
        for _ in range(loss):
            worse.pop(chance.randrange(len(worse)))
        if index % 7 == 3:
            worse += ["thank", "you"]
        if index == 12:
            worse = list(words)
        added = 2 if index % 7 == 3 and index != 12 else 0
        start = 1 if index % 6 == 0 else 0
        baseline.append(row(f"demo-{index:04d}", reference, " ".join(good), (start, 0, 0)))
        candidate.append(
            row(
                f"demo-{index:04d}",
                reference,
                " ".join(worse),
                (0 if index == 12 else start, 0 if index == 12 else loss, added),
            )
        )
    return baseline, candidate


def split_align(reference: str, hypothesis: str) -> list[tuple[str, list[str], list[str]]]:
    """A word alignment without the evaluation's normalisers."""
    before, after = reference.split(), hypothesis.split()
    names = {"equal": "equal", "replace": "substitute", "delete": "delete", "insert": "insert"}
    codes = difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
    return [(names[tag], before[a:b], after[c:d]) for tag, a, b, c, d in codes]


def rendered(out: Path, rows: tuple[list[Json], list[Json]] | None = None, **changes: Any) -> Results:
    """Build results, judge them and write all reports into ``out``."""
    data = results_json(**changes)
    if "verdict" not in changes:
        data["verdict"] = verdict(Results.from_json(data))
    results = Results.from_json(data)
    render(results, *(rows or rows_pair()), out, align=split_align)
    return results
