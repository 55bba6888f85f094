"""A graph in parts that run in turn, over weights that are mapped from disk and dropped again.

The kernels read a layer's weights in place, in one memory map of the weight file. When a part has run, its pages are
given back: what stays resident is the layer at work. The file's pages remain in the system's cache as long as nobody
else needs the room, so that a machine with enough memory reads the disk only once.
"""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fastwhisper_compress.errors import UnsafeInputError
from fastwhisper_compress.runtime.session import open_session

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import onnxruntime as ort

    from fastwhisper_compress.runtime.parts import Part, StreamedWeight


class WeightMap:
    """A weight file in the address space, resident only where it was read last."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        # Windows has no such advice; there the system takes the pages itself when it needs them.
        self._drop = getattr(mmap, "MADV_DONTNEED", None)

    def value(self, weight: StreamedWeight) -> ort.OrtValue:
        """Return a tensor that lies in the map."""
        import onnxruntime as ort

        count = int(np.prod(weight.shape))
        array = np.frombuffer(self._map, weight.dtype, count, weight.offset).reshape(weight.shape)
        return ort.OrtValue.ortvalue_from_numpy(array)

    def drop(self) -> None:
        """Give all its pages back."""
        if self._drop is not None:
            self._map.madvise(self._drop)


class LayeredSession:
    """The parts of one graph, with those methods of an ``InferenceSession`` that encoding and decoding use."""

    def __init__(self, parts: Sequence[Part], weights: WeightMap, threads: int | None) -> None:
        """Open the parts; for errors see ``open_session``.

        Raises:
            UnsafeInputError: A part needs a value that no part before it gives in the same type.
        """
        self._weights = weights
        self._held = [{one.name: weights.value(one) for one in part.weights} for part in parts]
        self._sessions = [
            open_session(part.graph, "cpu", threads, streamed=values)
            for part, values in zip(parts, self._held, strict=True)
        ]
        self._inputs: dict[str, ort.NodeArg] = {}
        made: dict[str, ort.NodeArg] = {}
        self._last_use: dict[str, int] = {}
        for at, session in enumerate(self._sessions):
            for node in session.get_inputs():
                self._last_use[node.name] = at
                known = made.get(node.name) or self._inputs.setdefault(node.name, node)
                if known.type != node.type:
                    raise UnsafeInputError(
                        f"the parts disagree on the type of {node.name!r}",
                        place=str(parts[at].graph),
                        remedy="run the recipe again",
                    )
            made |= {node.name: node for node in session.get_outputs()}
        if early := self._inputs.keys() & made.keys():
            raise UnsafeInputError(
                f"a part takes {min(early)!r} before it is made",
                place=str(parts[0].graph),
                remedy="run the recipe again",
            )
        self._made = made
        weights.drop()

    def get_inputs(self) -> list[ort.NodeArg]:
        """Return the inputs of the whole graph."""
        return list(self._inputs.values())

    def get_outputs(self) -> list[ort.NodeArg]:
        """Return what the parts give and nobody of them takes, which is the outputs of the whole graph."""
        return [node for name, node in self._made.items() if name not in self._last_use]

    def io_binding(self) -> LayeredBinding:
        """Return an empty binding."""
        return LayeredBinding()

    def run_with_iobinding(self, binding: LayeredBinding) -> None:
        """Run part after part; a value lives until the last part that takes it."""
        values = dict(binding.inputs)
        for at, session in enumerate(self._sessions):
            run = session.io_binding()
            for node in session.get_inputs():
                run.bind_ortvalue_input(node.name, values[node.name])
            names = [node.name for node in session.get_outputs()]
            names = [name for name in names if name in self._last_use or name in binding.outputs]
            if not names:
                continue
            for name in names:
                buffer = binding.outputs.get(name)
                if buffer is None:
                    run.bind_output(name, "cpu")
                else:
                    run.bind_ortvalue_output(name, buffer)
            session.run_with_iobinding(run)
            values |= zip(names, run.get_outputs(), strict=True)
            self._weights.drop()
            for name in [name for name in values if self._last_use.get(name) == at]:
                del values[name]
        binding.found = values


class LayeredBinding:
    """Which values go into a :class:`LayeredSession` and where its outputs go, as an ``IOBinding`` says it.

    Attributes:
        inputs: By name.
        outputs: By name, the buffer; None leaves it to ONNX Runtime.
        found: What the last run left.
    """

    def __init__(self) -> None:
        self.inputs: dict[str, ort.OrtValue] = {}
        self.outputs: dict[str, ort.OrtValue | None] = {}
        self.found: Mapping[str, ort.OrtValue] = {}

    def bind_cpu_input(self, name: str, array: np.ndarray) -> None:
        """Give an input as an array, which is read in place."""
        import onnxruntime as ort

        self.inputs[name] = ort.OrtValue.ortvalue_from_numpy(array)

    def bind_ortvalue_input(self, name: str, value: ort.OrtValue) -> None:
        """Give an input."""
        self.inputs[name] = value

    def bind_output(self, name: str, _: str) -> None:
        """Ask for an output, wherever it is made."""
        self.outputs[name] = None

    def bind_ortvalue_output(self, name: str, value: ort.OrtValue) -> None:
        """Ask for an output in a buffer."""
        self.outputs[name] = value

    def get_outputs(self) -> list[ort.OrtValue]:
        """Return the outputs in the order in which they were asked for."""
        return [self.found[name] for name in self.outputs]
