"""Training as a stage: labelled, trained, kept, gone on with; and what cannot be learnt is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
from small_whisper import small_checkpoint, speech_like, uniform_plan, write_artifact

from fastwhisper_compress.checkpoint.dims import modules
from fastwhisper_compress.checkpoint.model import Source
from fastwhisper_compress.emit.precision import INT8_DYNAMIC, Plan
from fastwhisper_compress.errors import AudioError, DivergedError, ProviderError, RecipeError, SuiteError
from fastwhisper_compress.evaluation.suite import load_suite
from fastwhisper_compress.passes.apply import apply
from fastwhisper_compress.pipeline import train as module
from fastwhisper_compress.pipeline.store import Store
from fastwhisper_compress.pipeline.train import Course, Teacher, check_course, train_stage
from fastwhisper_compress.pipeline.train_processes import Job, train_together
from fastwhisper_compress.recipe import Distill, Prune, Qat, Smooth, WeightOnly
from fastwhisper_compress.training.lessons import Lesson
from fastwhisper_compress.training.log import read_log

CHECKPOINT = small_checkpoint()
SETTINGS = Distill(steps=2, batch_size=2, learning_rate=1e-4, warmup_steps=0, checkpoint_every=1)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("train")
    write_artifact(CHECKPOINT, uniform_plan(CHECKPOINT.dims), folder / "fp32")
    rows = []
    for i in range(3):
        soundfile.write(folder / f"{i}.wav", speech_like(0.3 + 0.1 * i, i), 16_000)
        rows.append(json.dumps({"audio_filepath": f"{i}.wav", "id": str(i)}))
    (folder / "speech.jsonl").write_text("\n".join(rows))
    return folder


@pytest.fixture
def course(folder, monkeypatch):
    """A training; its teacher ends every text after five tokens, which a random network never does by itself."""

    class Heard:
        def __init__(self, found):
            self.tokens, self.ended, self.looped = found.tokens[:5], True, False

    class Ending:
        def __init__(self, artifact):
            self._artifact, self.manifest = artifact, artifact.manifest

        def transcribe(self, samples, options):
            return Heard(self._artifact.transcribe(samples, options))

    real = module.load_artifact
    monkeypatch.setattr(module, "load_artifact", lambda path: Ending(real(path)))
    speech = load_suite(str(folder / "speech.jsonl"), transcripts=False)
    trained = tuple(one.path for one in modules(CHECKPOINT.dims) if one.path.startswith("decoder.layers.0.fc"))
    teacher = Teacher(CHECKPOINT, "fp32", lambda: folder / "fp32")
    return Course(SETTINGS, trained, teacher, speech, 0, {"checkpoint": CHECKPOINT.digest}, Plan())


def student():
    names = [f"decoder.layers.0.fc{i}.weight" for i in (1, 2)]
    return CHECKPOINT.with_tensors({name: CHECKPOINT.tensors[name] * np.float32(0.7) for name in names})


def test_a_training_is_made_once(course, tmp_path):
    store, said = Store(tmp_path), []
    found = train_stage(store, course, student(), 1, lambda *what: said.append(what))
    assert "2 steps on 3 clips" in found.note
    assert [point["step"] for point in found.log["points"]] == [1, 2]
    changed = {n for n, v in found.checkpoint.tensors.items() if not np.array_equal(v, student().tensors[n])}
    assert changed == {f"decoder.layers.0.fc{i}.{leaf}" for i in (1, 2) for leaf in ("weight", "bias")}
    assert any(what.startswith("distill | loss ") and what.endswith("left") for what, *_ in said)
    assert not list(tmp_path.rglob("*.unfinished"))

    def never(*_):
        raise AssertionError("made again")

    less = replace(course, settings=SETTINGS.model_copy(update={"micro_batch_size": 1, "checkpoint_every": 7}))
    again = train_stage(store, less, student(), 1, never)
    assert again.checkpoint.digest == found.checkpoint.digest
    for other in (replace(course, seed=1), replace(course, settings=SETTINGS.model_copy(update={"steps": 3}))):
        assert store.path("training", other.spec) != store.path("training", course.spec)


def test_what_is_left_of_pruned_layers_is_kept_as_it_was_trained(course, tmp_path):
    prune = Prune(granularity="ffn", amount=0.5, targets=["decoder.layers.0"])
    pruned = apply(CHECKPOINT, [prune], [("decoder.layers.0.fc1",)], "cpu").checkpoint
    assert (
        pruned.tensors["decoder.layers.0.fc2.weight"].shape != CHECKPOINT.tensors["decoder.layers.0.fc2.weight"].shape
    )
    found = train_stage(Store(tmp_path), course, pruned, 1, lambda *_: None).checkpoint
    furthest = 1.01 * SETTINGS.steps * SETTINGS.learning_rate  # Adam's steps are no longer than the rate
    for name, tensor in pruned.tensors.items():
        np.testing.assert_allclose(found.tensors[name], tensor, rtol=0, atol=furthest, err_msg=name)


def test_what_went_wrong_leaves_its_state_and_is_gone_on_with(course, tmp_path, monkeypatch):
    from fastwhisper_compress.training import trainer

    real, calls = trainer.teach, []

    def teach(*arguments):
        calls.append(0)
        found = real(*arguments)
        if len(calls) == 2:
            found.logits.fill_(float("nan"))
        return found

    monkeypatch.setattr(trainer, "teach", teach)
    store = Store(tmp_path)
    with pytest.raises(DivergedError, match="after step 1 are kept in") as caught:
        train_stage(store, course, student(), 1, lambda *_: None)
    assert str(store.unfinished("training", course.spec)) in caught.value.remedy
    assert (store.unfinished("training", course.spec) / "state.pt").is_file()
    found = train_stage(store, course, student(), 1, lambda *_: None)
    assert len(calls) == 3, "the first step was not made again"
    assert len(found.log["points"]) == 2


def test_a_text_without_an_end_teaches_nothing(course, tmp_path, monkeypatch):
    monkeypatch.undo()
    with pytest.raises(SuiteError, match="no text that comes to an end"):
        train_stage(Store(tmp_path), course, student(), 1, lambda *_: None)


def test_half_precision_is_for_gpus(course, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    half = replace(course, settings=SETTINGS.model_copy(update={"mixed_precision": "fp16"}))
    with pytest.raises(ProviderError, match="torch sees none"):
        train_stage(Store(tmp_path), half, student(), 1, lambda *_: None)


def job(folder, **changes):
    """A training of six clips of made-up text."""
    folder.mkdir()
    rng, clips = np.random.default_rng(0), []
    for i in range(6):
        samples = speech_like(0.25 + 0.1 * i, i)
        soundfile.write(folder / f"{i}.wav", samples, 16_000)
        text = tuple(int(token) for token in rng.integers(40, 120, 3 + i))
        clips.append(Lesson(str(folder / f"{i}.wav"), samples.size, (257, 270), text))
    settings = Distill(batch_size=4, warmup_steps=2, **changes)
    paths = tuple(one.path for one in modules(CHECKPOINT.dims) if settings.takes(one))
    return Job(settings, paths, student(), CHECKPOINT, Plan(), clips, 0, folder)


def test_two_processes_learn_what_one_does(tmp_path):
    seen = []
    for processes in (1, 2):
        one = job(tmp_path / str(processes), steps=20, learning_rate=1e-4)
        train_together(one, processes, lambda point, steps: seen.append((point.step, steps)))
        assert seen[-1] == (20, 20)
    alone, together = ([point.loss for point in read_log(tmp_path / name)] for name in "12")
    assert min(alone) < 0.9 * alone[0]
    np.testing.assert_allclose(together, alone, rtol=1e-4)


@pytest.mark.slow
def test_what_one_of_two_processes_says_is_said(tmp_path):
    one = job(tmp_path / "x", steps=2)
    missing = replace(one.lessons[0], audio=str(tmp_path / "gone.wav"))
    with pytest.raises(AudioError, match=r"gone\.wav"):
        train_together(replace(one, lessons=[missing, *one.lessons[1:]]), 2, lambda *_: None)


@pytest.mark.parametrize(
    ("settings", "teacher", "message"),
    [
        (SETTINGS, small_checkpoint(n_vocab=400), "another vocabulary.*400 tokens.*320 tokens"),
        (SETTINGS, small_checkpoint(multilingual=True), "another vocabulary"),
        (SETTINGS, small_checkpoint(d_model=256), "128 and 256 numbers"),
        (Distill(kl_weight=0, hidden_weight=0), CHECKPOINT, "nothing to learn"),
        (Qat(), CHECKPOINT, "every module stays in FP32"),
    ],
)
def test_what_cannot_be_learnt(settings, teacher, message):
    with pytest.raises(RecipeError, match=message) as caught:
        check_course(settings, CHECKPOINT, replace(teacher, source=Source("x/y", "openai", "", None)), Plan())
    assert caught.value.exit_code == 2
    assert caught.value.place.startswith(settings.pass_)


def test_qat_needs_full_precision_besides():
    plan = Plan({"encoder.layers.0.fc1": INT8_DYNAMIC})
    check_course(Qat(), CHECKPOINT, CHECKPOINT, plan)
    with pytest.raises(RecipeError, match="half precision"):
        check_course(Qat(mixed_precision="bf16"), CHECKPOINT, CHECKPOINT, plan)


@pytest.mark.parametrize(
    "passes", [[Distill(), Smooth()], [Distill(), WeightOnly(bits=4, method="gptq")]], ids=["smooth", "gptq"]
)
def test_calibration_does_not_outlive_training(passes):
    with pytest.raises(RecipeError, match="distill changes the weights"):
        apply(CHECKPOINT, passes, [()] * len(passes), "cpu")


def test_without_speech_nothing_is_learnt():
    with pytest.raises(RecipeError, match="distill needs speech to learn from") as caught:
        apply(CHECKPOINT, [Distill()], [("encoder.conv1",)], "cpu")
    assert caught.value.place == "calibration"
