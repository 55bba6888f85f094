"""Whether an artifact fits a device, at which batch, and which shipped recipe would."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from fastwhisper_compress.checkpoint.dims import Dims
from fastwhisper_compress.emit.streamable import check_streamable
from fastwhisper_compress.errors import RecipeError
from fastwhisper_compress.memory.device import Device, Kind
from fastwhisper_compress.memory.estimate import Estimate, estimate
from fastwhisper_compress.memory.layout import Layout, lay_out
from fastwhisper_compress.memory.runtime import CPU, PLAIN, Running
from fastwhisper_compress.memory.weights import weigh
from fastwhisper_compress.memory.working_set import Workload
from fastwhisper_compress.recipe.catalog import list_recipes
from fastwhisper_compress.recipe.loader import LoadedRecipe, load_recipe
from fastwhisper_compress.recipe.schema import Recipe, Smooth

MOST_CLIPS = 1024  # a batch beyond this is asked of nobody


@dataclass(frozen=True)
class Option:
    """A shipped recipe as an answer to a budget.

    Attributes:
        recipe: Its name.
        disk: Bytes of its weight file; None where it does not fit the model.
        peak: Bytes that it needs at the workload's batch; likewise.
        largest_batch: Most clips at once that fit, 0 where not one does.
        impossible: Why it cannot run on the device at all, or with the model; None where it can.
        changes_network: Whether it trains weights or cuts parts out, besides storing them in fewer bits.
    """

    recipe: str
    disk: int | None
    peak: int | None
    largest_batch: int
    impossible: str | None
    changes_network: bool

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)


def budget_bytes(device: Device) -> int:
    """Return what a model may take on a device: what is free now on this machine, or what a profile leaves."""
    if device.available_bytes is not None:
        return device.available_bytes
    return device.memory_bytes - device.reserved_bytes


def needed_bytes(found: Estimate, device: Device) -> int:
    """Return what an estimate takes of a device: where a GPU shares the host's memory, the process counts too."""
    host = CPU.bytes if device.kind == "cuda" and device.unified else 0
    return found.peak + host


def largest_batch(layout: Layout, work: Workload, device: Device, running: Running = PLAIN) -> int:
    """Return the most clips at once that fit a device, up to ``MOST_CLIPS``; 0 where one is too many."""
    weights = weigh(layout)

    def fits(batch: int) -> bool:
        found = estimate(layout, replace(work, batch=batch), running, weights=weights)
        return needed_bytes(found, device) <= budget_bytes(device)

    return most_that(fits, MOST_CLIPS)


def most_that(fits: Callable[[int], bool], most: int) -> int:
    """Return the largest batch up to ``most`` that fits, where what is larger than one that does not does not either."""
    low, high = 0, 1
    while high <= most and fits(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if middle <= most and fits(middle) else (low, middle)
    return low


def shipped_options(dims: Dims, work: Workload, device: Device, running: Running = PLAIN) -> list[Option]:
    """Try every shipped recipe on a model and a device, smallest first; those that cannot run there come last."""
    found = []
    for name, loaded in _shipped(device.kind):
        changes = _changes_network(loaded.recipe)
        try:
            layout = lay_out(loaded, dims)
        except RecipeError as error:
            found.append(Option(name, None, None, 0, error.message, changes))
            continue
        need = estimate(layout, work, running)
        impossible = why_not(layout)
        batch = 0 if impossible else largest_batch(layout, work, device, running)
        found.append(Option(name, need.disk, needed_bytes(need, device), batch, impossible, changes))
    return sorted(found, key=lambda one: (one.impossible is not None, one.peak or 0, one.disk or 0))


def recipes_for(dims: Dims, work: Workload, provider: Kind) -> dict[str, int]:
    """Return every shipped recipe that a provider can run and that keeps the network, and what it needs in bytes."""
    found = {}
    for name, loaded in _shipped(provider):
        if not _changes_network(loaded.recipe) and why_not(layout := lay_out(loaded, dims)) is None:
            found[name] = estimate(layout, work).peak
    return found


def _shipped(provider: Kind) -> Iterator[tuple[str, LoadedRecipe]]:
    """Yield the shipped recipes for a provider, without the presets: those are others, with a model and a device."""
    for name in list_recipes():
        loaded = load_recipe(name, (f"provider={provider}",))
        if loaded.recipe.device is None:
            yield name, loaded


def _changes_network(recipe: Recipe) -> bool:
    return any(one.stage == "weights" and not isinstance(one, Smooth) for one in recipe.active)


def why_not(layout: Layout) -> str | None:
    """Say why the layout's provider cannot run it, None if it can."""
    dynamic = any(precision.scheme == "int8_dynamic" for precision in layout.plan.precision.values())
    if layout.plan.provider == "cuda" and dynamic:
        return "CUDA has no kernel for int8_dynamic"
    if layout.offload == "layers":
        try:
            check_streamable(layout.plan)
        except RecipeError as error:
            return error.message
    return None
