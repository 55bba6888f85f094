"""Several clips at once are the same clips one by one, whenever each of them ends."""

from __future__ import annotations

import numpy as np
import pytest
from small_whisper import opened, small_checkpoint, speech_like, uniform_plan, with_decoding

from fastwhisper_compress.emit.precision import Precision
from fastwhisper_compress.errors import AudioError
from fastwhisper_compress.runtime.decode import Batch
from fastwhisper_compress.runtime.options import Options

CLIPS = [speech_like(seconds, seed) for seed, seconds in enumerate((0.4, 1.0, 0.1, 0.7, 0.9))]
PROMPT = (257, 270)


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    return opened(small_checkpoint(11), uniform_plan(small_checkpoint(11).dims), tmp_path_factory.mktemp("b") / "a")


def ending_at(checkpoint, tmp_path, clips):
    """An artifact that ends each clip's text at another length: its end of text is a token that all come to say."""
    free = opened(checkpoint, uniform_plan(checkpoint.dims), tmp_path / "free")
    texts = [one.tokens for one in free.transcribe_batch(clips, Options(stop_loops=False))]
    places = {token: [text.index(token) if token in text else len(text) for text in texts] for token in range(256)}
    eot = max(places, key=lambda token: len(set(places[token])))
    changed = with_decoding(checkpoint, eot=eot)
    return opened(changed, uniform_plan(checkpoint.dims), tmp_path / "ending"), places[eot]


def test_early_finishers_are_dropped_and_the_others_go_on(tmp_path):
    model, lengths = ending_at(small_checkpoint(3), tmp_path, CLIPS)
    assert len(set(lengths)) >= 2
    together = model.transcribe_batch(CLIPS, Options(stop_loops=False))
    assert [len(one.tokens) for one in together] == lengths
    for clip, found in zip(CLIPS, together, strict=True):
        alone = model.transcribe(clip, Options(stop_loops=False))
        assert (found.text, found.tokens, found.ended) == (alone.text, alone.tokens, alone.ended)
        assert found.mean_logprob == pytest.approx(alone.mean_logprob, abs=1e-4)


@pytest.mark.parametrize(
    "precision", [Precision(), Precision("int8_dynamic"), Precision("weight_only", 8, 32)], ids=str
)
def test_a_clips_neighbours_do_not_change_its_encoding(tmp_path, precision):
    checkpoint = small_checkpoint(11)
    model = opened(checkpoint, uniform_plan(checkpoint.dims, precision), tmp_path / "a")
    together = model.encode(CLIPS, hidden=True)
    for row, clip in enumerate(CLIPS):
        alone = model.encode([clip], hidden=True)
        np.testing.assert_array_equal(together.hidden[row], alone.hidden[0])
        for name, value in alone.cross.items():
            np.testing.assert_array_equal(together.cross[name].numpy()[row], value.numpy()[0])


def test_what_is_kept_goes_on_with_its_own_text_and_audio(artifact):
    prompt, following = np.array([PROMPT] * 5), np.array([[65], [66], [67], [68], [69]])
    batch = Batch(artifact._decoder._session, artifact.encode(CLIPS).cross)
    batch.feed(prompt)
    batch.feed(following)
    expected = batch.feed(following[::-1]).copy()
    again = Batch(artifact._decoder._session, artifact.encode(CLIPS).cross)
    again.feed(prompt)
    again.feed(following)
    again.keep([1, 3])
    np.testing.assert_allclose(again.feed(following[::-1][[1, 3]]), expected[[1, 3]], atol=1e-4)


def test_no_clips_and_bad_clips(artifact):
    assert artifact.transcribe_batch([]) == []
    with pytest.raises(AudioError, match="expected float32"):
        artifact.transcribe_batch([CLIPS[0], np.zeros(100)])
