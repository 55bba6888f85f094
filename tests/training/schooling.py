"""A tiny teacher, a student that is a little off, and what they learn from."""

from __future__ import annotations

import numpy as np
import soundfile
from small_whisper import small_checkpoint, speech_like

from fastwhisper_compress.checkpoint.dims import modules
from fastwhisper_compress.emit.precision import Plan
from fastwhisper_compress.pipeline.reference import reference_log_mel
from fastwhisper_compress.recipe.learning import Distill
from fastwhisper_compress.training.lessons import Lesson
from fastwhisper_compress.training.trainer import Trainer

TEACHER = small_checkpoint(n_vocab=320)
PATHS = tuple(module.path for module in modules(TEACHER.dims) if Distill().takes(module))


def off(checkpoint, share=0.3, seed=1):
    """The same weights with noise on those of the linears."""
    rng = np.random.default_rng(seed)
    return checkpoint.with_tensors(
        {
            name: values + share * values.std() * rng.standard_normal(values.shape, dtype=np.float32)
            for name, values in checkpoint.tensors.items()
            if ".layers." in name and name.endswith("weight") and "norm" not in name
        }
    )


_KNOWN = {}


def features(samples):
    key = samples.tobytes()
    if key not in _KNOWN:
        _KNOWN[key] = np.ascontiguousarray(reference_log_mel(samples, 80)[:, : 2 * TEACHER.dims.n_audio_ctx])
    return _KNOWN[key]


def lessons(folder, n=6):
    """Clips of different lengths with made-up text."""
    rng, found = np.random.default_rng(0), []
    for i in range(n):
        samples = speech_like(0.25 + 0.1 * i, i)
        soundfile.write(folder / f"{i}.wav", samples, 16_000)
        text = tuple(int(token) for token in rng.integers(40, 120, 3 + i))
        found.append(Lesson(str(folder / f"{i}.wav"), samples.size, (257, 270), text))
    return found


def trainer(settings, clips, *, student=None, teacher=TEACHER, plan=None, trained=PATHS, **more):
    student = off(TEACHER) if student is None else student
    plan = plan or Plan()
    return Trainer(student, teacher, settings, plan, trained, clips, more.pop("features", features), 0, **more)


def train(settings, clips, folder, *, upto=None, **more):
    """Train in a folder; return the weights and the log. ``upto`` kills it after so many steps."""

    class KilledError(Exception):
        pass

    def progress(point, _steps):
        if point.step == upto:
            raise KilledError

    folder.mkdir(exist_ok=True)
    try:
        return trainer(settings, clips, **more).run(folder, progress)
    except KilledError:
        return None


def losses(log):
    return [point.loss for point in log.points]
