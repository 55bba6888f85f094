"""Learning: the loss falls, a kill changes nothing, too little memory changes nothing, and what goes wrong is told."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from schooling import PATHS, TEACHER, lessons, losses, off, train, trainer
from small_whisper import small_checkpoint

from fastwhisper_compress.errors import DivergedError, OutOfMemoryError
from fastwhisper_compress.passes.prune import prune
from fastwhisper_compress.recipe import Distill, ElasticContext, Prune
from fastwhisper_compress.training import trainer as module
from fastwhisper_compress.training.lessons import balanced, draw

SETTINGS = Distill(steps=6, batch_size=4, learning_rate=3e-4, warmup_steps=2, checkpoint_every=3, clip_norm=100.0)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return lessons(tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="module")
def learnt(clips, tmp_path_factory):
    return train(SETTINGS, clips, tmp_path_factory.mktemp("learnt"))


def test_the_loss_falls_and_the_log_tells_it(learnt, clips, tmp_path):
    found, log = learnt
    assert [point.step for point in log.points] == list(range(1, 7))
    assert losses(log)[-1] < 0.6 * losses(log)[0]
    assert found.tensors.keys() == TEACHER.tensors.keys()
    rates = [point.learning_rate for point in log.points]
    assert rates[0] == 1.5e-4
    assert max(rates) == 3e-4
    assert rates[-1] < 1e-4


def test_a_killed_training_goes_on_with_the_same_curve(learnt, clips, tmp_path):
    assert train(SETTINGS, clips, tmp_path, upto=4) is None
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 5, "lo')  # cut off in the middle of a line
    found, log = train(SETTINGS, clips, tmp_path)
    assert losses(log) == losses(learnt[1])
    assert len([json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]) == 6
    for name, values in found.tensors.items():
        np.testing.assert_array_equal(values, learnt[0].tensors[name])


@pytest.mark.parametrize("changes", [{"gradient_checkpointing": True}, {"micro": 1}])
def test_less_memory_gives_the_same_curve(learnt, clips, tmp_path, changes):
    changes = dict(changes)
    micro = changes.pop("micro", None)
    _, log = train(SETTINGS.model_copy(update=changes), clips, tmp_path, micro_batch_size=micro)
    np.testing.assert_allclose(losses(log), losses(learnt[1]), rtol=1e-4)


def test_a_batch_that_does_not_fit_is_computed_in_parts(learnt, clips, tmp_path, monkeypatch):
    sizes = []

    def teach(teacher, batch):
        sizes.append(len(batch.frames))
        if len(batch.frames) > 2:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes.")
        return real(teacher, batch)

    real = module.teach
    monkeypatch.setattr(module, "teach", teach)
    _, log = train(SETTINGS.model_copy(update={"steps": 3}), clips, tmp_path)
    assert sizes == [4, 2, 2, 2, 2, 2, 2]
    np.testing.assert_allclose(losses(log)[0], losses(learnt[1])[0], rtol=1e-5)


def test_not_even_one_clip_fits(clips, tmp_path, monkeypatch):
    def teach(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(module, "teach", teach)
    with pytest.raises(OutOfMemoryError, match="gradient_checkpointing"):
        train(SETTINGS, clips, tmp_path)


def test_a_loss_that_is_not_a_number_stops_and_the_last_good_state_is_kept(clips, tmp_path, monkeypatch):
    real, calls = module.teach, []

    def teach(teacher, batch):
        calls.append(0)
        found = real(teacher, batch)
        if len(calls) == 5:
            found.logits.fill_(float("nan"))
        return found

    monkeypatch.setattr(module, "teach", teach)
    with pytest.raises(DivergedError, match="step 5: the loss is not a number") as caught:
        train(SETTINGS, clips, tmp_path)
    assert caught.value.exit_code == 3
    assert "learning_rate (0.0003)" in caught.value.remedy
    assert "after step 3 are kept" in caught.value.remedy
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    assert state["step"] == 3
    assert all(values.isfinite().all() for values in state["network"].values())


def test_only_what_is_targeted_changes(clips, tmp_path):
    wanted = tuple(path for path in PATHS if path.startswith("decoder.layers.0.fc"))
    student = off(TEACHER)
    found, _ = train(SETTINGS.model_copy(update={"steps": 1}), clips, tmp_path, student=student, trained=wanted)
    changed = {name for name, values in found.tensors.items() if not np.array_equal(values, student.tensors[name])}
    assert changed == {f"decoder.layers.0.fc{i}.{leaf}" for i in (1, 2) for leaf in ("weight", "bias")}


def test_an_encoder_that_stays_the_teachers_is_run_once(clips, tmp_path):
    decoder = tuple(path for path in PATHS if path.startswith("decoder."))
    student = TEACHER.with_tensors(
        {name: values for name, values in off(TEACHER).tensors.items() if name.startswith("decoder.")}
    )
    shared = trainer(SETTINGS, clips, student=student, trained=decoder)
    assert shared._heard
    apart = trainer(SETTINGS, clips, student=student, trained=decoder)
    apart._heard = False
    found = []
    for one, name in ((shared, "a"), (apart, "b")):
        (tmp_path / name).mkdir()
        found.append(one.run(tmp_path / name, lambda *_: None)[1])
    np.testing.assert_allclose(losses(found[0]), losses(found[1]), rtol=1e-5)
    assert not trainer(SETTINGS, clips, student=student)._heard


def test_pruned_students_and_deeper_teachers(clips, tmp_path):
    student, _ = prune(off(TEACHER), Prune(granularity="heads", amount=0.5), ["encoder.layers.0.self_attn"])
    teacher = small_checkpoint(3, encoder_layers=3, decoder_layers=2)
    found, log = train(SETTINGS, clips, tmp_path, student=student, teacher=teacher)
    assert losses(log)[-1] < losses(log)[0]
    assert {name: values.shape for name, values in found.tensors.items()} == {
        name: values.shape for name, values in student.tensors.items()
    }


def test_an_elastic_student_is_given_less(clips, tmp_path, monkeypatch):
    settings = ElasticContext(**SETTINGS.model_dump(exclude={"pass_"}, by_alias=False), margin_s=0.1)
    seen = []
    real = module.Network.encode

    def encode(self, mel):
        seen.append(mel)
        return real(self, mel)

    monkeypatch.setattr(module.Network, "encode", encode)
    one = trainer(settings, clips)
    windows = [one._window(draw(clips, 4, step, 0), step) for step in range(40)]
    assert all(window % 2 == 0 for window in windows)
    longest = [max(clip.frames for clip in draw(clips, 4, step, 0)) for step in range(40)]
    least = [min(100, 10 + frames + frames % 2) for frames in longest]
    assert 10 < sum(window == few for window, few in zip(windows, least, strict=True)) < 35
    assert any(window == 100 for window in windows)
    tmp_path.joinpath("t").mkdir()
    _, log = one.run(tmp_path / "t", lambda *_: None)
    teachers, students = seen[0::2], seen[1::2]
    assert {mel.shape[2] for mel in teachers} == {100}
    assert [mel.shape[2] for mel in students] == windows[:6]
    cut = next(i for i, window in enumerate(windows[:6]) if window < 100)
    batch = sorted(draw(clips, 4, cut, 0), key=lambda clip: -clip.n_samples)
    for row, clip in zip(students[cut], batch, strict=True):
        assert not row[:, clip.frames :].any()
        assert row[:, : clip.frames].any()
    assert losses(log)[-1] < losses(log)[0]


def test_batches_depend_on_seed_and_step_alone_and_use_every_clip(clips):
    for seed in (0, 1):
        drawn = [draw(clips, 4, step, seed) for step in range(24)]  # three pools of eight: 16 rounds of six clips
        assert drawn == [draw(clips, 4, step, seed) for step in range(24)]
        counts = [sum(batch.count(clip) for batch in drawn) for clip in clips]
        assert counts == [16] * 6
    assert draw(clips, 4, 0, 0) != draw(clips, 4, 0, 1)


def test_shares_of_a_batch_hold_about_as_much_audio():
    class Clip:
        def __init__(self, n_samples):
            self.n_samples = n_samples

    batch = [Clip(n) for n in (10, 11, 12, 90, 95, 100, 40, 42)]
    shares = balanced(batch, 2)
    assert sorted(len(share) for share in shares) == [4, 4]
    first, second = (sum(clip.n_samples for clip in share) for share in shares)
    assert abs(first - second) < 0.1 * (first + second)


def test_half_precision(clips, tmp_path, learnt):
    _, log = train(SETTINGS.model_copy(update={"mixed_precision": "bf16"}), clips, tmp_path)
    assert losses(log)[-1] < 0.7 * losses(log)[0]
    np.testing.assert_allclose(losses(log)[0], losses(learnt[1])[0], rtol=0.1)
