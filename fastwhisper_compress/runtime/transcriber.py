"""An artifact as a Python object: samples in, text and tokens out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from fastwhisper_compress.runtime.audio import SAMPLE_RATE
from fastwhisper_compress.runtime.encoding import Encoded, Encoding
from fastwhisper_compress.runtime.hypothesis import Hypothesis
from fastwhisper_compress.runtime.manifest import EncoderContext, Manifest, Offload, read_manifest
from fastwhisper_compress.runtime.memory import release_free_memory
from fastwhisper_compress.runtime.options import DEFAULTS, Options
from fastwhisper_compress.runtime.out_of_memory import recognised
from fastwhisper_compress.runtime.phases import OnPhase, ignore_phase
from fastwhisper_compress.runtime.prompt import check_options
from fastwhisper_compress.runtime.resident import open_models
from fastwhisper_compress.runtime.segments import segments_of
from fastwhisper_compress.runtime.session import computing
from fastwhisper_compress.runtime.tokens import Vocabulary
from fastwhisper_compress.runtime.transcript import Transcript
from fastwhisper_compress.runtime.word_times import WordTimes

if TYPE_CHECKING:
    import numpy as np


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
        self._vocabulary = Vocabulary.load(manifest.tokenizer)
        self._threads, self._backend = threads, backend
        self._open()

    def _open(self) -> None:
        models = open_models(self.manifest, self._threads, self._backend, self.offload)
        self._encoding = Encoding(models.log_mel, models.encoder, self.manifest.provider)
        self._decoder = models.decoder
        self._word_times = WordTimes(models.decoder, self.manifest.decoding, self._vocabulary)
        self._n_vocab: int = models.decoder_outputs["logits"].sizes(1)[0]
        release_free_memory()

    def transcribe(self, samples: np.ndarray, options: Options = DEFAULTS) -> Transcript:
        """Transcribe one clip.

        Args:
            samples: float32 (n,), 16 kHz, mono, at most 30 s.
            options: How.

        Raises:
            AudioError: Wrong shape or type, or longer than 30 s.
            UsageError: The model cannot do what the options ask for, such as a language that it does not know.
        """
        return self.transcribe_batch([samples], options)[0]

    def transcribe_batch(self, clips: Sequence[np.ndarray], options: Options = DEFAULTS) -> list[Transcript]:
        """Transcribe several clips at once; arguments and errors are those of :meth:`transcribe`.

        Memory grows with the number of clips: each has keys and values of its own. On a CPU they are encoded one by one,
        so that a clip hardly depends on its neighbours: only the decoder's sums may be rounded otherwise. On CUDA, in
        ``int8_dynamic``, they would share the scales of their activations. Where the encoder's context is elastic, all
        are encoded as long as the longest, and clips whose transcript is degenerate again with the full window.

        Raises:
            OutOfMemoryError: There was not enough memory for so many.
        """
        check_options(options, self.manifest.decoding, self._n_vocab)
        if not clips:
            return []
        for samples in clips:
            self.check(samples)
        with (
            computing(self.manifest),
            recognised("transcribing", f"{len(clips)} clips at once" if len(clips) > 1 else "one clip"),
        ):
            return self._transcribe(clips, options)

    def detect_language(self, samples: np.ndarray) -> dict[str, float]:
        """Return how likely each language that the model knows is spoken in a clip: code to probability.

        Raises:
            AudioError: Wrong shape or type, or longer than 30 s.
            OutOfMemoryError: There was not enough memory.
        """
        known = self.manifest.decoding.languages
        self.check(samples)
        if not known:  # an English-only model expects nothing else
            return {"en": 1.0}
        with computing(self.manifest), recognised("detecting the language", "one clip"):
            encoded = self.encode([samples], frames=self._window(samples))
            found = self._decoder.languages(encoded.cross)[0]
        return {code: float(probability) for code, probability in zip(known, found, strict=True)}

    def check(self, samples: np.ndarray) -> None:
        """Refuse what no batch should hold.

        Raises:
            AudioError: Wrong shape or type, longer than 30 s, or not finite.
        """
        self._encoding.check(samples)

    def free_memory(self) -> None:
        """Give back what earlier clips have left in ONNX Runtime's arena and in the C allocator.

        On CUDA each session has an arena of its own, which gives nothing back: there the models are opened again.
        """
        if self.manifest.provider == "cuda":
            del self._encoding, self._decoder, self._word_times
            self._open()
            return
        if self.offload == "none":  # else there is no arena
            self._encoding.shrink_arena()
        release_free_memory()

    def log_mel(self, samples: np.ndarray) -> np.ndarray:
        """Return the log-mel spectrogram, float32 (1, n_mels, 3000), of float32 samples (n,), cut to 30 s."""
        return self._encoding.log_mel(samples)

    def encode(self, clips: Sequence[np.ndarray], *, frames: int | None = None, hidden: bool = False) -> Encoded:
        """Run the encoder.

        Args:
            clips: float32 (n,), 16 kHz, mono, each.
            frames: Length of its window in frames of 10 ms, even and at most 3000; None takes the full 30 s. What a shorter
                window holds behind a clip is filled with zeros in the normalised log-mel domain.
            hidden: Whether to return the encoder's output too.
        """
        frames = self._encoding.most_frames if frames is None else frames
        return self._encoding.encode(clips, frames, hidden=hidden, on_phase=self.on_phase)

    def forced_logits(self, encoded: Encoded, prompt: tuple[int, ...], tokens: tuple[int, ...]) -> np.ndarray:
        """Return the logits of one encoded clip behind the prompt and behind each given token.

        Shapes: float32 (1 + len(tokens), n_vocab).
        """
        return self._decoder.forced(encoded.cross, prompt, tokens)

    def _window(self, samples: np.ndarray) -> int:
        return self._encoding.window(samples, self.encoder_context.margin_s)

    def _transcribe(self, clips: Sequence[np.ndarray], options: Options) -> list[Transcript]:
        frames, most = max(map(self._window, clips)), self._encoding.most_frames
        found = self._decode(clips, frames, options)
        seconds = [samples.size / SAMPLE_RATE for samples in clips]
        again = [i for i, one in enumerate(found) if one.is_degenerate(seconds[i])]
        if again and frames < most:
            full = self._decode([clips[i] for i in again], most, options)
            for i, one in zip(again, full, strict=True):
                found[i] = replace(one, redone=True)
        return found

    def _decode(self, clips: Sequence[np.ndarray], frames: int, options: Options) -> list[Transcript]:
        encoded = self.encode(clips, frames=frames)
        found = self._decoder.decode(encoded.cross, options, on_phase=self.on_phase)
        transcripts = [
            self._transcript(one, options, samples.size / SAMPLE_RATE)
            for one, samples in zip(found, clips, strict=True)
        ]
        if options.words:
            lengths = [samples.size for samples in clips]
            transcripts = self._word_times.add(transcripts, found, encoded.cross, lengths, options.task)
        self.on_phase("idle")
        return transcripts

    def _transcript(self, found: Hypothesis, options: Options, length_s: float) -> Transcript:
        text_of, begin = self._vocabulary.decode, self.manifest.decoding.timestamp_begin
        return Transcript(
            text_of(found.tokens).strip(),
            found.tokens,
            found.looped,
            found.ended,
            found.mean_logprob,
            found.language,
            no_speech_prob=found.no_speech_prob,
            temperature=options.temperature,
            segments=segments_of(found.tokens, begin, length_s, text_of) if options.timestamps else (),
        )
