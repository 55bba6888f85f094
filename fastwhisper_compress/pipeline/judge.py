"""The stage that judges heads and channels by calibration speech: the scores that pruning by Taylor goes by.

No transcripts are needed: the loss is that of the text which the FP32 artifact itself hears.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastwhisper_compress.checkpoint.model import Checkpoint
from fastwhisper_compress.evaluation.suite import Suite
from fastwhisper_compress.passes.importance import Importance, save
from fastwhisper_compress.pipeline.calibrate import calibration_spec
from fastwhisper_compress.pipeline.provenance import code_digest
from fastwhisper_compress.pipeline.reference import reference_log_mel
from fastwhisper_compress.pipeline.store import Store
from fastwhisper_compress.runtime.audio import MAX_CLIP_S, read_audio
from fastwhisper_compress.runtime.options import Options
from fastwhisper_compress.runtime.prompt import prompt_tokens
from fastwhisper_compress.runtime.transcriber import Transcriber, load_artifact

if TYPE_CHECKING:
    from fastwhisper_compress.training.importance import Heard

KIND = "importance"
_CODE = ("passes/importance.py", "pipeline/judge.py", "training/importance.py", "training/network.py")


def judge(
    store: Store, checkpoint: Checkpoint, baseline: Path, suite: Suite, progress: Callable[[int, int], None]
) -> Importance:
    """Return the scores of a checkpoint's heads and channels on a suite, finding them unless the store has them.

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
        from fastwhisper_compress.training.importance import importances

        save(folder, importances(checkpoint, _heard(checkpoint, load_artifact(baseline), suite, progress)))

    return Importance(store.stage(KIND, judgement_spec(checkpoint, baseline.name, suite), make))


def judgement_spec(checkpoint: Checkpoint, baseline: str, suite: Suite) -> dict[str, Any]:
    """Return what decides the scores, besides what decides statistics of the same speech."""
    return calibration_spec(checkpoint, baseline, suite) | {"judged_by": code_digest(*_CODE)}


def _heard(
    checkpoint: Checkpoint, artifact: Transcriber, suite: Suite, progress: Callable[[int, int], None]
) -> Iterator[Heard]:
    from fastwhisper_compress.training.importance import Heard

    for done, one in enumerate(suite.utterances):
        progress(done, len(suite.utterances))
        samples = read_audio(one.audio, max_s=MAX_CLIP_S)
        prompt = prompt_tokens(artifact.manifest.decoding, one.language, "transcribe")
        tokens = artifact.transcribe(samples, Options(language=one.language)).tokens
        yield Heard(reference_log_mel(samples, checkpoint.dims.n_mels), prompt, tokens)
    progress(len(suite.utterances), len(suite.utterances))
