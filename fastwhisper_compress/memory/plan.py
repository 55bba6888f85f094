"""The answer to "will it fit?": one model or recipe, one device, one workload."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from fastwhisper_compress.checkpoint.dims import Dims
from fastwhisper_compress.checkpoint.known import n_parameters
from fastwhisper_compress.checkpoint.peek import peek_dims
from fastwhisper_compress.errors import ProviderError, UsageError
from fastwhisper_compress.memory.auto_batch import choose_batch
from fastwhisper_compress.memory.device import Device, Kind
from fastwhisper_compress.memory.estimate import Estimate, estimate
from fastwhisper_compress.memory.fit import (
    MOST_CLIPS,
    Option,
    budget_bytes,
    largest_batch,
    needed_bytes,
    shipped_options,
    why_not,
)
from fastwhisper_compress.memory.hardware import find_device
from fastwhisper_compress.memory.layout import lay_out
from fastwhisper_compress.memory.roofline import Roofline, roofline
from fastwhisper_compress.memory.runtime import Backend, Running, overhead
from fastwhisper_compress.memory.suitability import warnings_for
from fastwhisper_compress.memory.training import TrainingEstimate, estimate_training
from fastwhisper_compress.memory.working_set import Workload
from fastwhisper_compress.recipe.catalog import list_recipes
from fastwhisper_compress.recipe.learning import Training
from fastwhisper_compress.recipe.loader import LoadedRecipe, load_recipe

_SUFFIXES = (".yaml", ".yml")
_PLAIN = "fp32"


@dataclass(frozen=True)
class Question:
    """What the user wants to know.

    Attributes:
        target: A shipped recipe, a recipe file, or a model.
        overrides: Settings that replace those of the recipe.
        provider: ``cpu`` or ``cuda``; None takes the device's.
        device: Name of a device; None takes the recipe's, or else this machine.
        batch: Clips at once; None takes the recipe's.
        audio_s: Seconds of each.
        beam: Hypotheses kept of each.
        tokens: Length of the text; None is the most the model can write.
        train: Whether to estimate training too.
        backend: What runs the encoder.
    """

    target: str
    overrides: tuple[str, ...] = ()
    provider: Kind | None = None
    device: str | None = None
    batch: int | None = None
    audio_s: float = 30.0
    beam: int = 1
    tokens: int | None = None
    train: bool = False
    backend: Backend = "onnxruntime"


@dataclass(frozen=True)
class MemoryPlan:
    """What was found.

    Attributes:
        model: Its id.
        dims: Its dimensions.
        recipe: The recipe that ``need`` is for.
        device: Where it is to run.
        work: What it is to do.
        backend: What runs the encoder.
        need: The estimate.
        needed: Bytes of the device that it takes.
        budget: Bytes that the device has for it.
        largest: Most clips at once that fit; 0 where not one does.
        options: What the shipped recipes need; empty where the question was about a recipe that fits.
        roofline: What no tuning can beat.
        warnings: Precisions that gain nothing on the device, and figures that are assumptions.
        training: What a training step needs, if that was asked.
        answer: One line.
    """

    model: str
    dims: Dims
    recipe: str
    device: Device
    work: Workload
    backend: Backend
    need: Estimate
    needed: int
    budget: int
    largest: int
    options: tuple[Option, ...]
    roofline: Roofline
    warnings: tuple[str, ...]
    training: TrainingEstimate | None
    answer: str

    @property
    def fits(self) -> bool:
        """Whether the device holds it at the batch that was asked for."""
        return self.needed <= self.budget

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "answer": self.answer,
            "fits": self.fits,
            "needed_bytes": self.needed,
            "budget_bytes": self.budget,
            "largest_batch": self.largest,
            "model": {"id": self.model, "parameters": n_parameters(self.dims), "dims": asdict(self.dims)},
            "recipe": self.recipe,
            "device": self.device.model_dump(mode="json"),
            "backend": self.backend,
            "estimate": self.need.to_json(),
            "options": [one.to_json() for one in self.options],
            "roofline": self.roofline.to_json(),
            "warnings": list(self.warnings),
            "training": None if self.training is None else self.training.to_json(),
        }


def make_plan(question: Question) -> MemoryPlan:
    """Answer a question about memory, from dimensions alone.

    Raises:
        UsageError: An unknown device, or a batch, length or beam that means nothing.
        ModelNotFoundError: No model whose dimensions are known here.
        RecipeError: The recipe is not valid or does not fit the model.
        ProviderError: The device cannot run the recipe.
    """
    of_recipe = question.target in list_recipes() or question.target.endswith(_SUFFIXES)
    if of_recipe:
        loaded = load_recipe(question.target, question.overrides)
    else:
        loaded = load_recipe(_PLAIN, (*question.overrides, f"model={question.target!r}"))
    recipe = loaded.recipe
    model, dims = peek_dims(recipe.model)
    device = _device(question, loaded)
    if device.kind != recipe.provider:
        loaded = load_recipe(loaded.path, (*loaded.overrides, f"provider={device.kind}"))
    layout = lay_out(loaded, dims)
    running = _running(question, loaded, device)
    asked = recipe.batch_size if question.batch is None else question.batch
    batch = choose_batch([layout], budget_bytes(device), running).batch_size if asked == "auto" else asked
    work = Workload(batch, question.audio_s, question.beam, question.tokens)
    if why := why_not(layout):
        raise ProviderError(
            f"{recipe.name} cannot run on {device.title}: {why}",
            place=question.target,
            remedy=f"choose another recipe: `plan {model} --device {device.name}` compares them",
        )
    need = estimate(layout, work, running)
    needed, budget = needed_bytes(need, device), budget_bytes(device)
    largest = largest_batch(layout, work, device, running)
    options: tuple[Option, ...] = ()
    if not of_recipe or needed > budget:
        options = tuple(shipped_options(dims, work, device, running))
    return MemoryPlan(
        model=model,
        dims=dims,
        recipe=recipe.name,
        device=device,
        work=work,
        backend=question.backend,
        need=need,
        needed=needed,
        budget=budget,
        largest=largest,
        options=options,
        roofline=roofline(layout, work, device),
        warnings=(*warnings_for(device, _schemes(loaded)), *_assumed(device)),
        training=_training(question, loaded, dims, work, device) if question.train else None,
        answer=_answer(recipe.name, work, largest, options, needed=needed, budget=budget),
    )


def _training(question: Question, loaded: LoadedRecipe, dims: Dims, work: Workload, device: Device) -> TrainingEstimate:
    """Estimate the first pass that learns as the recipe sets it; without one, training as such."""
    first = next((pass_ for pass_ in loaded.recipe.active if isinstance(pass_, Training)), None)
    if first is None:
        return estimate_training(dims, work, amp=_amp(device))
    batch = question.batch or first.micro_batch_size or first.batch_size
    teacher = None if first.teacher is None else peek_dims(first.teacher)[1]
    return estimate_training(dims, replace(work, batch=batch), amp=first.mixed_precision != "no", teacher=teacher)


def _running(question: Question, loaded: LoadedRecipe, device: Device) -> Running:
    """Return how the recipe's artifact is to be run.

    Raises:
        ProviderError: The backend cannot run on the device.
        UsageError: It cannot stream layers.
    """
    if question.backend == "openvino":
        if device.kind != "cpu":
            raise ProviderError(
                f"OpenVINO runs graphs written for cpu, not for {device.kind}",
                place="--backend openvino",
                remedy="name a CPU, or leave the option out",
            )
        if loaded.recipe.offload == "layers":
            raise UsageError(
                "openvino cannot stream layers",
                place="--backend openvino",
                remedy="use offload: phase or none with it",
            )
    return Running(loaded.recipe.threads or 2, question.backend)


def _device(question: Question, loaded: LoadedRecipe) -> Device:
    """Return the device that is meant: the one named, or the recipe's, or this machine.

    Raises:
        UsageError: There is no such device, or the provider cannot be had on it.
    """
    recipe = loaded.recipe
    provider = question.provider or recipe.provider
    if question.device is not None:
        device = find_device(question.device, provider=provider)
        if question.provider not in (None, device.kind):
            raise UsageError(
                f"{device.title} runs {device.kind}, not {question.provider}",
                place="--provider",
                remedy="leave it out, or name another device",
            )
        return device
    if recipe.device is not None:
        device = find_device(recipe.device, place=loaded.where(("device",)), provider=provider)
        if question.provider in (None, device.kind):
            return device
    return find_device("auto", provider=provider)


def _answer(recipe: str, work: Workload, largest: int, options: Sequence[Option], *, needed: int, budget: int) -> str:
    has = f"needs {_gb(needed)} of {_gb(budget)} at batch {work.batch}"
    most = f"{MOST_CLIPS} and more" if largest >= MOST_CLIPS else str(largest)
    if needed <= budget:
        return f"fits: {recipe} {has}; the largest batch is {most}"
    # The least compressed that fits as asked, those first that keep the network; failing that, whatever fits most clips.
    whole = [
        (not one.changes_network, one.peak, one.recipe)
        for one in options
        if one.largest_batch >= work.batch and one.peak
    ]
    if whole:
        _, peak, best = max(whole)
        return f"does not fit: {recipe} {has}; fits with {best} at batch {work.batch} ({_gb(peak)})"
    if largest:
        return f"does not fit: {recipe} {has}; fits at batch {largest}"
    part = max(options, key=lambda one: (one.largest_batch, not one.changes_network), default=None)
    if part is not None and part.largest_batch:
        return f"does not fit: {recipe} {has}; fits with {part.recipe} at batch {part.largest_batch}"
    return f"does not fit: {recipe} {has}, and no shipped recipe fits even at batch 1"


def _schemes(loaded: LoadedRecipe) -> list[str]:
    return [pass_.pass_ for pass_ in loaded.recipe.active if pass_.stage == "precision"]


def _assumed(device: Device) -> list[str]:
    if overhead(device.kind).measured:
        return []
    what = "what the runtime itself takes on a GPU, and its allocator's slack, are assumptions"
    return [f"{device.title}: {what}: no such machine has been measured yet"]


def _amp(device: Device) -> bool:
    return device.kind == "cuda" and bool(device.fast_fp16)


def _gb(n: int) -> str:
    return f"{n / 1e9:.2f} GB" if n >= 1e8 else f"{n / 1e6:.0f} MB"
