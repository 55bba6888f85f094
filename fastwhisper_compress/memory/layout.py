"""What a recipe would write of a model: the shape, the precision and the operator of every module, and no weight."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from fastwhisper_compress.checkpoint.dims import Dims, Module, check_dims, modules, tensor_shapes
from fastwhisper_compress.checkpoint.factors import factor_paths, is_factorised, output_weight, owner
from fastwhisper_compress.emit.precision import Plan, Precision, Provider
from fastwhisper_compress.errors import UnsafeInputError
from fastwhisper_compress.passes.precisions import assigned
from fastwhisper_compress.passes.shrink import channels_left, heads_left
from fastwhisper_compress.recipe.base import BasePass
from fastwhisper_compress.recipe.check import check_against
from fastwhisper_compress.recipe.layers import renumbered
from fastwhisper_compress.recipe.loader import LoadedRecipe
from fastwhisper_compress.recipe.schema import PASSES, Fuse, Int8CrossKv
from fastwhisper_compress.recipe.selectors import select_all
from fastwhisper_compress.recipe.shapes import DropLayers, Prune

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Layout:
    """A model as a recipe would write it.

    Attributes:
        dims: The model's dimensions before pruning, without the layers that are dropped.
        shapes: Tensor name to shape, after pruning, and of an artifact after factorising. What a recipe would factorise is
            whole here, as its ranks follow from speech: its estimate is at most too high.
        plan: Precisions and fusions, as the emitter would get them.
        offload: What the recipe keeps out of memory: ``none``, ``phase`` or ``layers``.
    """

    dims: Dims
    shapes: dict[str, Shape]
    plan: Plan
    offload: str

    def modules(self) -> Iterator[tuple[Module, Precision]]:
        """Yield every module that holds weights, with its precision; in place of a factorised one, its factors."""
        for module in modules(self.dims):
            if is_factorised(self.shapes, module.path):
                first, second = factor_paths(module.path)
                yield Module(first, module.kind, (f"{first}.weight",)), self.plan.of(first)
                biases = module.tensors[1:]
                yield Module(second, module.kind, (f"{second}.weight", *biases)), self.plan.of(second)
            elif module.tensors:
                yield module, self.plan.of(module.path)

    def width(self, attention: str) -> int:
        """Return how wide the heads of an attention are together: less than d_model where some were removed."""
        return self.shapes[output_weight(self.shapes, f"{attention}.q_proj")][0]

    def channels(self, layer: str) -> int:
        """Return how many hidden channels the feed-forward of a layer has."""
        return self.shapes[output_weight(self.shapes, f"{layer}.fc1")][0]


def lay_out(loaded: LoadedRecipe, dims: Dims) -> Layout:
    """Find out what a recipe would write of a model of these dimensions.

    Raises:
        RecipeError: A pattern matches nothing, or two precisions claim one module.
    """
    recipe = loaded.recipe
    pairs = zip(recipe.active, check_against(loaded, modules(dims)), strict=True)
    return _laid_out(dims, pairs, recipe.provider, recipe.offload)


def layout_of(manifest: Mapping[str, Any], *, offload: str | None = None) -> Layout:
    """Return what an artifact is, from its ``manifest.json``.

    Args:
        manifest: Its contents.
        offload: How it is run; None is as its recipe says.

    Raises:
        UnsafeInputError: It does not say what model it was made of, or by which passes.
    """
    place = "manifest.json"
    try:
        dims, provider = check_dims(Dims(**manifest["model"]["dims"]), place), manifest["provider"]
        passes = [PASSES[one["pass"]].model_validate(one) for one in manifest["passes"]]
        pairs = zip(passes, select_all(passes, modules(dims)), strict=True)
        found = _laid_out(dims, pairs, provider, offload or manifest["offload"])
        sizes = {row["path"]: row["parameters"] for row in manifest["modules"]}
        return replace(found, shapes=_factorised(found.shapes, sizes))
    except UnsafeInputError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UnsafeInputError(
            f"does not tell its model and passes ({type(error).__name__})", place=place, remedy="run the recipe again"
        ) from error


def _laid_out(
    dims: Dims, pairs: Iterable[tuple[BasePass, tuple[str, ...]]], provider: Provider, offload: str
) -> Layout:
    shapes = tensor_shapes(dims)
    precision: dict[str, Precision] = {}
    fuse: set[str] = set()
    cross_int8: set[str] = set()
    for pass_, paths in pairs:
        if isinstance(pass_, Fuse):
            fuse.update(paths)
        elif isinstance(pass_, Int8CrossKv):
            cross_int8.update(paths)
        elif isinstance(pass_, DropLayers):
            kept = pass_.kept(dims.depths)
            dims = replace(dims, **{f"{side}_layers": len(layers) for side, layers in kept.items()})
            shapes = {new: shape for name, shape in shapes.items() if (new := renumbered(name, kept))}
        elif isinstance(pass_, Prune):
            for path in paths:
                shapes |= _pruned(shapes, dims, path, pass_)
        elif pass_.stage == "precision":
            precision |= assigned(pass_, paths, provider)[0]
    return Layout(dims, shapes, Plan(precision, frozenset(fuse), provider, frozenset(cross_int8)), offload)


def _factorised(shapes: dict[str, Shape], sizes: Mapping[str, int]) -> dict[str, Shape]:
    """Return the shapes with the weights that were written as two, whose ranks follow from their parameters."""
    found = dict(shapes)
    for path, size in sizes.items():
        if path != owner(path) and path == factor_paths(owner(path))[0]:
            out, width = found.pop(f"{owner(path)}.weight")
            rank = size // width
            first, second = factor_paths(owner(path))
            found |= {f"{first}.weight": (rank, width), f"{second}.weight": (out, rank)}
    return found


def _pruned(shapes: dict[str, Shape], dims: Dims, path: str, pass_: Prune) -> dict[str, Shape]:
    """Return the shapes that structured pruning of one module changes."""
    if pass_.granularity in ("unstructured", "2:4"):
        return {}
    if pass_.granularity == "heads":
        rows, columns = [f"{path}.{letter}_proj" for letter in "qkv"], f"{path}.out_proj"
        size = dims.head_dim(path)
        left = heads_left(shapes[f"{rows[0]}.weight"][0] // size, pass_.amount) * size
    else:
        rows, columns = [path], f"{path.removesuffix('fc1')}fc2"
        left = channels_left(shapes[f"{path}.weight"][0], pass_.amount)
    changed: dict[str, Shape] = {f"{columns}.weight": (shapes[f"{columns}.weight"][0], left)}
    for row in rows:
        changed[f"{row}.weight"] = (left, shapes[f"{row}.weight"][1])
        if f"{row}.bias" in shapes:
            changed[f"{row}.bias"] = (left,)
    return changed
