"""Whisper in plain torch over the very tensors of a checkpoint, whatever shapes compression has left them.

Parameters are looked up by their canonical names, so that pruned heads, narrower feed-forwards, dropped layers and
low-rank factors are nothing but shapes. The architecture is that of Radford et al. 2022; parity with transformers and
with the emitted graphs is tested.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint as recomputed

from fastwhisper_compress.checkpoint.model import Checkpoint

See = Callable[[str, Tensor], None]


class Fake(Protocol):
    """How a module computes once it is quantised, with gradients that pretend it is not."""

    def weight(self, weight: Tensor) -> Tensor:
        """Return the weight as it will be stored."""

    def input(self, x: Tensor) -> Tensor:
        """Return the activations as the kernel rounds them."""


class Network(nn.Module):
    """One Whisper that can be trained.

    Attributes:
        dims: Dimensions of the unpruned architecture.
        recompute: Gradient checkpointing: keep each layer's input alone for the backward pass and compute it again.
    """

    def __init__(self, checkpoint: Checkpoint, *, recompute: bool = False) -> None:
        super().__init__()
        self.dims = checkpoint.dims
        self.recompute = recompute
        self._fakes: Mapping[str, Fake] = {}
        self._see: dict[str, See] = {}
        for name, values in checkpoint.tensors.items():
            *owners, leaf = name.split(".")
            owner: nn.Module = self
            for part in owners:
                if part not in owner._modules:  # noqa: SLF001 - the only way to ask without an exception
                    owner.add_module(part, nn.Module())
                owner = owner.get_submodule(part)
            owner.register_parameter(leaf, nn.Parameter(torch.from_numpy(values.astype(np.float32, order="C"))))
        self._found = dict(self.named_parameters())

    def encode(self, mel: Tensor) -> Tensor:
        """Return the encoder's output, behind its last layer norm.

        Shapes: float32 (batch, n_mels, frames), an even number of frames -> (batch, frames / 2, d_model).
        """
        x = functional.gelu(self._conv("encoder.conv1", mel, stride=1))
        x = functional.gelu(self._conv("encoder.conv2", x, stride=2)).transpose(1, 2)
        x = x + self._stored("encoder.embed_positions")[: x.shape[1]]
        for i in range(self.dims.encoder_layers):
            x = self._layer(self._encoder_layer, f"encoder.layers.{i}", x)
        return self._norm("encoder.layer_norm", x)

    def read(self, tokens: Tensor, hidden: Tensor) -> Tensor:
        """Return the decoder's output behind its last layer norm, for every position of the text.

        Shapes: int64 (batch, n), (batch, audio, d_model) as :meth:`encode` gives it -> (batch, n, d_model).
        """
        x = functional.embedding(tokens, self._stored("decoder.embed_tokens"))
        x = x + self._stored("decoder.embed_positions")[: x.shape[1]]
        for i in range(self.dims.decoder_layers):
            x = self._layer(self._decoder_layer, f"decoder.layers.{i}", x, hidden)
        return self._norm("decoder.layer_norm", x)

    def logits(self, text: Tensor) -> Tensor:
        """Return the scores of every token, from what :meth:`read` gives: (batch, n, d_model) -> (batch, n, vocab)."""
        return self._linear("decoder.embed_tokens", text)

    def decode(self, tokens: Tensor, hidden: Tensor) -> Tensor:
        """Return the scores behind every position of a text: float (batch, n, vocab)."""
        return self.logits(self.read(tokens, hidden))

    def fake_quantise(self, fakes: Mapping[str, Fake]) -> None:
        """Compute the modules of these paths as they will be stored."""
        self._fakes = fakes

    @contextmanager
    def watch(self, paths: Sequence[str], see: See) -> Iterator[None]:
        """Show what flows into linears, for as long as the block lasts: ``see(path, x)`` with x (batch, n, in)."""
        self._see = dict.fromkeys(paths, see)
        try:
            yield
        finally:
            self._see = {}

    def tensors(self) -> dict[str, np.ndarray]:
        """Return copies of the weights under their canonical names, float32."""
        return {name: value.detach().cpu().float().numpy().copy() for name, value in self._found.items()}

    def _layer(self, layer: Callable[..., Tensor], path: str, *values: Tensor) -> Tensor:
        if self.recompute and torch.is_grad_enabled():
            found: Tensor = recomputed(layer, path, *values, use_reentrant=False)
            return found
        return layer(path, *values)

    def _encoder_layer(self, path: str, x: Tensor) -> Tensor:
        normed = self._norm(f"{path}.self_attn_layer_norm", x)
        x = x + self._attention(f"{path}.self_attn", normed, normed)
        return x + self._feed_forward(path, x)

    def _decoder_layer(self, path: str, x: Tensor, hidden: Tensor) -> Tensor:
        normed = self._norm(f"{path}.self_attn_layer_norm", x)
        x = x + self._attention(f"{path}.self_attn", normed, normed, causal=True)
        x = x + self._attention(f"{path}.encoder_attn", self._norm(f"{path}.encoder_attn_layer_norm", x), hidden)
        return x + self._feed_forward(path, x)

    def _feed_forward(self, path: str, x: Tensor) -> Tensor:
        inner = self._linear(f"{path}.fc1", self._norm(f"{path}.final_layer_norm", x))
        return self._linear(f"{path}.fc2", functional.gelu(inner))

    def _attention(self, path: str, x: Tensor, source: Tensor, *, causal: bool = False) -> Tensor:
        """Attend from ``x`` (batch, n, d_model) to ``source`` (batch, m, d_model), with the heads that are left."""
        inputs = {"q_proj": x, "k_proj": source, "v_proj": source}
        q, k, v = (self._heads(path, self._linear(f"{path}.{name}", value)) for name, value in inputs.items())
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=causal)
        return self._linear(f"{path}.out_proj", mixed.transpose(1, 2).flatten(2))

    def _heads(self, path: str, x: Tensor) -> Tensor:
        """Split (batch, n, heads * head_dim) into (batch, heads, n, head_dim)."""
        return torch.unflatten(x, 2, (-1, self.dims.head_dim(path))).transpose(1, 2)

    def _linear(self, path: str, x: Tensor) -> Tensor:
        if path in self._see:
            self._see[path](path, x)
        bias = self._found.get(f"{path}.bias")
        if f"{path}.weight" not in self._found:
            first, second = f"{path}.low_rank.0", f"{path}.low_rank.1"
            return functional.linear(self._rounded(second, self._product(first, x)), self._stored(second), bias)
        return functional.linear(self._rounded(path, x), self._stored(path), bias)

    def _product(self, path: str, x: Tensor) -> Tensor:
        return functional.linear(self._rounded(path, x), self._stored(path))

    def _conv(self, path: str, x: Tensor, *, stride: int) -> Tensor:
        return functional.conv1d(x, self._stored(path), self._found[f"{path}.bias"], stride=stride, padding=1)

    def _norm(self, path: str, x: Tensor) -> Tensor:
        weight, bias = self._found[f"{path}.weight"], self._found[f"{path}.bias"]
        return functional.layer_norm(x, weight.shape, weight, bias)

    def _stored(self, path: str) -> Tensor:
        weight = self._found[f"{path}.weight"]
        return self._fakes[path].weight(weight) if path in self._fakes else weight

    def _rounded(self, path: str, x: Tensor) -> Tensor:
        return self._fakes[path].input(x) if path in self._fakes else x
