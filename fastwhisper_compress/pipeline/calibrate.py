"""Run the FP32 checkpoint over calibration speech and keep what its linears see.

No transcripts are needed: the decoder reads the text that the FP32 artifact hears, whose tokens were proved to be those of
the reference, and which finds them many times faster. Every clip is heard in the full window of 30 s.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastwhisper_compress.checkpoint.model import Checkpoint
from fastwhisper_compress.errors import AudioError, SuiteError
from fastwhisper_compress.evaluation.suite import Suite
from fastwhisper_compress.passes.statistics import Statistics, readers, save
from fastwhisper_compress.pipeline.provenance import code_digest, package_versions
from fastwhisper_compress.pipeline.reference import Reference, reference_log_mel
from fastwhisper_compress.pipeline.store import Store
from fastwhisper_compress.runtime.audio import MAX_CLIP_S, read_audio
from fastwhisper_compress.runtime.options import Options
from fastwhisper_compress.runtime.prompt import prompt_tokens
from fastwhisper_compress.runtime.transcriber import Transcriber, load_artifact

if TYPE_CHECKING:
    import numpy as np
    import torch

_CODE = ("emit/configs.py", "passes/statistics.py", "pipeline/calibrate.py", "pipeline/reference.py")
_NUMERICS = ("torch", "transformers", "openai-whisper", "numpy", "onnxruntime", "soxr", "soundfile", "av")


def calibrate(
    store: Store, checkpoint: Checkpoint, baseline: Path, suite: Suite, progress: Callable[[int, int], None]
) -> Statistics:
    """Return the statistics of a checkpoint's inputs on a suite, collecting them unless the store has them.

    Args:
        store: Keeps them, so that recipes share them.
        checkpoint: The weights.
        baseline: The FP32 artifact of the same weights.
        suite: What to listen to.
        progress: Called with clips done and clips in all.

    Raises:
        AudioError: A clip cannot be decoded or is longer than the model's window.
    """

    def make(folder: Path) -> None:
        _collect(checkpoint, load_artifact(baseline), suite, folder, progress)

    return Statistics(store.stage("calibration", calibration_spec(checkpoint, baseline.name, suite), make))


def calibration_spec(checkpoint: Checkpoint, baseline: str, suite: Suite) -> dict[str, Any]:
    """Return what decides the statistics.

    Args:
        checkpoint: The weights.
        baseline: Name of the stage of the FP32 artifact.
        suite: What to listen to.
    """
    return {
        "checkpoint": checkpoint.digest,
        "decoding": checkpoint.decoding.to_json(),
        "baseline": baseline,
        "suite": suite.digest,
        "versions": package_versions(_NUMERICS),
        "code": code_digest("checkpoint", "runtime", *_CODE),
    }


def check_disjoint(calibration: Suite, scored: Suite) -> None:
    """Refuse to calibrate on what is scored: the same samples, whatever the files are called or packed in.

    Raises:
        SuiteError: naming the two utterances.
    """
    known = {mark: one.id for one in scored.utterances if (mark := _samples_digest(one.audio)) is not None}
    for one in calibration.utterances:
        mark = _samples_digest(one.audio)
        if mark in known:
            raise SuiteError(
                f"the utterance {one.id!r} is {known[mark]!r} of the suite {scored.name!r}, which is scored",
                place=f"calibration {calibration.name}",
                remedy="calibrate on other speech: a score on speech that the rounding was fitted to is too good",
            )


def _samples_digest(audio: Path) -> str | None:
    """Return the hash of a clip's samples; None where there are none: calibrating or scoring will say so."""
    try:
        return hashlib.sha256(read_audio(audio).tobytes()).hexdigest()
    except AudioError:
        return None


def _collect(
    checkpoint: Checkpoint, artifact: Transcriber, suite: Suite, folder: Path, progress: Callable[[int, int], None]
) -> None:
    reference, sums = Reference(checkpoint, double=False), _Sums()
    sources = list(readers(checkpoint.dims))
    heard = [name for name in sources if name.startswith("encoder.")]
    read = [name for name in sources if name.startswith("decoder.")]
    for done, one in enumerate(suite.utterances):
        progress(done, len(suite.utterances))
        samples = read_audio(one.audio, max_s=MAX_CLIP_S)
        with reference.watch(heard, sums.add):
            hidden = reference.encode(reference_log_mel(samples, checkpoint.dims.n_mels)[None])
        prompt = prompt_tokens(artifact.manifest.decoding, one.language, "transcribe")
        tokens = artifact.transcribe(samples, Options(language=one.language)).tokens
        with reference.watch(read, sums.add):
            reference.logits(hidden, prompt, tokens)
    progress(len(suite.utterances), len(suite.utterances))
    save(folder, sums.statistics())


class _Sums:
    """Running sums over the positions of every input, one matrix each whatever the number of clips."""

    def __init__(self) -> None:
        self._moments: dict[str, torch.Tensor] = {}
        self._totals: dict[str, torch.Tensor] = {}
        self._peaks: dict[str, torch.Tensor] = {}
        self._rows: Counter[str] = Counter()

    def add(self, name: str, x: torch.Tensor) -> None:
        """Count in the values of an input: float32 (..., in)."""
        rows = x.detach().reshape(-1, x.shape[-1])
        if name not in self._moments:
            self._moments[name] = rows.new_zeros(rows.shape[1], rows.shape[1])
            self._totals[name] = rows.new_zeros(rows.shape[1])
            self._peaks[name] = rows.new_zeros(rows.shape[1])
        self._moments[name].addmm_(rows.T, rows)
        self._totals[name] += rows.sum(dim=0)
        self._peaks[name] = self._peaks[name].maximum(rows.abs().amax(dim=0))
        self._rows[name] += len(rows)

    def statistics(self) -> dict[str, np.ndarray]:
        """Return the tensors of :func:`fastwhisper_compress.passes.statistics.save`."""
        moments = {f"{name}.moment": (sums / self._rows[name]).numpy() for name, sums in self._moments.items()}
        means = {f"{name}.mean": (sums / self._rows[name]).numpy() for name, sums in self._totals.items()}
        return moments | means | {f"{name}.peak": peaks.numpy() for name, peaks in self._peaks.items()}
