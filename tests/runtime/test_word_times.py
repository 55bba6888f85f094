"""Word times of small random models: what they must be whatever the model says."""

from __future__ import annotations

import json
import shutil

import pytest
from small_whisper import SCHEMES, ending_at, small_checkpoint, speech_like, uniform_plan, with_decoding, write_artifact

from fastwhisper_compress.errors import UnsafeInputError, UsageError
from fastwhisper_compress.runtime import load_artifact
from fastwhisper_compress.runtime.manifest import EncoderContext
from fastwhisper_compress.runtime.options import Options
from fastwhisper_compress.runtime.session import open_session

HEADS = ((0, 1), (1, 0))
CLIPS = [speech_like(seconds, seed) for seed, seconds in enumerate((0.4, 1.0, 0.013, 0.7, 0.9))]
WORDS = Options(words=True, stop_loops=False)


def checkpoint_with(heads=HEADS, **changes):
    return with_decoding(small_checkpoint(3, decoder_layers=2, **changes), alignment_heads=heads)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    checkpoint = checkpoint_with()
    folder = tmp_path_factory.mktemp("words") / "artifact"
    write_artifact(checkpoint, uniform_plan(checkpoint.dims), folder, offload="layers")
    return folder


@pytest.fixture(scope="module")
def model(folder):
    return load_artifact(folder, threads=2, offload="none")


def spans(found):
    return [(word.text, word.start_s, word.end_s) for word in found.words]


def assert_sound(found, clip):
    assert found.words
    assert "".join(word.text for word in found.words).strip() == found.text
    edges = [edge for word in found.words for edge in (word.start_s, word.end_s)]
    assert edges == sorted(edges)
    assert 0 <= edges[0] <= edges[-1] <= clip.size / 16_000
    assert all(0 < word.probability <= 1 for word in found.words)
    assert [word for segment in found.segments for word in segment.words] == list(found.words)


def test_words_change_nothing_else(model):
    for clip in CLIPS[:2]:
        plain, found = (model.transcribe(clip, Options(words=words)) for words in (False, True))
        assert (found.text, found.tokens, found.mean_logprob) == (plain.text, plain.tokens, plain.mean_logprob)
        assert (plain.words, plain.segments) == ((), ())
        assert_sound(found, clip)


@pytest.mark.parametrize("margin_s", [None, 0.0, 0.2])
def test_an_elastic_context_has_times_too(folder, margin_s):
    model = load_artifact(folder, threads=2, offload="none", encoder_context=EncoderContext(margin_s))
    for clip, found in zip(CLIPS, model.transcribe_batch(CLIPS, WORDS), strict=True):
        assert_sound(found, clip)


@pytest.mark.parametrize("offload", ["phase", "layers"])
def test_offloading_changes_no_times(folder, model, offload):
    other = load_artifact(folder, threads=2, offload=offload)
    for one, same in zip(other.transcribe_batch(CLIPS, WORDS), model.transcribe_batch(CLIPS, WORDS), strict=True):
        assert spans(one) == spans(same)


@pytest.mark.parametrize("fuse", [True, False])
@pytest.mark.parametrize("scheme", ["fp16", "int8_dynamic", "int4"])
def test_every_kernel_shows_its_queries(tmp_path, scheme, fuse):
    checkpoint = checkpoint_with()
    write_artifact(checkpoint, uniform_plan(checkpoint.dims, SCHEMES[scheme], fuse=fuse), tmp_path / "a")
    assert_sound(load_artifact(tmp_path / "a", threads=2).transcribe(CLIPS[1], WORDS), CLIPS[1])


def test_clips_of_a_batch_are_timed_on_their_own_audio(tmp_path):
    """Also when some have ended early and made room for others."""
    model, lengths = ending_at(checkpoint_with(), tmp_path, CLIPS)
    assert len(set(lengths)) >= 3
    together = model.transcribe_batch(CLIPS, WORDS)
    for clip, found, length in zip(CLIPS, together, lengths, strict=True):
        assert len(found.tokens) == length
        assert spans(found) == spans(model.transcribe(clip, WORDS))
        assert bool(found.words) == bool(length)


def test_words_of_what_was_given_are_certain(model):
    given = tuple(b" Said before")
    found = model.transcribe(CLIPS[1], Options(words=True, prefix=given))
    assert found.words[0].text == " Said"
    assert found.words[0].probability == 1


def test_the_layered_decoder_has_the_outputs_of_the_whole_one(folder, model):
    layered = load_artifact(folder, threads=2, offload="layers")._decoder._session
    whole = open_session(model.manifest.graphs["decoder"], "cpu")
    outputs = {node.name: (node.type, node.shape) for node in whole.get_outputs()}
    assert {node.name: (node.type, node.shape) for node in layered.get_outputs()} == outputs
    assert outputs["cross_query.1"][1] == ["batch", "tokens", 128]


def test_a_model_without_known_heads_says_so(english):
    with pytest.raises(UsageError, match="attention heads follow time") as caught:
        english.transcribe(CLIPS[0], Options(words=True))
    assert "alignment_heads" in caught.value.remedy


@pytest.mark.parametrize("heads", [[[0, 2]], [[2, 0]], [[10**9, 0]], [[0, 10**9]]])
def test_a_manifest_with_heads_that_the_graph_lacks_is_refused(folder, tmp_path, heads):
    copy = shutil.copytree(folder, tmp_path / "artifact")
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["decoding"]["alignment_heads"] = heads
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UnsafeInputError, match="does not show the alignment heads"):
        load_artifact(copy, threads=2)
