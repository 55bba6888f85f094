"""Parity before anything is published.

An FP32 artifact is held against the reference implementations; a compressed one against the FP32 artifact.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastwhisper_compress.checkpoint.model import Checkpoint
from fastwhisper_compress.errors import GateError, SuiteError
from fastwhisper_compress.evaluation.suite import Suite
from fastwhisper_compress.pipeline.reference import Reference, reference_log_mel
from fastwhisper_compress.runtime.audio import read_audio
from fastwhisper_compress.runtime.encoding import Encoded
from fastwhisper_compress.runtime.options import Options
from fastwhisper_compress.runtime.prompt import prompt_tokens
from fastwhisper_compress.runtime.session import open_session
from fastwhisper_compress.runtime.transcriber import Transcriber

Progress = Callable[[int, int], None]

# Around the edges of a frame, of the reflection and of 30 s: where framing goes wrong if it goes wrong.
_BOUNDARY_LENGTHS = (0, 1, 79, 80, 199, 201, 16_000, 479_999, 480_000, 480_001)

# What a difference is a share of; see Gates.
_OF = {"encoder": " in shares of a channel's range"}


@dataclass(frozen=True)
class Clip:
    """One clip of the parity set: samples float32 (n,), 16 kHz."""

    id: str
    samples: np.ndarray
    language: str


def parity_clips(suite: Suite, ids: Sequence[str]) -> list[Clip]:
    """Decode the utterances of the parity set.

    Raises:
        SuiteError: The suite lacks one of them.
    """
    by_id = {one.id: one for one in suite.utterances}
    if missing := [name for name in ids if name not in by_id]:
        raise SuiteError(f"the parity set needs {missing[0]!r}", place=suite.name, remedy="mend eval/gates")
    return [Clip(name, read_audio(by_id[name].audio), by_id[name].language) for name in ids]


class _Noise:
    """Signal to quantisation noise, summed over clips."""

    def __init__(self) -> None:
        self.signal = 0.0
        self.noise = 0.0
        self.max_abs = 0.0

    def add(self, reference: np.ndarray, found: np.ndarray) -> None:
        difference = found.astype(np.float64) - reference
        self.signal += float(np.square(reference, dtype=np.float64).sum())
        self.noise += float(np.square(difference).sum())
        self.max_abs = float(np.maximum(self.max_abs, np.abs(difference).max()))  # NaN stays NaN, unlike with max()

    @property
    def db(self) -> float | None:
        """The ratio in dB; None where there is no noise at all."""
        return None if self.noise == 0 else 10 * float(np.log10(self.signal / self.noise))


def verify_fp32(
    artifact: Transcriber,
    checkpoint: Checkpoint,
    clips: Sequence[Clip],
    limits: Mapping[str, float],
    progress: Progress,
) -> dict[str, Any]:
    """Hold an FP32 artifact against openai-whisper's log-mel and transformers' encoder, logits and greedy tokens.

    Returns:
        The ``verify`` part of the results.

    Raises:
        GateError: A difference is above its limit (see :class:`Gates`), or a token differs.
    """
    reference = Reference(checkpoint)
    errors = {"log_mel": _log_mel_error(artifact, checkpoint.dims.n_mels)}
    encoder, logits, of_channels = _Noise(), _Noise(), _Noise()
    equal = agree = total = 0
    for done, clip in enumerate(clips):
        prompt = prompt_tokens(artifact.manifest.decoding, clip.language, "transcribe")
        hidden = reference.encode(artifact.log_mel(clip.samples))
        encoded, own_hidden = _encode(artifact, clip)
        encoder.add(hidden, own_hidden)
        ranges = np.maximum(1, np.abs(hidden).max(axis=(0, 1)))
        of_channels.add(hidden / ranges, own_hidden / ranges)
        expected = reference.greedy(hidden, clip.language, prompt)
        equal += artifact.transcribe(clip.samples, Options(language=clip.language, stop_loops=False)).tokens == expected
        theirs, ours = reference.logits(hidden, prompt, expected), artifact.forced_logits(encoded, prompt, expected)
        logits.add(theirs, ours)
        agree += int((theirs.argmax(axis=1) == ours.argmax(axis=1)).sum())
        total += len(theirs)
        progress(done + 1, len(clips))
    errors |= {"encoder": encoder.max_abs, "logits": logits.max_abs}
    judged = errors | {"encoder": of_channels.max_abs}
    for name, limit in limits.items():
        if not judged[name] <= limit:
            raise GateError(
                f"{name} is {judged[name]:.2e} off the reference implementation{_OF.get(name, '')}, the limit is {limit:.1e}",
                place="verify",
                remedy="report this as a bug, with the model's id",
            )
    if equal != len(clips):
        raise GateError(
            f"greedy tokens equal transformers' on {equal} of {len(clips)} clips only",
            place="verify",
            remedy="report this as a bug, with the model's id",
        )
    return {
        "token_agreement": agree / total,
        "sqnr_db": {"encoder": encoder.db, "decoder": logits.db},
        "max_abs_error": errors,
        "greedy_tokens_equal": {"n": equal, "of": len(clips)},
        "gate": None,
        "against": "transformers",
    }


def verify_compressed(
    artifact: Transcriber, baseline: Transcriber, clips: Sequence[Clip], least: float, progress: Progress
) -> dict[str, Any]:
    """Hold a compressed artifact against the FP32 one.

    Token agreement is the share of positions at which both predict the same token behind the FP32 artifact's own
    greedy tokens, end of text included: unlike the free-running texts, one early difference does not shift the rest.

    Args:
        artifact: The compressed artifact.
        baseline: The FP32 one.
        clips: The parity set.
        least: Agreement below which nothing is published.
        progress: Called with clips done and clips in all.

    Returns:
        The ``verify`` part of the results.

    Raises:
        GateError: The agreement is below ``least``, or an output is not finite.
    """
    encoder, logits = _Noise(), _Noise()
    equal = agree = total = 0
    for done, clip in enumerate(clips):
        prompt = prompt_tokens(artifact.manifest.decoding, clip.language, "transcribe")
        tokens = baseline.transcribe(clip.samples, Options(language=clip.language, stop_loops=False)).tokens
        (before, their_hidden), (after, our_hidden) = _encode(baseline, clip), _encode(artifact, clip)
        encoder.add(their_hidden, our_hidden)
        theirs, ours = (
            baseline.forced_logits(before, prompt, tokens),
            artifact.forced_logits(after, prompt, tokens),
        )
        if not np.isfinite(ours).all():
            raise GateError("the logits are not finite", place=clip.id, remedy="keep more modules in FP32 or FP16")
        logits.add(theirs, ours)
        agree += int((theirs.argmax(axis=1) == ours.argmax(axis=1)).sum())
        total += len(theirs)
        equal += artifact.transcribe(clip.samples, Options(language=clip.language, stop_loops=False)).tokens == tokens
        progress(done + 1, len(clips))
    agreement = agree / total
    if agreement < least:
        raise GateError(
            f"token agreement with FP32 is {agreement:.3f} on {len(clips)} clips, the gate asks for {least:.3f}",
            place="gate.token_agreement",
            remedy="compress less (ignore sensitive modules, keep more bits), or lower the recipe's gate knowingly",
        )
    return {
        "token_agreement": agreement,
        "sqnr_db": {"encoder": encoder.db, "decoder": logits.db},
        "max_abs_error": {"log_mel": None, "encoder": encoder.max_abs, "logits": logits.max_abs},
        "greedy_tokens_equal": {"n": equal, "of": len(clips)},
        "gate": {"token_agreement": least, "passed": True},
        "against": "fp32",
    }


def verify_loads(graphs: Mapping[str, Path], provider: str) -> None:
    """Check every graph with onnx.checker and open it with ONNX Runtime's optimisations off.

    Raises:
        GateError: A graph is not valid ONNX.
        UnsafeInputError: A graph does not load.
    """
    import onnx

    for name, path in graphs.items():
        try:
            onnx.checker.check_model(path)
        except onnx.checker.ValidationError as error:
            raise GateError(
                f"not valid ONNX: {str(error).splitlines()[0]}", place=path.name, remedy="report this as a bug"
            ) from error
        open_session(path, "cpu" if name == "log_mel" else provider, optimise=False)


def _encode(artifact: Transcriber, clip: Clip) -> tuple[Encoded, np.ndarray]:
    """Encode a clip on the full window; return also the encoder's output, float32 (1, audio length, d_model)."""
    encoded = artifact.encode([clip.samples], hidden=True)
    if encoded.hidden is None or not np.isfinite(encoded.hidden).all():
        raise GateError("the encoder's output is not finite", place=clip.id, remedy="keep more modules in FP32 or FP16")
    return encoded, encoded.hidden


def _log_mel_error(artifact: Transcriber, n_mels: int) -> float:
    noise = np.random.default_rng(0).normal(scale=0.1, size=max(_BOUNDARY_LENGTHS)).astype(np.float32)
    error = _Noise()
    for length in _BOUNDARY_LENGTHS:
        error.add(reference_log_mel(noise[:length], n_mels), artifact.log_mel(noise[:length])[0])
    return error.max_abs
