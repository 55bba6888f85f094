"""FP32 graphs against transformers' Whisper in torch, over every shape that a Whisper may have."""

from __future__ import annotations

import numpy as np
import pytest
from small_whisper import opened, small_checkpoint, speech_like, uniform_plan, with_decoding

from fastwhisper_compress.pipeline.reference import Reference
from fastwhisper_compress.runtime.options import Options
from fastwhisper_compress.runtime.prompt import prompt_tokens

MODELS = {
    "square": {},
    "multilingual": {"multilingual": True},
    "turbo": {"encoder_layers": 4, "decoder_layers": 1, "n_mels": 128, "multilingual": True},
    "deep decoder": {"encoder_layers": 1, "decoder_layers": 3},
    "three heads": {"d_model": 192, "encoder_heads": 3, "decoder_heads": 3, "encoder_ffn": 160, "decoder_ffn": 96},
    "unequal heads": {"encoder_heads": 2, "decoder_heads": 4},
    "half precision": {"dtype": np.float16},
}


@pytest.fixture(scope="module", params=MODELS)
def pair(request, tmp_path_factory):
    """A checkpoint in transformers, and the same one emitted fused and plain."""
    checkpoint = small_checkpoint(len(request.param), **MODELS[request.param])
    folder = tmp_path_factory.mktemp("pair")
    artifacts = {
        fuse: opened(checkpoint, uniform_plan(checkpoint.dims, fuse=fuse), folder / str(fuse)) for fuse in (True, False)
    }
    return checkpoint, Reference(checkpoint), artifacts


@pytest.mark.parametrize("fuse", [True, False])
def test_encoder_logits_and_greedy_tokens_are_transformers(pair, fuse):
    checkpoint, reference, artifacts = pair
    artifact = artifacts[fuse]
    heard = set()
    for seed, language in enumerate(checkpoint.decoding.languages or ["en"]):
        samples = speech_like(0.3 + 0.3 * seed, seed)
        encoded = reference.encode(artifact.log_mel(samples))
        prompt = prompt_tokens(artifact.manifest.decoding, language, "transcribe")
        assert np.abs(artifact.encode([samples], hidden=True).hidden - encoded).max() < 1e-4
        tokens = reference.greedy(encoded, language, prompt)
        assert artifact.transcribe(samples, Options(language=language)).tokens == tokens
        forced = (*b"Any text.", 255, 200)
        theirs, ours = (
            reference.logits(encoded, prompt, forced),
            artifact.forced_logits(artifact.encode([samples]), prompt, forced),
        )
        assert np.abs(theirs).max() > 5  # not a match of zeros
        assert np.abs(ours - theirs).max() < 1e-3
        heard |= set(tokens)
    assert len(heard) > 2


def test_the_text_ends_where_transformers_ends_it(tmp_path):
    """At end of text, at the model's length, and before either at a shorter max_length."""
    base = small_checkpoint(2)
    artifact = opened(base, uniform_plan(base.dims), tmp_path / "base")
    samples = speech_like(0.8, 3)
    free = artifact.transcribe(samples).tokens
    assert len(free) == base.dims.n_text_ctx - 2  # it never stops by itself
    later = next(token for token in free[1:] if token != free[0])
    for name, changes, expected in (
        ("eot", {"eot": later}, free[: free.index(later)]),
        ("length", {"max_length": 9}, free[:7]),
        ("suppress", {"suppress": (*base.decoding.suppress, free[0])}, None),
        ("begin", {"begin_suppress": (*base.decoding.begin_suppress, free[0])}, None),
    ):
        checkpoint = with_decoding(base, **changes)
        other = opened(checkpoint, uniform_plan(base.dims), tmp_path / name)
        found = other.transcribe(samples).tokens
        prompt = prompt_tokens(other.manifest.decoding, "en", "transcribe")
        reference = Reference(checkpoint)
        theirs = reference.greedy(reference.encode(other.log_mel(samples)), "en", prompt)
        # Ours counts the prompt into a max_length below the model's own; transformers adds it on top.
        assert found == (theirs[:7] if name == "length" else theirs), name
        assert expected is None or found == expected, name
        assert name != "suppress" or free[0] not in found
        assert name != "begin" or free[0] != found[0]
