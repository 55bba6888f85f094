"""Write a checkpoint as an artifact's files: three graphs, one weight file, the configs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from fastwhisper_compress.checkpoint.factors import parts as kept_as
from fastwhisper_compress.checkpoint.model import Checkpoint
from fastwhisper_compress.emit.configs import config_files
from fastwhisper_compress.emit.decoder import write_decoder
from fastwhisper_compress.emit.emitter import Emitter, Written
from fastwhisper_compress.emit.encoder import write_encoder
from fastwhisper_compress.emit.graph import Graph, WeightFile
from fastwhisper_compress.emit.log_mel import write_log_mel
from fastwhisper_compress.emit.precision import Plan
from fastwhisper_compress.emit.split import write_parts
from fastwhisper_compress.emit.streamable import check_streamable
from fastwhisper_compress.errors import ProviderError, RecipeError

GRAPHS = {"log_mel": "onnx/log_mel.onnx", "encoder": "onnx/encoder.onnx", "decoder": "onnx/decoder.onnx"}
WEIGHTS = "onnx/weights.bin"


@dataclass(frozen=True)
class Emission:
    """What was written.

    Attributes:
        modules: One entry a checkpoint module, in graph order.
        fusions: Fused operators by name, counted over all graphs.
        layers: Of encoder and decoder, the parts that a runtime may stream; None where none were asked for.
    """

    modules: tuple[Written, ...]
    fusions: dict[str, int]
    layers: dict[str, Any] | None = None


def emit(checkpoint: Checkpoint, plan: Plan, folder: Path, *, layers: bool = False) -> Emission:
    """Write the graphs, weights and configs of a checkpoint into an empty folder.

    Args:
        checkpoint: What to write.
        plan: In which precisions and operators.
        folder: Where; it must exist.
        layers: Whether to write the graphs also in parts, for a runtime that streams the weights.

    Raises:
        ProviderError: The plan's provider has no kernel for one of its precisions.
        RecipeError: A group size does not divide a module's inputs, or a module cannot be streamed.
    """
    check_plan(checkpoint, plan, layers=layers)
    dims = checkpoint.dims
    (folder / "onnx").mkdir()
    modules: list[Written] = []
    fusions: Counter[str] = Counter()
    with WeightFile(folder / WEIGHTS) as weights:
        aligned = {layer for layer, _ in checkpoint.decoding.alignment_heads}
        graph = Graph("log_mel", weights)
        write_log_mel(graph, dims.n_mels, 2 * dims.n_audio_ctx)
        onnx.save(graph.model(), folder / GRAPHS["log_mel"])
        writers: dict[str, Callable[[Emitter], None]] = {
            "encoder": lambda e: write_encoder(e, dims),
            "decoder": lambda e: write_decoder(e, dims, aligned),
        }
        for name, write in writers.items():
            emitter = Emitter(Graph(name, weights), checkpoint.tensors, plan, dims)
            write(emitter)
            onnx.save(emitter.graph.model(), folder / GRAPHS[name])
            modules += emitter.ledger
            fusions += emitter.graph.fusions
    for name, content in config_files(checkpoint).items():
        (folder / name).write_bytes(content)
    parts: dict[str, Any] | None = None
    if layers:  # after the weight file is complete: ONNX Runtime opens the graphs to tell the types of inner values
        parts = {"weights": WEIGHTS} | {name: write_parts(folder / GRAPHS[name], folder) for name in writers}
    return Emission(tuple(modules), dict(sorted(fusions.items())), parts)


def check_plan(checkpoint: Checkpoint, plan: Plan, *, layers: bool = False) -> None:
    """Refuse a plan that cannot be written as it stands, or whose layers cannot be streamed if they are to be.

    Raises:
        ProviderError: A precision that the provider would only run by falling back to another one.
        RecipeError: A group size does not divide a module's inputs, or a module cannot be streamed.
    """
    if layers:
        check_streamable(plan)
    for path in sorted(plan.cross_int8):
        if plan.provider == "cuda":
            raise ProviderError(
                "int8_cross_kv is written for the CPU provider only",
                place=path,
                remedy="add only_on: cpu to the pass, or use --provider cpu",
            )
        if path not in plan.fuse:
            raise RecipeError(
                "int8_cross_kv needs a fused operator: no standard one attends to 8 bits",
                place=path,
                remedy="let the pass fuse act on this module, or leave int8_cross_kv out",
            )
    for path, precision in plan.precision.items():
        if plan.provider == "cuda" and precision.scheme == "int8_dynamic":
            raise ProviderError(
                "CUDA has no kernel for int8_dynamic; ONNX Runtime would run it on the CPU",
                place=path,
                remedy="use the pass weight_only with bits: 8, or --provider cpu",
            )
        if precision.scheme != "weight_only":
            continue
        for part in kept_as(checkpoint.tensors, path):
            inputs = checkpoint.tensors[f"{part}.weight"].shape[1]
            if inputs % precision.group_size:
                raise RecipeError(
                    f"group_size {precision.group_size} does not divide its {inputs} inputs",
                    place=part,
                    remedy="choose a group_size that divides it, such as 32, for this module",
                )
