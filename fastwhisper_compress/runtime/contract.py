"""What the three graphs of an artifact must take and give, so that nothing is computed by others.

Buffers are as large as graphs say, and token ids index what they give: so both are checked before the first clip.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastwhisper_compress.errors import UnsafeInputError
from fastwhisper_compress.runtime.decode import KEY, QUERY

if TYPE_CHECKING:
    import onnxruntime as ort

    from fastwhisper_compress.runtime.layered import LayeredSession
    from fastwhisper_compress.runtime.manifest import Manifest
    from fastwhisper_compress.runtime.resident import Models

_FLOAT, _FLOATS = "tensor(float)", ("tensor(float)", "tensor(float16)")
_MOST_VALUES = 1 << 27  # of one layer's cache and clip; the largest Whisper has 573,440
_MOST_FRAMES, _MOST_MELS, _MOST_TOKENS = 30_000, 128, 1_000_000


@dataclass(frozen=True)
class Port:
    """An input or output of a graph.

    Attributes:
        type: In ONNX Runtime's words, such as ``tensor(float)``.
        shape: A name, or None, where any length goes.
    """

    type: str
    shape: tuple[int | str | None, ...]

    def sizes(self, start: int) -> tuple[int, ...]:
        """Return the lengths from one dimension on; empty where one of them is not fixed and positive."""
        found = tuple(size for size in self.shape[start:] if isinstance(size, int) and size > 0)
        return found if len(found) == len(self.shape) - start else ()


Ports = Mapping[str, Port]


def ports(session: ort.InferenceSession | LayeredSession) -> tuple[Ports, Ports]:
    """Return the inputs and the outputs of a graph by name."""
    inputs, outputs = (
        {node.name: Port(node.type, tuple(node.shape)) for node in get()}
        for get in (session.get_inputs, session.get_outputs)
    )
    return inputs, outputs


def check_models(manifest: Manifest, models: Models) -> None:
    """Refuse graphs that are not ours, and a manifest that names ids, lengths and heads that they do not have.

    Raises:
        UnsafeInputError: With what is wrong.
    """
    if problem := next(_problems(manifest, models), None):
        raise UnsafeInputError(problem, place=str(manifest.folder / "manifest.json"), remedy="run the recipe again")


def _problems(manifest: Manifest, models: Models) -> Iterator[str]:
    inputs, outputs, decoding = models.decoder_inputs, models.decoder_outputs, manifest.decoding
    if not {"hidden", "logits", "past_key.0"} <= {*models.encoder.outputs, *outputs, *inputs}:
        yield "its graphs are not an encoder and a decoder of this format"
        return
    yield from _misshapen(models)
    if decoding.largest_id >= (n_vocab := outputs["logits"].sizes(1)[0]):
        yield f"the token id {decoding.largest_id} is not one of the model's {n_vocab}"
    if decoding.max_length > (capacity := inputs["past_key.0"].sizes(1)[1]):
        yield f"max_length {decoding.max_length} is more than the {capacity} its cache holds"
    if not all(_shows(models, layer, head) for layer, head in decoding.alignment_heads):
        yield "its decoder does not show the alignment heads that it names"


def _misshapen(models: Models) -> Iterator[str]:
    """Say which input or output has not the type and shape that it must have."""
    ins, outs = ports(models.log_mel)
    mel = next(iter(outs.values()), Port("", ()))
    sizes = mel.sizes(1)
    if ins.keys() != {"audio"} or len(outs) != 1 or mel.type != _FLOAT:
        yield "its log_mel does not make one spectrogram of audio"
    if len(sizes) != 2 or sizes[0] > _MOST_MELS or sizes[1] > _MOST_FRAMES:
        yield f"its log_mel makes a spectrogram of shape {mel.shape}"
    inputs, outputs = models.decoder_inputs, models.decoder_outputs
    logits = outputs["logits"]
    if logits.type != _FLOAT or len(logits.shape) != 2 or not 0 < sum(logits.sizes(1)) <= _MOST_TOKENS:
        yield f"its logits are {logits.type} of shape {logits.shape}"
    caches = {name: port for name, port in inputs.items() if name.startswith("past_") and name != "past_length"}
    heard = {name for name in models.encoder.outputs if name != "hidden"}
    if {*inputs} != {"input_ids", "past_length", *caches, *heard}:
        yield "its decoder asks for other inputs than the encoder and the text give"
    if (inputs["input_ids"].type, inputs["past_length"].type) != ("tensor(int64)", "tensor(int32)"):
        yield "its decoder reads tokens of another type"
    for name, port in caches.items():
        sizes = port.sizes(1)
        if port.type not in _FLOATS or len(sizes) != 3 or math.prod(sizes) > _MOST_VALUES:
            yield f"its {name} is {port.type} of shape {port.shape}"
        present = outputs.get(name.replace("past", "present"))
        if present is None or present.type != port.type:
            yield f"its decoder does not give back {name}"


def _shows(models: Models, layer: int, head: int) -> bool:
    """Say whether the decoder has a cross attention head, and an output of its layer's queries."""
    query, key = models.decoder_outputs.get(f"{QUERY}{layer}"), models.decoder_inputs.get(f"{KEY}{layer}")
    if query is None or key is None or len(key.shape) != 4:
        return False
    heads, width = key.shape[1], key.shape[3]
    return isinstance(heads, int) and isinstance(width, int) and head < heads and query.shape[-1:] == (heads * width,)
