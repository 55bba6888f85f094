"""From samples to what the decoder attends to: the log-mel windows of some clips, and the encoder over them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fastwhisper_compress.errors import AudioError, OutOfMemoryError, UnsafeInputError
from fastwhisper_compress.runtime.audio_source import LOUDEST, SAMPLE_RATE
from fastwhisper_compress.runtime.encoder import Encoder, RunsEncoder
from fastwhisper_compress.runtime.out_of_memory import recognised
from fastwhisper_compress.runtime.phases import OnPhase, ignore_phase

if TYPE_CHECKING:
    import onnxruntime as ort

_HOP = SAMPLE_RATE // 100  # samples a frame of the log-mel spectrogram


@dataclass(frozen=True)
class Encoded:
    """Clips as the decoder sees them.

    Attributes:
        cross: Keys and values of every decoder layer, (batch, heads, audio length, head_dim) each.
        hidden: The encoder's output, float32 (batch, audio length, d_model), if it was asked for.
    """

    cross: Mapping[str, ort.OrtValue]
    hidden: np.ndarray | None


class Encoding:
    """The features and the encoder of a loaded artifact.

    Attributes:
        most_frames: Length of the full window in frames of 10 ms.
    """

    def __init__(self, log_mel: ort.InferenceSession, encoder: Encoder, provider: str) -> None:
        self._log_mel = log_mel
        self._encoder = encoder
        self._at_once = provider != "cpu"
        shape: list[int] = log_mel.get_outputs()[0].shape
        self._n_mels, self.most_frames = shape[1:]

    def check(self, samples: np.ndarray) -> None:
        """Refuse what no batch should hold.

        Raises:
            AudioError: Wrong shape or type, longer than 30 s, or not finite.
        """
        if samples.ndim != 1 or samples.dtype != np.float32:
            raise AudioError(
                f"expected float32 samples of shape (n,), got {samples.dtype} {samples.shape}",
                remedy="use fastwhisper_compress.runtime.audio.read_audio",
            )
        most = self.most_frames * _HOP
        if samples.size > most:
            raise AudioError(
                f"the clip has {samples.size:,} samples, more than {most:,} ({most / SAMPLE_RATE:.0f} s)",
                remedy="cut it into shorter clips",
            )
        if not np.abs(samples).max(initial=0) <= LOUDEST:  # false for NaN as well
            raise AudioError(
                f"holds samples that are not finite or beyond {LOUDEST:.0e}",
                remedy="give float32 samples between -1 and 1",
            )

    def log_mel(self, samples: np.ndarray) -> np.ndarray:
        """Return the log-mel spectrogram, float32 (1, n_mels, 3000), of float32 samples (n,), cut to 30 s."""
        mel: np.ndarray = self._log_mel.run(None, {"audio": samples[None]})[0]
        if mel.shape != (1, self._n_mels, self.most_frames):  # what a graph says of itself need not be so
            raise UnsafeInputError(
                f"makes a spectrogram of shape {mel.shape}, not {(1, self._n_mels, self.most_frames)}",
                place="log_mel",
                remedy="run the recipe again",
            )
        return mel

    def window(self, samples: np.ndarray, margin_s: float | None) -> int:
        """Return how many frames the encoder is to be given of a clip: an even number, as its stem halves them.

        Args:
            samples: The clip.
            margin_s: Seconds behind its end; None takes the full window.
        """
        if margin_s is None:
            return self.most_frames
        wanted = _frames(samples) + round(100 * margin_s)
        return max(2, min(self.most_frames, wanted + wanted % 2))

    def windows(self, clips: Sequence[np.ndarray], frames: int) -> np.ndarray:
        """Return the encoder's input, float32 (batch, n_mels, frames).

        What a shorter window holds behind a clip is filled with zeros in the normalised log-mel domain.
        """
        found = np.zeros((len(clips), self._n_mels, frames), np.float32)
        for row, samples in zip(found, clips, strict=True):
            heard = frames if frames == self.most_frames else min(frames, _frames(samples))
            row[:, :heard] = self.log_mel(samples)[0, :, :heard]
        return found

    def encode(
        self, clips: Sequence[np.ndarray], frames: int, *, hidden: bool = False, on_phase: OnPhase = ignore_phase
    ) -> Encoded:
        """Run the encoder over windows of so many frames; ``hidden`` asks for its output too."""
        names = tuple(name for name in self._encoder.outputs if hidden or name != "hidden")
        run = self._encode_at_once if len(clips) == 1 or self._at_once else self._encode_in_turn
        with self._encoder.ready(on_phase) as encoder:
            outputs = run(encoder, clips, frames, names, on_phase)
        last = outputs.pop("hidden", None)  # absent unless asked for; a view would not keep it alive
        return Encoded(outputs, None if last is None else last.numpy().copy())

    def shrink_arena(self) -> None:
        """Have ONNX Runtime's arena on the CPU, which all sessions share, give back what nobody uses."""
        import onnxruntime as ort

        options = ort.RunOptions()
        options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")  # after this run
        # Where there is not even enough for this run, the clips to come will tell.
        with suppress(OutOfMemoryError), recognised("giving memory back"):
            self._log_mel.run(None, {"audio": np.zeros((1, _HOP), np.float32)}, options)

    def _encode_at_once(
        self, encoder: RunsEncoder, clips: Sequence[np.ndarray], frames: int, names: tuple[str, ...], on_phase: OnPhase
    ) -> dict[str, ort.OrtValue]:
        on_phase("log_mel")
        windows = self.windows(clips, frames)
        on_phase("encode")
        return encoder.run(windows, names)

    def _encode_in_turn(
        self, encoder: RunsEncoder, clips: Sequence[np.ndarray], frames: int, names: tuple[str, ...], on_phase: OnPhase
    ) -> dict[str, ort.OrtValue]:
        """Encode one clip after the other into the rows of a batch.

        On a CPU the encoder takes as long for each clip of a batch as for one alone, so that all at once would gain
        nothing, cost the activations of all, and in ``int8_dynamic`` let the clips share the scales of theirs.
        """
        import onnxruntime as ort

        first = self._encode_at_once(encoder, clips[:1], frames, names, on_phase)
        rows = {name: np.empty((len(clips), *one.shape()[1:]), one.numpy().dtype) for name, one in first.items()}
        for name, one in first.items():
            rows[name][0] = one.numpy()[0]
        del first
        for row in range(1, len(clips)):
            on_phase("log_mel")
            window = self.windows(clips[row : row + 1], frames)
            on_phase("encode")
            encoder.run_into(window, {name: array[row : row + 1] for name, array in rows.items()})
        return {name: ort.OrtValue.ortvalue_from_numpy(array) for name, array in rows.items()}


def _frames(samples: np.ndarray) -> int:
    """Count the frames of 10 ms that a clip fills."""
    return -(-samples.size // _HOP)
