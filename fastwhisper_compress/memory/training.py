"""Memory of training a Whisper in torch: weights, gradients, optimiser, and the activations kept for the backward pass.

Activations are counted in tensors of the residual stream's size that our network (SDPA attention) and the comparison
with its teacher save for the backward pass. The counts were taken with ``torch.autograd.graph.saved_tensors_hooks``; a
test takes them again.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from fastwhisper_compress.checkpoint.dims import Dims
from fastwhisper_compress.checkpoint.known import n_parameters
from fastwhisper_compress.memory.working_set import MAX_AUDIO_S, Workload, text_length

_FP32 = 4
_ADAM_MOMENTS = 2


@dataclass(frozen=True)
class _Saved:
    """Saved tensors of a layer, in residual streams of its own length, and of the stream's ends.

    Attributes:
        layer: Of an encoder layer, feed-forward aside.
        text_layer: Of a decoder layer, likewise.
        crossing: Of a decoder layer, in residual streams of the audio: keys and values.
        hidden: Behind fc1 and behind GELU, for each ``d_model`` of the feed-forward's width.
        stem: Convolutions, the encoder's end and its comparison, in residual streams of the audio.
        logits: Copies of the scores: the student's and the teacher's logarithms of probabilities.
    """

    layer: float
    text_layer: float
    crossing: float
    hidden: float
    stem: float
    logits: float


_SAVED = {
    "fp32": _Saved(8.05, 12.08, 2.0, 2.0, 8.3, 2.0),
    # Autocast: half of most, but layer norms and the residual stream stay FP32, as do the probabilities.
    "amp": _Saved(6.05, 8.58, 2.0, 1.0, 4.5, 2.5),
}


@dataclass(frozen=True)
class TrainingEstimate:
    """What a training step needs, in bytes.

    Attributes:
        batch: Clips at once.
        amp: Whether the forward pass runs under autocast.
        weights: FP32 parameters, and their half-precision copies under autocast.
        gradients: FP32.
        optimiser: AdamW's two moments, FP32.
        teacher: Its weights.
        activations: Kept for the backward pass, every layer's.
        activations_checkpointed: The same with gradient checkpointing: each layer's input, and one layer in full.
        loss: The teacher's scores, and the gradients of the student's at the turn from forward to backward.
    """

    batch: int
    amp: bool
    weights: int
    gradients: int
    optimiser: int
    teacher: int
    activations: int
    activations_checkpointed: int
    loss: int

    def peak(self, *, checkpointing: bool) -> int:
        """Return the most that is needed at any time, the framework itself aside."""
        kept = self.activations_checkpointed if checkpointing else self.activations
        return self.weights + self.gradients + self.optimiser + self.teacher + kept + self.loss

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self) | {
            "peak": self.peak(checkpointing=False),
            "peak_checkpointed": self.peak(checkpointing=True),
        }


def estimate_training(dims: Dims, work: Workload, *, amp: bool, teacher: Dims | None = None) -> TrainingEstimate:
    """Estimate a step of AdamW on all parameters.

    Args:
        dims: The student; what pruning takes off is not counted off.
        work: Clips at once, seconds of audio and tokens of text of each step.
        amp: Whether the forward pass runs under autocast.
        teacher: Whom it learns from; None is a model of its own size.
    """
    saved = _SAVED["amp" if amp else "fp32"]
    length = max(1, round(dims.n_audio_ctx * work.audio_s / MAX_AUDIO_S))
    tokens = text_length(dims, work)
    audio = work.batch * length * dims.d_model * _FP32
    text = work.batch * tokens * dims.d_model * _FP32
    encoder = round((saved.layer + saved.hidden * dims.encoder_ffn / dims.d_model) * audio)
    decoder = round((saved.text_layer + saved.hidden * dims.decoder_ffn / dims.d_model) * text + saved.crossing * audio)
    ends = round(saved.stem * audio) + work.batch * 2 * length * dims.n_mels * _FP32
    scores = work.batch * tokens * dims.n_vocab * _FP32
    parameters = n_parameters(dims)
    kept_logits = round(saved.logits * scores)
    return TrainingEstimate(
        batch=work.batch,
        amp=amp,
        weights=parameters * (_FP32 + 2 * amp),
        gradients=parameters * _FP32,
        optimiser=_ADAM_MOMENTS * parameters * _FP32,
        teacher=n_parameters(teacher or dims) * _FP32,
        activations=ends + kept_logits + dims.encoder_layers * encoder + dims.decoder_layers * decoder,
        activations_checkpointed=(
            ends + kept_logits + dims.encoder_layers * audio + dims.decoder_layers * text + max(encoder, decoder)
        ),
        loss=3 * scores,
    )


def fitting_clips(
    dims: Dims, work: Workload, budget: int, *, amp: bool, checkpointing: bool, teacher: Dims | None = None
) -> int:
    """Return how many clips at once fit so many bytes: those of ``work``, or half as often as it takes; at least one."""
    batch = work.batch
    while batch > 1:
        need = estimate_training(dims, replace(work, batch=batch), amp=amp, teacher=teacher)
        if need.peak(checkpointing=checkpointing) <= budget:
            break
        batch = -(-batch // 2)
    return batch
