"""The reference implementation: transformers' Whisper in torch, built from the very tensors of a checkpoint.

What is compared is computed in FP64. Two FP32 implementations are each up to 1e-3 off the exact result in single
outputs of base's encoder (whose RMS error is 3e-6), so their distance would say little about either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from fastwhisper_compress.checkpoint.model import Checkpoint
from fastwhisper_compress.emit.configs import generation_config, model_config

if TYPE_CHECKING:
    import torch
    from transformers import WhisperForConditionalGeneration


class Reference:
    """A checkpoint run by transformers, in FP64 or, for what is not compared, in FP32."""

    def __init__(self, checkpoint: Checkpoint, *, double: bool = True) -> None:
        import torch
        import transformers

        transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
        self._multilingual = bool(checkpoint.decoding.languages)
        settings = {k: v for k, v in model_config(checkpoint).items() if k not in ("architectures", "max_length")}
        config = transformers.WhisperConfig(**settings)
        model: WhisperForConditionalGeneration = transformers.WhisperForConditionalGeneration(config)
        weights = {
            f"model.{k}": torch.from_numpy(v.astype(np.float32)) for k, v in checkpoint.multiplied_out().tensors.items()
        }
        weights["proj_out.weight"] = weights["model.decoder.embed_tokens.weight"]
        model.load_state_dict(weights, strict=True)
        model.generation_config = transformers.GenerationConfig.from_dict(generation_config(checkpoint))
        self._model = (model.double() if double else model).eval()  # type: ignore[no-untyped-call]
        self._torch = torch

    @contextmanager
    def watch(self, names: Sequence[str], see: Callable[[str, torch.Tensor], None]) -> Iterator[None]:
        """Show what flows into linears, for as long as the block lasts.

        Args:
            names: Layer norms, whose output is shown, and linears, whose input is.
            see: Called with a name and its values, (..., width).
        """

        def hook(name: str) -> Any:
            part = self._model.model.get_submodule(name)
            if isinstance(part, self._torch.nn.LayerNorm):
                return part.register_forward_hook(lambda _part, _inputs, output: see(name, output))
            return part.register_forward_pre_hook(lambda _part, inputs: see(name, inputs[0]))

        hooks = [hook(name) for name in names]
        try:
            yield
        finally:
            for one in hooks:
                one.remove()

    def encode(self, mel: np.ndarray) -> np.ndarray:
        """Return the encoder's output.

        Shapes: float32 (1, n_mels, frames) -> float (1, audio length, d_model).
        """
        with self._torch.no_grad():
            spectrogram = self._torch.from_numpy(mel).to(self._model.dtype)
            hidden: np.ndarray = self._model.model.encoder(spectrogram).last_hidden_state.numpy()
        return hidden

    def greedy(self, hidden: np.ndarray, language: str, prompt: Sequence[int]) -> tuple[int, ...]:
        """Return the text tokens that ``generate`` finds for an encoder's output, without prompt and end of text."""
        from transformers.modeling_outputs import BaseModelOutput

        options = {"language": language, "task": "transcribe"} if self._multilingual else {}
        encoded = BaseModelOutput(last_hidden_state=self._torch.from_numpy(hidden))
        with self._torch.no_grad():
            found = self._model.generate(encoder_outputs=encoded, num_beams=1, do_sample=False, **options)
        tokens = [int(token) for token in found[0]]
        if tokens[: len(prompt)] == list(prompt):
            tokens = tokens[len(prompt) :]
        end = self._model.generation_config.eos_token_id
        return tuple(tokens[: tokens.index(end)] if end in tokens else tokens)

    def logits(self, hidden: np.ndarray, prompt: Sequence[int], tokens: Sequence[int]) -> np.ndarray:
        """Return the logits behind the prompt and behind each token: float (1 + len(tokens), n_vocab)."""
        encoded = (self._torch.from_numpy(hidden),)
        ids = self._torch.tensor([[*prompt, *tokens]])
        with self._torch.no_grad():
            scores: np.ndarray = self._model(encoder_outputs=encoded, decoder_input_ids=ids).logits[0].numpy()
        return scores[len(prompt) - 1 :]


def reference_log_mel(samples: np.ndarray, n_mels: int) -> np.ndarray:
    """Return openai-whisper's log-mel of a clip of at most 30 s: float32 (n_mels, 3000)."""
    import torch
    import whisper

    mel: np.ndarray = whisper.log_mel_spectrogram(whisper.pad_or_trim(torch.from_numpy(samples)), n_mels).numpy()
    return mel
