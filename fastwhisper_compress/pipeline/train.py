"""The stages of training: what a teacher hears in the speech, and the weights that a student learns from it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastwhisper_compress.checkpoint.model import Checkpoint
from fastwhisper_compress.checkpoint.safetensors_file import write_safetensors
from fastwhisper_compress.emit.precision import Plan
from fastwhisper_compress.errors import RecipeError, SuiteError
from fastwhisper_compress.evaluation.suite import Suite
from fastwhisper_compress.pipeline.files import read_json, write_json
from fastwhisper_compress.pipeline.provenance import code_digest, package_versions
from fastwhisper_compress.pipeline.seal import key
from fastwhisper_compress.pipeline.store import Store
from fastwhisper_compress.recipe.learning import Qat, Training
from fastwhisper_compress.runtime.audio import MAX_CLIP_S, SAMPLE_RATE, read_audio
from fastwhisper_compress.runtime.options import Options
from fastwhisper_compress.runtime.prompt import prompt_tokens
from fastwhisper_compress.runtime.transcriber import load_artifact

if TYPE_CHECKING:
    from fastwhisper_compress.training.lessons import Lesson
    from fastwhisper_compress.training.log import Point

KIND, LABELS = "training", "labels"
_WEIGHTS, _LOG = "weights.safetensors", "log.json"
_NUMERICS = ("torch", "openai-whisper", "numpy", "soxr", "soundfile", "av")
_CODE = ("checkpoint", "passes", "training", "emit/precision.py", "emit/quantize.py", "pipeline/train.py")
# What decides how long a training takes and how much memory, and not what comes of it.
WITHOUT_EFFECT = frozenset({"micro_batch_size", "gradient_checkpointing", "checkpoint_every"})

DETAIL = " | "
Progress = Callable[[str, int, int], None]
"""Called with what is going on, and how much of how much is done; what stands behind ``DETAIL`` changes on the way."""


@dataclass(frozen=True)
class Teacher:
    """Whom a student learns from.

    Attributes:
        checkpoint: Its weights.
        name: Name of the stage of its FP32 artifact, which finds text many times faster than torch.
        artifact: Returns the folder of that artifact, making it unless it is there.
    """

    checkpoint: Checkpoint
    name: str
    artifact: Callable[[], Path]


@dataclass(frozen=True)
class Course:
    """A training as a stage.

    Attributes:
        settings: The recipe's pass.
        trained: Module paths whose weights may change.
        teacher: Whom it learns from.
        speech: What is listened to.
        seed: Of the order of the clips.
        before: What decides the weights that it starts from.
        plan: How the student will be written.
    """

    settings: Training
    trained: tuple[str, ...]
    teacher: Teacher
    speech: Suite
    seed: int
    before: Mapping[str, Any]
    plan: Plan

    @property
    def labels_spec(self) -> dict[str, Any]:
        """All that decides what the teacher hears."""
        return {
            "artifact": self.teacher.name,
            "speech": self.speech.digest,
            "versions": package_versions(("onnxruntime", "onnxruntime-gpu", "numpy", "soxr", "soundfile", "av")),
            "code": code_digest("runtime", "pipeline/train.py"),
        }

    @property
    def spec(self) -> dict[str, Any]:
        """All that decides the trained weights."""
        plan = self.plan
        written = {path: asdict(precision) for path, precision in sorted(plan.precision.items())}
        return {
            "before": dict(self.before),
            "settings": self.settings.model_dump(
                mode="json", exclude={"targets", "ignore", "only_on", *WITHOUT_EFFECT}
            ),
            "trained": list(self.trained),
            "teacher": self.teacher.checkpoint.digest,
            "labels": key(self.labels_spec),
            "seed": self.seed,
            "plan": [written, sorted(plan.fuse), plan.provider] if isinstance(self.settings, Qat) else None,
            "versions": package_versions(_NUMERICS),
            "code": code_digest(*_CODE),
        }


@dataclass(frozen=True)
class Trained:
    """What came of a training.

    Attributes:
        checkpoint: The weights.
        note: In words.
        log: For the manifest: the pass, how much it heard, and a row for each step.
    """

    checkpoint: Checkpoint
    note: str
    log: dict[str, Any]


def check_course(settings: Training, student: Checkpoint, teacher: Checkpoint, plan: Plan) -> None:
    """Refuse what cannot be learnt, before any long work.

    Raises:
        RecipeError: The teacher speaks another vocabulary, or a setting has no effect or no meaning.
    """
    place = settings.pass_
    own, other = student.dims, teacher.dims
    ids = [
        (one.sot, one.eot, one.transcribe, one.no_timestamps, one.languages)
        for one in (student.decoding, teacher.decoding)
    ]
    if own.n_vocab != other.n_vocab or ids[0] != ids[1] or own.n_mels != other.n_mels:
        raise RecipeError(
            f"the teacher {teacher.source.id} has another vocabulary or other features ({other.n_vocab} tokens, "
            f"{other.n_mels} mels) than the student ({own.n_vocab} tokens, {own.n_mels} mels)",
            place=f"{place}.teacher",
            remedy="choose a teacher of the same family: English-only ones for English-only students, "
            "tiny to large-v2 for each other, large-v3 and turbo for each other",
        )
    if not (settings.kl_weight or settings.ce_weight or settings.hidden_weight):
        raise RecipeError(
            "there is nothing to learn: all three weights are 0",
            place=place,
            remedy="set kl_weight, hidden_weight or ce_weight above 0",
        )
    if settings.hidden_weight and own.d_model != other.d_model:
        raise RecipeError(
            f"outputs of {own.d_model} and {other.d_model} numbers cannot be compared",
            place=f"{place}.hidden_weight",
            remedy="set it to 0 with this teacher",
        )
    if isinstance(settings, Qat):
        if all(precision.scheme == "fp32" for precision in plan.precision.values()):
            raise RecipeError(
                "has no effect: every module stays in FP32",
                place=place,
                remedy="add int8_dynamic or weight_only to the recipe, or use distill",
            )
        if settings.mixed_precision != "no":
            raise RecipeError(
                "half precision cannot hold the numbers that the kernels will compute with",
                place=f"{place}.mixed_precision",
                remedy="set it to no",
            )


def train_stage(store: Store, course: Course, student: Checkpoint, processes: int, progress: Progress) -> Trained:
    """Return what a student learns, taking it from the store if it is there.

    A training that was interrupted goes on where its state was last kept.

    Args:
        store: Keeps it.
        course: The training.
        student: The weights to start from, which ``course.before`` decides.
        processes: How many processes share the work.
        progress: Called with what is going on, and how much of how much is done.

    Raises:
        DivergedError: The loss is no longer a number.
        OutOfMemoryError: There is not enough memory for a single clip.
        ProviderError: The machine cannot train in the precision that is asked for.
        SuiteError: The teacher hears nothing in the speech.
        AudioError: A clip cannot be decoded or is longer than the model's window.
    """
    spec = course.spec

    def make(folder: Path) -> None:
        from fastwhisper_compress.pipeline.train_processes import check_device
        from fastwhisper_compress.training.log import read_log
        from fastwhisper_compress.training.state import trained_tensors

        check_device(course.settings)
        lessons = _lessons(store, course, progress)
        unfinished = store.unfinished(KIND, spec)
        unfinished.mkdir(parents=True, exist_ok=True)
        _train(course, student, lessons, unfinished, processes, progress)
        write_safetensors(folder / _WEIGHTS, trained_tensors(unfinished))
        clips = {"n_clips": len(lessons), "audio_s": round(sum(one.n_samples for one in lessons) / SAMPLE_RATE, 1)}
        points = [asdict(one) for one in read_log(unfinished)]
        write_json(folder / _LOG, {"pass": course.settings.pass_, **clips, "points": points})

    return _restore(store.stage(KIND, spec, make), student)


def _train(
    course: Course, student: Checkpoint, lessons: Sequence[Lesson], folder: Path, processes: int, progress: Progress
) -> None:
    from fastwhisper_compress.pipeline.train_processes import Job, train_together

    settings, teacher = course.settings, course.teacher.checkpoint
    start = time.perf_counter()
    first: list[int] = []

    def tell(point: Point, steps: int) -> None:
        first[:] = first or [point.step - 1]
        left_s = (time.perf_counter() - start) / (point.step - first[0]) * (steps - point.step)
        left = f"{left_s:.0f} s" if left_s < 100 else f"{left_s / 60:.0f} min"
        progress(f"{settings.pass_}{DETAIL}loss {point.loss:.4g}, {left} left", point.step, steps)

    job = Job(settings, course.trained, student, teacher, course.plan, lessons, course.seed, folder)
    train_together(job, processes, tell)


def _restore(folder: Path, student: Checkpoint) -> Trained:
    from safetensors.numpy import load_file

    log = read_json(folder / _LOG)
    first, last = (_mean_loss(log["points"][part]) for part in (slice(0, 10), slice(-10, None)))
    note = (
        f"{len(log['points'])} steps on {log['n_clips']} clips ({log['audio_s'] / 60:.0f} min); loss {first:.4g} at first, "
        f"{last:.4g} at last"
    )
    return Trained(student.with_tensors(load_file(folder / _WEIGHTS)), note, log)


def _mean_loss(points: Sequence[Mapping[str, Any]]) -> float:
    return float(sum(one["loss"] for one in points) / len(points))


def _lessons(store: Store, course: Course, progress: Progress) -> list[Lesson]:
    """Return the clips with what the teacher hears in them, without those in which it went wrong."""
    from fastwhisper_compress.training.lessons import Lesson

    def make(folder: Path) -> None:
        artifact = load_artifact(course.teacher.artifact())
        rows: list[dict[str, Any] | None] = []
        for done, one in enumerate(course.speech.utterances):
            progress("label", done, len(course.speech.utterances))
            samples = read_audio(one.audio, max_s=MAX_CLIP_S)
            found = artifact.transcribe(samples, Options(language=one.language))
            prompt = prompt_tokens(artifact.manifest.decoding, one.language, "transcribe")
            whole = found.ended and not found.looped
            row = {"n_samples": samples.size, "prompt": prompt, "tokens": found.tokens}
            rows.append(row if whole else None)
        progress("label", len(rows), len(rows))
        write_json(folder / "labels.json", rows)

    rows = read_json(store.stage(LABELS, course.labels_spec, make) / "labels.json")
    pairs = zip(course.speech.utterances, rows, strict=True)
    found = [Lesson.from_json({"audio": str(one.audio), **row}) for one, row in pairs if row is not None]
    if not found:
        raise SuiteError(
            "the teacher hears no text that comes to an end in any clip",
            place=f"calibration {course.speech.name}",
            remedy="name speech of the model's language, in clips of at most 30 s, with --calibration",
        )
    return found
