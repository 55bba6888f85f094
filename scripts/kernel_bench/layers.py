"""Graphs of one kind of layer in one kernel, written by the emitter itself, so that what is measured is what ships."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx

from fastwhisper_compress.checkpoint.model import Checkpoint
from fastwhisper_compress.emit.embedding import tied_logits, token_embedding
from fastwhisper_compress.emit.emitter import Emitter
from fastwhisper_compress.emit.graph import FLOAT, INT64, Graph, WeightFile
from fastwhisper_compress.emit.linear import linear, packed_linear
from fastwhisper_compress.emit.precision import FP16, FP32, INT8_DYNAMIC, Plan, Precision

EMBEDDING = "decoder.embed_tokens"
WEIGHTS = "weights.bin"


@dataclass(frozen=True)
class Kernel:
    """One way to compute a linear layer.

    Attributes:
        name: What tables call it.
        precision: What the plan gives the modules.
        accuracy_level: Replaces the emitter's own for MatMulNBits: 4 rounds activations to INT8 block by block, 0 and
            1 leave them FP32; None keeps what ships.
    """

    name: str
    precision: Precision
    accuracy_level: int | None = None


@dataclass(frozen=True)
class Kind:
    """The layers of a model that have one shape and one place.

    Attributes:
        name: What tables call it.
        side: ``encoder`` (rows are audio positions) or ``decoder`` (rows are tokens).
        attention: The attention, below a layer, whose projections are packed into one product; None for none.
        leaves: The modules, below a layer or that attention.
        layers: Whose layers these are.
    """

    name: str
    side: str
    attention: str | None
    leaves: tuple[str, ...]
    layers: str

    def n_layers(self, checkpoint: Checkpoint) -> int:
        """Count the model's layers that have it."""
        return checkpoint.dims.encoder_layers if self.layers == "encoder" else checkpoint.dims.decoder_layers


def _block(name: str, layers: str, *leaves: str) -> Kind:
    return Kind(name, layers, None, leaves, layers)


QKV = ("q_proj", "k_proj", "v_proj")
LOGITS = Kind("logits", "decoder", None, (), "")
KINDS: tuple[Kind, ...] = (
    _block("encoder q/k/v", "encoder", *(f"self_attn.{name}" for name in QKV)),
    _block("encoder out_proj", "encoder", "self_attn.out_proj"),
    _block("encoder fc1", "encoder", "fc1"),
    _block("encoder fc2", "encoder", "fc2"),
    Kind("cross k/v", "encoder", None, ("encoder_attn.k_proj", "encoder_attn.v_proj"), "decoder"),
    Kind("decoder qkv", "decoder", "self_attn", QKV, "decoder"),
    _block("decoder out_proj", "decoder", "self_attn.out_proj", "encoder_attn.out_proj"),
    _block("cross q", "decoder", "encoder_attn.q_proj"),
    _block("decoder fc1", "decoder", "fc1"),
    _block("decoder fc2", "decoder", "fc2"),
    LOGITS,
)


def _blocks(bits: int, group_size: int) -> Precision:
    return Precision("weight_only", bits, group_size)


SHIPPING: tuple[Kernel, ...] = (
    Kernel("fp32", FP32),
    Kernel("int8_dynamic", INT8_DYNAMIC),
    *(Kernel(f"nbits8/{group}", _blocks(8, group)) for group in (32, 64, 128, 256, 512)),
    *(Kernel(f"nbits4/{group}", _blocks(4, group)) for group in (32, 64, 128)),
)
CONTRAST: tuple[Kernel, ...] = tuple(
    Kernel(f"nbits{bits}/{group} level {level}", _blocks(bits, group), level)
    for bits, group in ((8, 128), (4, 32))
    for level in (0, 1)
)
TIED: tuple[Kernel, ...] = (
    Kernel("fp32", FP32),
    Kernel("fp16", FP16),
    Kernel("int8_dynamic", INT8_DYNAMIC),
    Kernel("nbits8/32", _blocks(8, 32)),
    Kernel("nbits8/128", _blocks(8, 128)),
    Kernel("nbits4/32", _blocks(4, 32)),
)


def fits(checkpoint: Checkpoint, kind: Kind, kernel: Kernel) -> bool:
    """Say whether a kernel's block divides the layer's inputs, as the emitter demands."""
    return kernel.precision.group_size == 0 or width(checkpoint, kind) % kernel.precision.group_size == 0


def width(checkpoint: Checkpoint, kind: Kind) -> int:
    """Count the inputs of a kind's layers."""
    return int(checkpoint.tensors[f"{next(_paths(checkpoint, kind))}.weight"].shape[1])


def write_layers(checkpoint: Checkpoint, kind: Kind, kernel: Kernel, folder: Path) -> Path:
    """Write every layer of a kind into one graph, side by side.

    Shapes: input ``x`` float32 (batch, rows, in), of the logits (batch, in), read by all layers; an output each.

    Returns:
        The graph's file; its weights lie beside it.
    """
    paths = list(_paths(checkpoint, kind))

    def write(e: Emitter) -> None:
        lead: list[int | str] = ["batch"] if kind is LOGITS else ["batch", "rows"]
        x = e.graph.input("x", FLOAT, [*lead, width(checkpoint, kind)])
        for out, n in _outputs(e, x, kind, kind.n_layers(checkpoint)):
            e.graph.output(out, out, FLOAT, [*lead, n])

    return _write(checkpoint, paths, kernel, folder, write)


def write_tied(checkpoint: Checkpoint, kernel: Kernel, folder: Path) -> Path:
    """Write the tied embedding as the decoder has it: the lookup of tokens, and the logits of a hidden state.

    Shapes: inputs ``ids`` int64 (batch, 1), ``x`` float32 (batch, d_model).
    """
    dims = checkpoint.dims

    def write(e: Emitter) -> None:
        ids = e.graph.input("ids", INT64, ["batch", 1])
        x = e.graph.input("x", FLOAT, ["batch", dims.d_model])
        found = token_embedding(e, ids, EMBEDDING)
        e.graph.output("row", found, FLOAT, ["batch", 1, dims.d_model])
        e.graph.output("logits", tied_logits(e, x, EMBEDDING), FLOAT, ["batch", dims.n_vocab])

    return _write(checkpoint, [EMBEDDING], kernel, folder, write)


def weight_bytes(graph: Path) -> int:
    """Return the size of a graph's weight file: values, scales and biases."""
    return (graph.parent / WEIGHTS).stat().st_size


def operators(graph: Path) -> Mapping[str, int]:
    """Count a graph's operators."""
    found: dict[str, int] = {}
    for node in onnx.load(graph, load_external_data=False).graph.node:
        found[node.op_type] = found.get(node.op_type, 0) + 1
    return found


def _paths(checkpoint: Checkpoint, kind: Kind) -> Iterator[str]:
    """Give the checkpoint modules of a kind."""
    if kind is LOGITS:
        yield EMBEDDING
    for i in range(kind.n_layers(checkpoint) if kind is not LOGITS else 0):
        below = f"{kind.layers}.layers.{i}" + (f".{kind.attention}" if kind.attention else "")
        yield from (f"{below}.{leaf}" for leaf in kind.leaves)


def _outputs(e: Emitter, x: str, kind: Kind, n_layers: int) -> Iterator[tuple[str, int]]:
    """Write the layers; give each output value and its width."""
    if kind is LOGITS:
        yield tied_logits(e, x, EMBEDDING), e.dims.n_vocab
        return
    for i in range(n_layers):
        layer = f"{kind.layers}.layers.{i}"
        if kind.attention:
            name = f"{layer}.{kind.attention}"
            paths = [f"{name}.{leaf}" for leaf in kind.leaves]
            packed = f"{name}.{''.join(leaf[0] for leaf in kind.leaves)}_proj"
            outs = packed_linear(e, x, packed, paths)
        else:
            paths = [f"{layer}.{leaf}" for leaf in kind.leaves]
            outs = [linear(e, x, path) for path in paths]
        for path, out in zip(paths, outs, strict=True):
            yield out, len(e.weight(path))


def _write(
    checkpoint: Checkpoint, paths: Sequence[str], kernel: Kernel, folder: Path, write: Callable[[Emitter], None]
) -> Path:
    plan = Plan(dict.fromkeys(paths, kernel.precision), frozenset(paths), "cpu")
    folder.mkdir(parents=True)
    with WeightFile(folder / WEIGHTS) as weights:
        e = Emitter(Graph("layers", weights), checkpoint.tensors, plan, checkpoint.dims)
        write(e)
    model = e.graph.model()
    if kernel.accuracy_level is not None:
        for node in model.graph.node:
            for attribute in node.attribute:
                if attribute.name == "accuracy_level":
                    attribute.i = kernel.accuracy_level
    onnx.save(model, folder / "layers.onnx")
    return folder / "layers.onnx"
