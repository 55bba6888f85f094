"""An artifact as a Python object: samples in, text and tokens out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastwhisper_compress.errors import AudioError, UnsafeInputError, UsageError
from fastwhisper_compress.runtime.audio import SAMPLE_RATE
from fastwhisper_compress.runtime.decode import Decoder, prompt_tokens
from fastwhisper_compress.runtime.manifest import Manifest, read_manifest
from fastwhisper_compress.runtime.memory import release_free_memory
from fastwhisper_compress.runtime.openvino_encoder import OpenVinoEncoder
from fastwhisper_compress.runtime.session import open_session
from fastwhisper_compress.runtime.tokens import Vocabulary

if TYPE_CHECKING:
    import onnxruntime as ort


_LOUDEST = 1e6  # full scale is 1; the power spectrum of what lies far beyond overflows


@dataclass(frozen=True)
class Transcript:
    """What was heard.

    Attributes:
        text: The words.
        tokens: Their token ids, without prompt and end of text.
        looped: Whether decoding was stopped because it repeated itself without end; what came after is missing.
    """

    text: str
    tokens: tuple[int, ...]
    looped: bool = False


def load_artifact(
    folder: Path | str, *, threads: int | None = None, provider: str | None = None, backend: str = "onnxruntime"
) -> Transcriber:
    """Open an artifact on the provider that it was written for.

    Args:
        folder: The ``--out`` folder of a run.
        provider: ``cpu`` or ``cuda``; None takes what the artifact was written for, and nothing else is accepted.
        threads: Of the CPU provider; None takes one a core.
        backend: What runs the encoder, ``onnxruntime`` or ``openvino``; the rest always runs on ONNX Runtime.

    Raises:
        ArtifactError: The folder is no artifact, or files are missing.
        UnsafeInputError: A file is damaged.
        BackendError: ONNX Runtime, its provider or OpenVINO is missing.
        ProviderError: A node cannot run on the provider.
        ResourceError: Out of memory.
        UsageError: There is no such backend.
    """
    return Transcriber(read_manifest(Path(folder), provider), threads=threads, backend=backend)


class Transcriber:
    """A loaded artifact. One call at a time: its buffers are its own."""

    def __init__(self, manifest: Manifest, *, threads: int | None = None, backend: str = "onnxruntime") -> None:
        import onnxruntime as ort

        self.manifest = manifest
        provider = manifest.provider
        self._vocabulary = Vocabulary.load(manifest.folder / "tokenizer.json")
        self._log_mel = open_session(manifest.graphs["log_mel"], "cpu", threads)
        self._encoder = _open_encoder(manifest, threads, backend)
        decoder = open_session(manifest.graphs["decoder"], provider, threads)
        self._check_graphs(decoder)
        release_free_memory()
        self._max_samples = self._log_mel.get_outputs()[0].shape[-1] * SAMPLE_RATE // 100  # frames of 10 ms

        self._cross: dict[str, ort.OrtValue] = {}
        for node in decoder.get_inputs():
            if node.name.startswith("cross_"):
                dtype = np.float16 if node.type == "tensor(float16)" else np.float32
                buffer = ort.OrtValue.ortvalue_from_shape_and_type([1, *node.shape[1:]], dtype, provider)
                self._cross[node.name] = buffer
        self._decoder = Decoder(decoder, manifest.decoding, self._cross)

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
        prompt = prompt_tokens(self.manifest.decoding, language, task)
        self.encode(samples)
        tokens, looped = self._decoder.greedy(prompt, stop_loops=stop_loops)
        return Transcript(self._vocabulary.decode(tokens).strip(), tokens, looped)

    def log_mel(self, samples: np.ndarray, *, check: bool = True) -> np.ndarray:
        """Return the log-mel spectrogram, float32 (1, n_mels, frames), of float32 samples (n,).

        What is longer than 30 s is refused, or with ``check=False`` cut.
        """
        if check:
            self._check(samples)
        mel: np.ndarray = self._log_mel.run(None, {"audio": samples[None]})[0]
        return mel

    def encode(self, samples: np.ndarray, *, hidden: bool = False) -> np.ndarray | None:
        """Run the encoder into the buffers that the decoder reads.

        Args:
            samples: float32 (n,), 16 kHz, mono.
            hidden: Whether to return the encoder's output too, float32 (1, audio length, d_model).
        """
        import onnxruntime as ort

        mel = self.log_mel(samples)
        if isinstance(self._encoder, OpenVinoEncoder):
            found = self._encoder.run(mel)
            for name, buffer in self._cross.items():
                buffer.update_inplace(found[name])
            return found["hidden"].copy() if hidden else None
        binding = self._encoder.io_binding()
        binding.bind_cpu_input("mel", mel)
        for name, buffer in self._cross.items():
            binding.bind_ortvalue_output(name, buffer)
        output = np.empty([1, *_outputs(self._encoder)["hidden"][1:]], np.float32) if hidden else None
        if output is not None:
            binding.bind_ortvalue_output("hidden", ort.OrtValue.ortvalue_from_numpy(output))
        self._encoder.run_with_iobinding(binding)
        return output

    def forced_logits(self, prompt: tuple[int, ...], tokens: tuple[int, ...]) -> np.ndarray:
        """Return the logits behind the prompt and behind each given token, for the audio encoded last.

        Shapes: float32 (1 + len(tokens), n_vocab).
        """
        rows = [self._decoder.start(prompt).copy()]
        rows += [self._decoder.step(token).copy() for token in tokens]
        return np.stack(rows)

    def _check_graphs(self, decoder: ort.InferenceSession) -> None:
        """Refuse a manifest that names other graphs than ours, or ids and lengths that they do not have."""
        outputs = _outputs(self._encoder) | _outputs(decoder)
        inputs = {node.name: node.shape for node in decoder.get_inputs()}
        decoding = self.manifest.decoding
        if not {"hidden", "logits", "past_key.0"} <= outputs.keys() | inputs.keys():
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

    def _check(self, samples: np.ndarray) -> None:
        if samples.ndim != 1 or samples.dtype != np.float32:
            raise AudioError(
                f"expected float32 samples of shape (n,), got {samples.dtype} {samples.shape}",
                remedy="use fastwhisper_compress.runtime.audio.read_audio",
            )
        if samples.size > self._max_samples:
            raise AudioError(
                f"the clip has {samples.size:,} samples, more than {self._max_samples:,} "
                f"({self._max_samples / SAMPLE_RATE:.0f} s)",
                remedy="cut it into shorter clips",
            )
        if not np.abs(samples).max(initial=0) <= _LOUDEST:  # false for NaN as well
            raise AudioError(
                f"holds samples that are not finite or beyond {_LOUDEST:.0e}",
                remedy="give float32 samples between -1 and 1",
            )


def _open_encoder(manifest: Manifest, threads: int | None, backend: str) -> ort.InferenceSession | OpenVinoEncoder:
    graph = manifest.graphs["encoder"]
    if backend == "onnxruntime":
        return open_session(graph, manifest.provider, threads)
    if backend == "openvino":
        return OpenVinoEncoder(graph, manifest.provider, threads)
    raise UsageError(f"unknown backend {backend!r}", place="--backend", remedy="use onnxruntime or openvino")


def _outputs(graph: ort.InferenceSession | OpenVinoEncoder) -> dict[str, Any]:
    """Return the shape of every output by name."""
    if isinstance(graph, OpenVinoEncoder):
        return dict(graph.outputs)
    return {node.name: node.shape for node in graph.get_outputs()}
