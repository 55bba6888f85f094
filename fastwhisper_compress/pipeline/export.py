"""From a recipe to a folder for Hugging Face transformers: the weight passes alone, without graphs and precisions."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from fastwhisper_compress.emit.transformers_folder import held_dims, write_folder
from fastwhisper_compress.errors import UsageError
from fastwhisper_compress.memory.layout import lay_out
from fastwhisper_compress.passes.apply import Applied
from fastwhisper_compress.pipeline.build import Report
from fastwhisper_compress.pipeline.files import resources
from fastwhisper_compress.pipeline.output import check_output
from fastwhisper_compress.pipeline.prepare import Request, prepare
from fastwhisper_compress.pipeline.publish import publishing


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        folder: Where.
        parameters: Numbers in it.
        applied: What the weight passes did.
        left_out: The passes that such a folder cannot show.
    """

    folder: Path
    parameters: int
    applied: tuple[Applied, ...]
    left_out: tuple[str, ...]


def export(request: Request, report: Report) -> Exported:
    """Write what a recipe's weight passes make of its model.

    Raises:
        UsageError: The recipe has no such pass, or transformers' Whisper cannot hold what they make.
        FastWhisperError: Whatever else went wrong; the output folder is then as it was before.
    """
    job = prepare(request, report, lambda _: nullcontext())
    passes = job.orders[1].passes
    if not any(one.stage == "weights" for one in passes):
        raise UsageError(
            "has no pass that changes weights, so the folder would be the model as it is",
            place=str(job.loaded.path),
            remedy="choose a recipe that prunes, factorises, drops layers or trains",
        )
    layout = lay_out(job.loaded, job.checkpoint.dims)
    held_dims(layout.dims, layout.shapes)  # what cannot be held is refused before any long work
    first, second = job.builders
    baseline = first.build(job.orders[0], None) if any(one.calibrated for one in passes) else None
    compressed = second.compress(job.orders[1], baseline)
    report("write folder", 0, 1)
    check_output(job.out)
    with resources(job.out), publishing(job.out) as draft:
        whole = write_folder(compressed.checkpoint, draft)
    report("write folder", 1, 1)
    weights = tuple(one for one, pass_ in zip(compressed.applied, passes, strict=True) if pass_.stage == "weights")
    left_out = tuple(one.pass_ for one in passes if one.stage != "weights")
    return Exported(job.out, whole.n_parameters, weights, left_out)
