"""Checkpoints in openai-whisper's own model."""

from __future__ import annotations

import numpy as np

from fastwhisper_compress.checkpoint.openai_pt import _canonical


def openai_model(checkpoint):
    """The same weights in openai-whisper."""
    import torch
    from whisper.model import ModelDimensions, Whisper

    dims = checkpoint.dims
    shape = {"ctx": dims.n_audio_ctx, "state": dims.d_model, "head": dims.encoder_heads, "layer": dims.encoder_layers}
    text = {"ctx": dims.n_text_ctx, "state": dims.d_model, "head": dims.decoder_heads, "layer": dims.decoder_layers}
    model = Whisper(
        ModelDimensions(
            n_mels=dims.n_mels,
            n_vocab=dims.n_vocab,
            **{f"n_audio_{name}": value for name, value in shape.items()},
            **{f"n_text_{name}": value for name, value in text.items()},
        )
    )
    tensors = {name: checkpoint.tensors[_canonical(name)] for name in model.state_dict()}
    model.load_state_dict({name: torch.from_numpy(np.array(one, np.float32)) for name, one in tensors.items()})
    heads = torch.zeros(dims.decoder_layers, dims.decoder_heads, dtype=torch.bool)
    for layer, head in checkpoint.decoding.alignment_heads:
        heads[layer, head] = True
    model.register_buffer("alignment_heads", heads.to_sparse(), persistent=False)
    return model.eval()
