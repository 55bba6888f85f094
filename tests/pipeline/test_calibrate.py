"""Calibration: what is collected, that it is shared, and that nothing scored is calibrated on."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from small_whisper import small_checkpoint, speech_like, uniform_plan, write_artifact

from fastwhisper_compress.errors import AudioError, SuiteError
from fastwhisper_compress.evaluation.suite import load_suite
from fastwhisper_compress.passes.statistics import readers
from fastwhisper_compress.pipeline.calibrate import calibrate, check_disjoint
from fastwhisper_compress.pipeline.judge import judge
from fastwhisper_compress.pipeline.reference import Reference, reference_log_mel
from fastwhisper_compress.pipeline.store import Store

CHECKPOINT = small_checkpoint(n_audio_ctx=1500)


@pytest.fixture
def suite(tmp_path):
    """A function: name, clips by id, format -> the suite of a manifest without transcripts."""

    def suite_(name, clips, ending="wav"):
        rows = []
        for one, samples in clips.items():
            soundfile.write(tmp_path / f"{name}-{one}.{ending}", samples, 16_000)
            rows.append(json.dumps({"audio_filepath": f"{name}-{one}.{ending}", "id": one}))
        (tmp_path / f"{name}.jsonl").write_text("\n".join(rows))
        return load_suite(str(tmp_path / f"{name}.jsonl"), transcripts=False)

    return suite_


@pytest.fixture
def baseline(tmp_path):
    write_artifact(CHECKPOINT, uniform_plan(CHECKPOINT.dims), tmp_path / "fp32")
    return tmp_path / "fp32"


def test_statistics_are_those_of_the_inputs(tmp_path, suite, baseline):
    spoken = suite("spoken", {"a": speech_like(0.5, 1), "b": speech_like(0.8, 2)})
    said = []
    found = calibrate(Store(tmp_path / "store"), CHECKPOINT, baseline, spoken, lambda *done: said.append(done))
    assert said[-1] == (2, 2)
    reference, hidden = Reference(CHECKPOINT), []
    for one in spoken.utterances:
        samples = soundfile.read(one.audio, dtype="float32")[0]
        hidden.append(reference.encode(reference_log_mel(samples, 80)[None])[0])
    rows = np.concatenate(hidden)
    assert len(rows) == 2 * 1500, "the whole window, as in transcribing"
    np.testing.assert_allclose(found.moment("encoder.layer_norm"), rows.T @ rows / len(rows), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(found.mean("encoder.layer_norm"), rows.mean(axis=0), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(found.peak("encoder.layer_norm"), np.abs(rows).max(axis=0), rtol=1e-5)
    for source, paths in readers(CHECKPOINT.dims).items():
        width = CHECKPOINT.tensors[f"{paths[0]}.weight"].shape[1]
        assert found.moment(source).shape == (width, width)
        assert (np.diagonal(found.moment(source)) <= found.peak(source) ** 2 * 1.001).all()


def test_two_recipes_share_one_calibration(tmp_path, suite, baseline):
    store, spoken = Store(tmp_path / "store"), suite("spoken", {"a": speech_like(0.3)})
    first = calibrate(store, CHECKPOINT, baseline, spoken, lambda *_: None)

    def never(*_):
        raise AssertionError("collected again")

    assert calibrate(store, CHECKPOINT, baseline, spoken, never).folder == first.folder
    other = suite("other", {"a": speech_like(0.3, 9)})
    assert calibrate(store, CHECKPOINT, baseline, other, lambda *_: None).folder != first.folder


def test_heads_and_channels_are_judged_once_for_all_recipes(tmp_path, suite, baseline):
    store, spoken = Store(tmp_path / "store"), suite("spoken", {"a": speech_like(0.3)})
    found = judge(store, CHECKPOINT, baseline, spoken, lambda *_: None)
    assert found.of("decoder.layers.0.encoder_attn").shape == (2,)
    assert found.of("encoder.layers.1.fc1").shape == (256,)

    def never(*_):
        raise AssertionError("judged again")

    assert judge(store, CHECKPOINT, baseline, spoken, never).folder == found.folder


def test_what_cannot_be_heard_is_named(tmp_path, suite, baseline):
    long = suite("long", {"a": np.zeros(16_000 * 31, np.float32)})
    with pytest.raises(AudioError, match="lasts more than 30 s"):
        calibrate(Store(tmp_path / "store"), CHECKPOINT, baseline, long, lambda *_: None)


def test_a_shared_clip_is_found_whatever_it_is_called_or_packed_in(suite):
    scored = suite("scored", {"s1": speech_like(0.5, 1), "s2": speech_like(0.5, 2)})
    twin = suite("twin", {"c1": speech_like(0.5, 3), "c2": soundfile.read(scored.utterances[1].audio)[0]}, "flac")
    with pytest.raises(SuiteError, match="'c2' is 's2' of the suite 'scored'") as caught:
        check_disjoint(twin, scored)
    assert caught.value.exit_code == 2
    assert "other speech" in caught.value.remedy
    check_disjoint(replace(twin, utterances=twin.utterances[:1]), scored)


def test_the_shipped_calibration_is_not_the_shipped_suite(repository):
    calibration, demo = load_suite("calibration"), load_suite("demo")
    check_disjoint(calibration, demo)
    assert not {one.text.casefold() for one in calibration.utterances} & {
        one.text.casefold() for one in demo.utterances
    }
    assert calibration.synthetic
    assert len(calibration.utterances) >= 32
    assert sum(path.stat().st_size for path in (repository / "eval" / "calibration").iterdir()) < 1_000_000


def test_scoring_needs_transcripts(tmp_path, suite):
    suite("spoken", {"a": speech_like(0.3)})
    with pytest.raises(SuiteError, match="text is missing"):
        load_suite(str(tmp_path / "spoken.jsonl"))
