"""Whispers small enough to be random, and artifacts of them, for every test folder that needs a graph that runs.

The vocabulary is real in kind but tiny: one token a byte, then the special ones.
"""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np

from fastwhisper_compress.checkpoint.decoding import Decoding
from fastwhisper_compress.checkpoint.dims import Dims, modules, tensor_shapes
from fastwhisper_compress.checkpoint.model import Checkpoint, Source
from fastwhisper_compress.emit.artifact import GRAPHS, emit
from fastwhisper_compress.emit.precision import FP16, FP32, INT8_DYNAMIC, Plan, Precision
from fastwhisper_compress.passes.apply import apply
from fastwhisper_compress.passes.blocks import calibrated_blocks
from fastwhisper_compress.passes.importance import Importance
from fastwhisper_compress.passes.importance import save as save_importance
from fastwhisper_compress.passes.statistics import Statistics, readers, save
from fastwhisper_compress.recipe.selectors import select_all
from fastwhisper_compress.runtime.manifest import FORMAT, SCHEMA_VERSION
from fastwhisper_compress.runtime.options import Options
from fastwhisper_compress.runtime.tokens import _byte_of_character
from fastwhisper_compress.runtime.transcriber import load_artifact

N_VOCAB = 320
_SPECIAL = {"<|endoftext|>": 256, "<|startoftranscript|>": 257, "<|notimestamps|>": 270}
_MULTILINGUAL = {"<|en|>": 258, "<|de|>": 259, "<|zh|>": 260, "<|translate|>": 261, "<|transcribe|>": 262}

SCHEMES = {
    "fp32": FP32,
    "fp16": FP16,
    "int8_dynamic": INT8_DYNAMIC,
    "int8": Precision("weight_only", 8, 32, True),
    "int8_asymmetric": Precision("weight_only", 8, 64, False),
    "int4": Precision("weight_only", 4, 32, True),
    "int4_asymmetric": Precision("weight_only", 4, 16, False),
}


def tokenizer_json(*, multilingual: bool = False) -> bytes:
    """One token a byte, in the order of the bytes, and the special tokens behind them."""
    special = _SPECIAL | (_MULTILINGUAL if multilingual else {})
    added = [{"id": token, "content": text, "special": True} for text, token in special.items()]
    vocabulary = _byte_of_character()
    return json.dumps({"model": {"type": "BPE", "vocab": vocabulary, "merges": []}, "added_tokens": added}).encode()


def small_dims(**changes) -> Dims:
    small = {
        "n_mels": 80,
        "n_vocab": N_VOCAB,
        "d_model": 128,
        "encoder_layers": 2,
        "decoder_layers": 1,
        "encoder_heads": 2,
        "decoder_heads": 2,
        "encoder_ffn": 256,
        "decoder_ffn": 256,
        "n_audio_ctx": 50,
        "n_text_ctx": 24,
    }
    return Dims(**{**small, **changes})


def small_checkpoint(seed=0, *, dtype=np.float32, multilingual=False, **changes) -> Checkpoint:
    """Random weights whose blocks all matter: every branch is about as large as the residual stream."""
    dims = small_dims(**changes)
    rng = np.random.default_rng(seed)
    tensors = {}
    for name, shape in tensor_shapes(dims).items():
        values = rng.standard_normal(shape, dtype=np.float32)
        if "layer_norm.weight" in name:
            values = 1 + 0.1 * values
        elif name.endswith(".bias"):
            values *= 0.2
        elif "embed" in name:
            values *= 0.5 if "tokens" in name else 2  # positions speak up, or every token would predict itself
        else:
            values *= 1.5 / np.sqrt(np.prod(shape[1:]))
        tensors[name] = values.astype(dtype)
    ids = Decoding(
        sot=257,
        eot=256,
        sot_prev=263,
        no_timestamps=270,
        no_speech=None,
        transcribe=262 if multilingual else None,
        translate=261 if multilingual else None,
        languages={"en": 258, "de": 259, "zh": 260} if multilingual else {},
        suppress=(1, 2, 257, *range(258, 320)),
        begin_suppress=(32, 256),
        timestamp_begin=271,
        alignment_heads=(),
        max_length=dims.n_text_ctx,
    )
    source = Source("random", "openai", "", None)
    return Checkpoint(dims, tensors, ids, tokenizer_json(multilingual=multilingual), source)


def uniform_plan(dims, precision=FP32, *, fuse=True, provider="cpu") -> Plan:
    """One precision for all linears and the embedding (and FP16 also for what else can be stored so)."""
    kinds = {"linear", "embedding"} | ({"conv", "positions"} if precision.scheme == "fp16" else set())
    found = modules(dims)
    return Plan(
        {m.path: precision for m in found if m.kind in kinds} if precision != FP32 else {},
        frozenset(m.path for m in found) if fuse else frozenset(),
        provider,
    )


def recipe_plan(checkpoint, recipe, *, fuse=True, provider=None, statistics=None):
    """What a recipe makes of a checkpoint; ``fuse=False`` leaves out the fusions it allows.

    Without ``statistics``, those of made-up activations are used where a pass calibrates. What learns is left untrained.
    """
    provider = provider or recipe.provider
    passes = [p for p in recipe.passes if p.runs_on(provider) and (fuse or p.stage != "graph")]
    selections = select_all(passes, modules(checkpoint.dims))
    if statistics is None and any(p.calibrated for p in passes):
        statistics = made_up_statistics(checkpoint.dims)
    importance = made_up_importance(checkpoint.dims) if any(p.calibrated for p in passes) else None
    compressed = apply(
        checkpoint, passes, selections, provider, statistics, importance, lambda _n, student, _plan: (student, "")
    )
    if statistics is None:
        return compressed
    blocks = calibrated_blocks(compressed.checkpoint, compressed.plan, compressed.statistics, lambda *_: None)
    return replace(compressed, plan=replace(compressed.plan, blocks=blocks))


@cache
def made_up_statistics(dims) -> Statistics:
    """Statistics of random inputs with correlated channels and a few outliers, as activations have."""
    folder = Path(tempfile.mkdtemp(prefix="fastwhisper-statistics-", dir=os.environ.get("FASTWHISPER_CACHE")))
    widths = {path: tensor_shapes(dims)[f"{path}.weight"][1] for paths in readers(dims).values() for path in paths}
    rng, tensors = np.random.default_rng(0), {}
    for source, paths in readers(dims).items():
        width = widths[paths[0]]
        x = made_up_inputs(rng, 512, width)
        tensors[f"{source}.peak"] = np.abs(x).max(axis=0)
        tensors[f"{source}.mean"] = x.mean(axis=0)
        tensors[f"{source}.moment"] = x.T @ x / np.float32(len(x))
    save(folder, tensors)
    return Statistics(folder)


@cache
def made_up_importance(dims) -> Importance:
    """Scores of heads and channels that follow no rule."""
    folder = Path(tempfile.mkdtemp(prefix="fastwhisper-importance-", dir=os.environ.get("FASTWHISPER_CACHE")))
    rng, scores = np.random.default_rng(0), {}
    for module in modules(dims):
        if module.kind == "attention" or module.path.endswith(".fc1"):
            side = module.path.split(".")[0]
            count = getattr(dims, f"{side}_heads" if module.kind == "attention" else f"{side}_ffn")
            scores[module.path] = rng.random(count, dtype=np.float32)
    save_importance(folder, scores)
    return Importance(folder)


def made_up_inputs(rng, rows, width) -> np.ndarray:
    """Activations of which a quarter of the directions hold most, around 0.2, and some channels are 20 times the others."""
    x = rng.normal(0, 1, (rows, width // 4)) @ rng.normal(0, 1, (width // 4, width)) / np.sqrt(width / 4)
    x += 0.3 * rng.normal(0, 1, x.shape)
    x[:, rng.integers(width, size=3)] *= 20
    return (x + 0.2).astype(np.float32)


def write_artifact(checkpoint, plan, folder, *, provider=None, margin_s=None, offload="none"):
    """Emit into a folder and write the part of a manifest that the runtime reads.

    ``provider`` may differ from the plan's, to open graphs of one provider on another.
    """
    folder.mkdir(parents=True)
    emission = emit(checkpoint, plan, folder, layers=offload == "layers")
    manifest = {
        "format": FORMAT,
        "schema_version": SCHEMA_VERSION,
        "provider": provider or plan.provider,
        "graphs": GRAPHS,
        "encoder_context": {"margin_s": margin_s},
        "batch_size": 1,
        "offload": offload,
        "layers": emission.layers,
        "modules": [module.to_json() for module in emission.modules],
        "decoding": checkpoint.decoding.to_json(),
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return emission


def opened(checkpoint, plan, folder, *, provider="cpu", margin_s=None):
    """Emit and open; on CPU, whatever provider the plan is for."""
    write_artifact(checkpoint, plan, folder, provider=provider, margin_s=margin_s)
    return load_artifact(folder, threads=1)  # tests take turns on the cores, and threads would wait for each other


def speech_like(seconds=1.0, seed=0):
    """Float32 samples with a changing spectrum: neither silence nor white noise."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(16_000 * seconds)) / 16_000
    tones = sum(np.sin(2 * np.pi * f * t * (1 + 0.1 * t)) for f in rng.uniform(80, 4000, 5))
    return (0.05 * tones * np.hanning(max(t.size, 1)) + rng.normal(0, 0.01, t.size)).astype(np.float32)


def sqnr_db(reference, found):
    noise = np.square(found.astype(np.float64) - reference).sum()
    return np.inf if noise == 0 else 10 * np.log10(np.square(reference, dtype=np.float64).sum() / noise)


def with_decoding(checkpoint, **changes):
    """The same weights under other decoding rules."""
    return replace(checkpoint, decoding=replace(checkpoint.decoding, **changes))


def saying(checkpoint, token):
    """A model that says this token and ends, whatever it hears and however it is compressed."""
    words = np.float32(checkpoint.tensors["decoder.embed_tokens.weight"][[token, checkpoint.decoding.eot]])
    gain = np.float32([120, 160]) / np.square(words).sum(axis=1)
    name = "decoder.layer_norm.bias"
    return checkpoint.with_tensors({name: checkpoint.tensors[name] + gain @ words})


def ending_at(checkpoint, folder, clips):
    """An artifact that ends each clip's text at another length: its end of text is a token that all come to say."""
    free = opened(checkpoint, uniform_plan(checkpoint.dims), folder / "free")
    texts = [one.tokens for one in free.transcribe_batch(clips, Options(stop_loops=False))]
    places = {token: [text.index(token) if token in text else len(text) for text in texts] for token in range(256)}
    eot = max(places, key=lambda token: len(set(places[token])))
    changed = with_decoding(checkpoint, eot=eot)
    return opened(changed, uniform_plan(checkpoint.dims), folder / "ending"), places[eot]
