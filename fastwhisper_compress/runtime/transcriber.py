"""An artifact as a Python object: samples in, text and tokens out."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fastwhisper_compress.errors import AudioError, OutOfMemoryError, UnsafeInputError
from fastwhisper_compress.runtime.audio import SAMPLE_RATE
from fastwhisper_compress.runtime.decode import prompt_tokens
from fastwhisper_compress.runtime.encoder import RunsEncoder
from fastwhisper_compress.runtime.manifest import EncoderContext, Manifest, Offload, read_manifest
from fastwhisper_compress.runtime.memory import release_free_memory
from fastwhisper_compress.runtime.out_of_memory import recognised
from fastwhisper_compress.runtime.phases import OnPhase, ignore_phase
from fastwhisper_compress.runtime.resident import Models, open_models
from fastwhisper_compress.runtime.tokens import Vocabulary

if TYPE_CHECKING:
    import onnxruntime as ort


_LOUDEST = 1e6  # full scale is 1; the power spectrum of what lies far beyond overflows
_HOP = SAMPLE_RATE // 100  # samples a frame of the log-mel spectrogram

# Signs of a transcript gone wrong. The first two are the limits beyond which openai-whisper (transcribe.py) decodes
# again. The last is for texts that end long before the speech does: speech is 7 bytes of UTF-8 a second and more, in
# English, German and Mandarin alike, what broke off in our measurements mostly 3 and fewer.
_LEAST_MEAN_LOGPROB = -1.0
_MOST_COMPRESSION = 2.4  # bytes of the text by bytes of its zlib compression
_LEAST_BYTES_A_SECOND = 5.0


@dataclass(frozen=True)
class Transcript:
    """What was heard.

    Attributes:
        text: The words.
        tokens: Their token ids, without prompt and end of text.
        looped: Whether decoding was stopped because it repeated itself without end; what came after is missing.
        ended: Whether the model ended the text itself, rather than a loop or the model's length.
        mean_logprob: Mean natural logarithm of the probability of each token.
        redone: Whether a first attempt on an elastic window was degenerate, and this is the one on the full window.
    """

    text: str
    tokens: tuple[int, ...]
    looped: bool
    ended: bool
    mean_logprob: float
    redone: bool = False

    def is_degenerate(self, audio_s: float) -> bool:
        """Say whether it bears a sign of decoding gone wrong: no end, low probability, repetition, or hardly any text.

        Args:
            audio_s: Length of the clip.
        """
        written = self.text.encode()
        return (
            not self.ended
            or not self.mean_logprob >= _LEAST_MEAN_LOGPROB  # true for NaN as well
            or len(written) > _MOST_COMPRESSION * len(zlib.compress(written))
            or len(written) < _LEAST_BYTES_A_SECOND * audio_s
        )


@dataclass(frozen=True)
class Encoded:
    """Clips as the decoder sees them.

    Attributes:
        cross: Keys and values of every decoder layer, (batch, heads, audio length, head_dim) each.
        hidden: The encoder's output, float32 (batch, audio length, d_model), if it was asked for.
    """

    cross: Mapping[str, ort.OrtValue]
    hidden: np.ndarray | None


def load_artifact(
    folder: Path | str,
    *,
    threads: int | None = None,
    provider: str | None = None,
    encoder_context: EncoderContext | None = None,
    backend: str = "onnxruntime",
    offload: Offload | None = None,
) -> Transcriber:
    """Open an artifact on the provider that it was written for.

    Args:
        folder: The ``--out`` folder of a run.
        provider: ``cpu`` or ``cuda``; None takes what the artifact was written for, and nothing else is accepted.
        threads: Of the CPU provider; None takes one a core.
        encoder_context: How much the encoder is given of each clip; None takes what the recipe said.
        backend: What runs the encoder, ``onnxruntime`` or ``openvino``; the rest always runs on ONNX Runtime.
        offload: What leaves memory while it is not needed: ``none``, ``phase`` or ``layers``; None takes what the recipe
            said. Only an artifact that was written for it can be streamed in layers.

    Raises:
        ArtifactError: The folder is no artifact, or files are missing.
        UnsafeInputError: A file is damaged.
        BackendError: ONNX Runtime, its provider or OpenVINO is missing.
        ProviderError: A node cannot run on the provider.
        OutOfMemoryError: Out of memory.
        UsageError: There is no such backend, or the artifact or backend cannot be offloaded so.
    """
    manifest = read_manifest(Path(folder), provider)
    return Transcriber(manifest, threads=threads, encoder_context=encoder_context, backend=backend, offload=offload)


class Transcriber:
    """A loaded artifact. One call at a time.

    Attributes:
        manifest: What its folder says of it.
        encoder_context: How much the encoder is given of each clip.
        offload: What leaves memory while it is not needed.
        on_phase: Told what begins, for whoever measures.
    """

    def __init__(
        self,
        manifest: Manifest,
        *,
        threads: int | None = None,
        encoder_context: EncoderContext | None = None,
        backend: str = "onnxruntime",
        offload: Offload | None = None,
    ) -> None:
        self.manifest = manifest
        self.on_phase: OnPhase = ignore_phase
        self.encoder_context = encoder_context or manifest.encoder_context
        self.offload: Offload = offload or manifest.offload
        self._vocabulary = Vocabulary.load(manifest.folder / "tokenizer.json")
        self._threads, self._backend = threads, backend
        self._open()
        self._most_frames: int = self._log_mel.get_outputs()[0].shape[-1]

    def _open(self) -> None:
        models = open_models(self.manifest, self._threads, self._backend, self.offload)
        self._log_mel, self._encoder, self._decoder = models.log_mel, models.encoder, models.decoder
        self._check_graphs(models)
        release_free_memory()

    def transcribe(
        self, samples: np.ndarray, *, language: str | None = None, task: str = "transcribe", stop_loops: bool = True
    ) -> Transcript:
        """Transcribe one clip.

        Args:
            samples: float32 (n,), 16 kHz, mono, at most 30 s.
            language: Code such as ``de``; None means English.
            task: ``transcribe``, or ``translate`` into English.
            stop_loops: Whether to stop where the text only repeats itself, which greedy decoding may do up to the
                model's length; False decodes as transformers' ``generate`` does.

        Raises:
            AudioError: Wrong shape or type, or longer than 30 s.
            UsageError: The model does not know the language or task.
        """
        return self.transcribe_batch([samples], language=language, task=task, stop_loops=stop_loops)[0]

    def transcribe_batch(
        self,
        clips: Sequence[np.ndarray],
        *,
        language: str | None = None,
        task: str = "transcribe",
        stop_loops: bool = True,
    ) -> list[Transcript]:
        """Transcribe several clips at once; arguments and errors are those of :meth:`transcribe`.

        Memory grows with the number of clips: each has keys and values of its own. On a CPU they are encoded one by one,
        so that a clip hardly depends on its neighbours: only the decoder's sums may be rounded otherwise. On CUDA, in
        ``int8_dynamic``, they would share the scales of their activations. Where the encoder's context is elastic, all
        are encoded as long as the longest, and clips whose transcript is degenerate again with the full window.

        Raises:
            OutOfMemoryError: There was not enough memory for so many.
        """
        prompt = prompt_tokens(self.manifest.decoding, language, task)
        if not clips:
            return []
        for samples in clips:
            self.check(samples)
        with recognised("transcribing", f"{len(clips)} clips at once" if len(clips) > 1 else "one clip"):
            return self._transcribe(clips, prompt, stop_loops=stop_loops)

    def free_memory(self) -> None:
        """Give back what earlier clips have left in ONNX Runtime's arena and in the C allocator.

        On CUDA each session has an arena of its own, which gives nothing back: there the models are opened again.
        """
        if self.manifest.provider == "cuda":
            del self._log_mel, self._encoder, self._decoder
            self._open()
            return
        if self.offload == "none":  # else there is no arena
            import onnxruntime as ort

            options = ort.RunOptions()
            # After this run; all sessions share one arena.
            options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
            # Where there is not even enough for this run, the clips to come will tell.
            with suppress(OutOfMemoryError), recognised("giving memory back"):
                self._log_mel.run(None, {"audio": np.zeros((1, _HOP), np.float32)}, options)
        release_free_memory()

    def _transcribe(
        self, clips: Sequence[np.ndarray], prompt: tuple[int, ...], *, stop_loops: bool
    ) -> list[Transcript]:
        frames = max(map(self._window, clips))
        found = self._decode(clips, frames, prompt, stop_loops=stop_loops)
        seconds = [samples.size / SAMPLE_RATE for samples in clips]
        again = [i for i, one in enumerate(found) if one.is_degenerate(seconds[i])]
        if again and frames < self._most_frames:
            full = self._decode([clips[i] for i in again], self._most_frames, prompt, stop_loops=stop_loops)
            for i, one in zip(again, full, strict=True):
                found[i] = replace(one, redone=True)
        return found

    def log_mel(self, samples: np.ndarray) -> np.ndarray:
        """Return the log-mel spectrogram, float32 (1, n_mels, 3000), of float32 samples (n,), cut to 30 s."""
        mel: np.ndarray = self._log_mel.run(None, {"audio": samples[None]})[0]
        return mel

    def encode(self, clips: Sequence[np.ndarray], *, frames: int | None = None, hidden: bool = False) -> Encoded:
        """Run the encoder.

        Args:
            clips: float32 (n,), 16 kHz, mono, each.
            frames: Length of its window in frames of 10 ms, even and at most 3000; None takes the full 30 s. What a shorter
                window holds behind a clip is filled with zeros in the normalised log-mel domain.
            hidden: Whether to return the encoder's output too.
        """
        names = tuple(name for name in self._encoder.outputs if hidden or name != "hidden")
        frames = self._most_frames if frames is None else frames
        at_once = len(clips) == 1 or self.manifest.provider != "cpu"
        run = self._encode_at_once if at_once else self._encode_in_turn
        with self._encoder.ready(self.on_phase) as encoder:
            outputs = run(encoder, clips, frames, names)
        last = outputs.pop("hidden", None)  # absent unless asked for; a view would not keep it alive
        return Encoded(outputs, None if last is None else last.numpy().copy())

    def forced_logits(self, encoded: Encoded, prompt: tuple[int, ...], tokens: tuple[int, ...]) -> np.ndarray:
        """Return the logits of one encoded clip behind the prompt and behind each given token.

        Shapes: float32 (1 + len(tokens), n_vocab).
        """
        return self._decoder.forced(encoded.cross, prompt, tokens)

    def _decode(
        self, clips: Sequence[np.ndarray], frames: int, prompt: tuple[int, ...], *, stop_loops: bool
    ) -> list[Transcript]:
        encoded = self.encode(clips, frames=frames)
        found = self._decoder.greedy(encoded.cross, prompt, stop_loops=stop_loops, on_phase=self.on_phase)
        self.on_phase("idle")
        return [
            Transcript(self._vocabulary.decode(one.tokens).strip(), one.tokens, one.looped, one.ended, one.mean_logprob)
            for one in found
        ]

    def _encode_at_once(
        self, encoder: RunsEncoder, clips: Sequence[np.ndarray], frames: int, names: tuple[str, ...]
    ) -> dict[str, ort.OrtValue]:
        self.on_phase("log_mel")
        windows = self._windows(clips, frames)
        self.on_phase("encode")
        return encoder.run(windows, names)

    def _encode_in_turn(
        self, encoder: RunsEncoder, clips: Sequence[np.ndarray], frames: int, names: tuple[str, ...]
    ) -> dict[str, ort.OrtValue]:
        """Encode one clip after the other into the rows of a batch.

        On a CPU the encoder takes as long for each clip of a batch as for one alone, so that all at once would gain
        nothing, cost the activations of all, and in ``int8_dynamic`` let the clips share the scales of theirs.
        """
        import onnxruntime as ort

        first = self._encode_at_once(encoder, clips[:1], frames, names)
        rows = {name: np.empty((len(clips), *one.shape()[1:]), one.numpy().dtype) for name, one in first.items()}
        for name, one in first.items():
            rows[name][0] = one.numpy()[0]
        del first
        for row in range(1, len(clips)):
            self.on_phase("log_mel")
            window = self._windows(clips[row : row + 1], frames)
            self.on_phase("encode")
            encoder.run_into(window, {name: array[row : row + 1] for name, array in rows.items()})
        return {name: ort.OrtValue.ortvalue_from_numpy(array) for name, array in rows.items()}

    def _window(self, samples: np.ndarray) -> int:
        """Return how many frames the encoder is to be given of a clip: an even number, as its stem halves them."""
        margin_s = self.encoder_context.margin_s
        if margin_s is None:
            return self._most_frames
        wanted = _frames(samples) + round(100 * margin_s)
        return max(2, min(self._most_frames, wanted + wanted % 2))

    def _windows(self, clips: Sequence[np.ndarray], frames: int) -> np.ndarray:
        """Return the encoder's input, float32 (batch, n_mels, frames)."""
        n_mels = self._log_mel.get_outputs()[0].shape[1]
        found = np.zeros((len(clips), n_mels, frames), np.float32)
        for row, samples in zip(found, clips, strict=True):
            heard = frames if frames == self._most_frames else min(frames, _frames(samples))
            row[:, :heard] = self.log_mel(samples)[0, :, :heard]
        return found

    def _check_graphs(self, models: Models) -> None:
        """Refuse a manifest that names other graphs than ours, or ids and lengths that they do not have."""
        inputs, outputs = models.decoder_inputs, models.decoder_outputs
        decoding = self.manifest.decoding
        if not {"hidden", "logits", "past_key.0"} <= {*models.encoder.outputs, *outputs, *inputs}:
            problem = "its graphs are not an encoder and a decoder of this format"
        elif decoding.largest_id >= outputs["logits"][-1]:
            problem = f"the token id {decoding.largest_id} is not one of the model's {outputs['logits'][-1]}"
        elif decoding.max_length > inputs["past_key.0"][2]:
            problem = f"max_length {decoding.max_length} is more than the {inputs['past_key.0'][2]} its cache holds"
        else:
            return
        raise UnsafeInputError(
            problem, place=str(self.manifest.folder / "manifest.json"), remedy="run the recipe again"
        )

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
        most = self._most_frames * _HOP
        if samples.size > most:
            raise AudioError(
                f"the clip has {samples.size:,} samples, more than {most:,} ({most / SAMPLE_RATE:.0f} s)",
                remedy="cut it into shorter clips",
            )
        if not np.abs(samples).max(initial=0) <= _LOUDEST:  # false for NaN as well
            raise AudioError(
                f"holds samples that are not finite or beyond {_LOUDEST:.0e}",
                remedy="give float32 samples between -1 and 1",
            )


def _frames(samples: np.ndarray) -> int:
    """Count the frames of 10 ms that a clip fills."""
    return -(-samples.size // _HOP)
