"""Keys and values of the audio in 8 bits: what is attended to is what was stored, whoever else is in the batch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_whisper import opened, small_checkpoint, speech_like, sqnr_db, uniform_plan, with_decoding

from fastwhisper_compress.checkpoint.dims import modules
from fastwhisper_compress.emit.artifact import check_plan
from fastwhisper_compress.errors import ProviderError, RecipeError
from fastwhisper_compress.passes.apply import apply
from fastwhisper_compress.recipe.schema import Fuse, Int8CrossKv
from fastwhisper_compress.recipe.selectors import select
from fastwhisper_compress.recipe.shapes import Prune
from fastwhisper_compress.runtime.decode import Batch
from fastwhisper_compress.runtime.encoding import Encoded

PROMPT, TEXT = (257, 270), tuple(b"Ten words.")
CHECKPOINT = small_checkpoint(7, encoder_layers=2, decoder_layers=2)
CROSS = frozenset(m.path for m in modules(CHECKPOINT.dims) if m.path.endswith(".encoder_attn"))
WHOLE = uniform_plan(CHECKPOINT.dims)


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory):
    """The FP32 network, with its keys and values in FP32 and in 8 bits."""
    plans = (WHOLE, replace(WHOLE, cross_int8=CROSS))
    return [opened(CHECKPOINT, plan, tmp_path_factory.mktemp("cross") / "artifact") for plan in plans]


def scaled(encoded):
    """Integers times their scales, as another artifact takes them."""
    import onnxruntime as ort

    found = {name: value.numpy() for name, value in encoded.cross.items()}
    heads = {name: values for name, values in found.items() if values.ndim == 4}
    for name, values in heads.items():
        assert values.dtype == np.int8
        by_head = (len(values), values.shape[1], 1, values.shape[3])
        heads[name] = values * found[name.replace(".", "_scale.")].reshape(by_head)
        if name.startswith("cross_value"):
            heads[name] += found[name.replace(".", "_middle.")].reshape(by_head)
    return Encoded({name: ort.OrtValue.ortvalue_from_numpy(values) for name, values in heads.items()}, None)


def test_the_decoder_attends_to_just_what_the_integers_say(artifacts):
    whole, rounded = artifacts
    encoded = rounded.encode([speech_like(0.9, 5)])
    found = rounded.forced_logits(encoded, PROMPT, TEXT)
    assert np.abs(found - whole.forced_logits(scaled(encoded), PROMPT, TEXT)).max() < 1e-4
    assert np.abs(found - whole.forced_logits(whole.encode([speech_like(0.9, 5)]), PROMPT, TEXT)).max() > 1e-4


def test_the_integers_are_close_to_what_was_rounded_and_use_their_range(artifacts):
    whole, rounded = artifacts
    clips = [speech_like(0.9, 5), 1e-3 * speech_like(0.5, 6)]
    exact, found = whole.encode(clips).cross, scaled(rounded.encode(clips)).cross
    for name, value in exact.items():
        for one, other in zip(value.numpy(), found[name].numpy(), strict=True):  # each clip by itself
            most, least = one.max(axis=1, keepdims=True), one.min(axis=1, keepdims=True)
            off = one - other
            if name.startswith("cross_key"):  # where the middle of keys is, is not told
                off -= (most + least) / 2
            assert (np.abs(off) <= (most - least) / 508 * 1.01).all(), name
    for name, value in rounded.encode(clips).cross.items():
        if value.numpy().dtype == np.int8:
            assert (value.numpy().max(axis=2) == 127).all(), name
            assert (value.numpy().min(axis=2) == -127).all(), name


def test_clips_are_heard_alike_alone_and_together(artifacts):
    rounded = artifacts[1]
    clips = [speech_like(seconds, seed) for seed, seconds in enumerate((0.9, 0.3, 0.6, 0.8))]
    together = rounded.transcribe_batch(clips)
    assert [one.tokens for one in together] == [rounded.transcribe(one).tokens for one in clips]


def test_what_is_kept_goes_on_with_its_own_audio(artifacts):
    rounded, prompt = artifacts[1], np.array([PROMPT] * 3)
    clips = [speech_like(0.9, seed) for seed in range(3)]
    batch, alone = (Batch(rounded._decoder._session, rounded.encode(some).cross) for some in (clips, clips[2:]))
    batch.feed(prompt)
    batch.keep([2])
    alone.feed(prompt[2:])
    np.testing.assert_allclose(batch.feed(np.array([[65]])), alone.feed(np.array([[65]])), atol=1e-5)


def test_queries_meet_the_keys_as_they_lie(artifacts, tmp_path):
    checkpoint = with_decoding(CHECKPOINT, alignment_heads=((0, 1), (1, 0)))
    plans = (WHOLE, replace(WHOLE, cross_int8=CROSS))
    whole, rounded = (opened(checkpoint, plan, tmp_path / str(i)) for i, plan in enumerate(plans))
    encoded = rounded.encode([speech_like(0.9, 5)])
    asked = [
        one._decoder.queries(kept.cross, [TEXT])[0] for one, kept in ((whole, scaled(encoded)), (rounded, encoded))
    ]
    for layer in (0, 1):
        scores = [
            queries[layer][:, :64] @ kept.cross[f"cross_key.{layer}"].numpy()[0, 0].T.astype(np.float32)
            for queries, kept in zip(asked, (scaled(encoded), encoded), strict=True)
        ]
        np.testing.assert_allclose(scores[1], scores[0], atol=1e-3, rtol=1e-4)


def test_heads_may_be_pruned(tmp_path):
    logits = []
    for passes in (
        [Prune(granularity="heads", amount=0.5), Int8CrossKv(), Fuse()],
        [Prune(granularity="heads", amount=0.5), Fuse()],
    ):
        made = apply(CHECKPOINT, passes, [select(one, modules(CHECKPOINT.dims)) for one in passes], "cpu")
        artifact = opened(made.checkpoint, made.plan, tmp_path / str(len(passes)))
        logits.append(artifact.forced_logits(artifact.encode([speech_like(0.9, 5)]), PROMPT, TEXT))
    assert sqnr_db(logits[1], logits[0]) > 30


def test_what_cannot_be_written_is_refused():
    with pytest.raises(RecipeError, match="needs a fused operator") as caught:
        check_plan(CHECKPOINT, replace(WHOLE, fuse=frozenset(), cross_int8=CROSS))
    assert caught.value.place in CROSS
    with pytest.raises(ProviderError, match="CPU provider only"):
        check_plan(CHECKPOINT, replace(WHOLE, provider="cuda", cross_int8=CROSS))
