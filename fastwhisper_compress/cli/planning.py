"""The commands that answer before anything is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from fastwhisper_compress.cli.app import (
    AsJson,
    Backend,
    Override,
    OwnBackend,
    Provider,
    app,
    setting,
)
from fastwhisper_compress.cli.output import say_json

if TYPE_CHECKING:
    from fastwhisper_compress.memory.device import Kind


@app.command()
def plan(
    target: Annotated[str, typer.Argument(help="A shipped recipe by name, a recipe file, or a model.")],
    device: Annotated[
        str | None,
        typer.Option(help="A device by name (see `devices`), a file of profiles, or auto: this machine, the default."),
    ] = None,
    model: Annotated[str | None, typer.Option(help="Plan the recipe for this model.")] = None,
    provider: Annotated[Provider | None, typer.Option(help="Whether auto means this machine's CPU or its GPU.")] = None,
    batch: Annotated[int | None, typer.Option(help="Clips at once; the recipe's by default.")] = None,
    audio_s: Annotated[float, typer.Option(help="Seconds that the encoder is given of each clip, at most 30.")] = 30.0,
    beam: Annotated[int, typer.Option(help="Hypotheses kept of each clip.")] = 1,
    tokens: Annotated[
        int | None, typer.Option(help="Length of the text; by default the most the model can write.")
    ] = None,
    backend: OwnBackend = Backend.ONNXRUNTIME,
    train: Annotated[bool, typer.Option("--train", help="Estimate a training step too.")] = False,
    override: Override = None,
    as_json: AsJson = False,
) -> None:
    """Say how much memory a model or recipe needs, and whether a device has it; nothing is loaded."""
    from fastwhisper_compress.console_plan import show_plan
    from fastwhisper_compress.memory.plan import Question, make_plan

    overrides = [*(override or []), *([setting("model", model)] if model is not None else [])]
    kind: Kind | None = None if provider is None else ("cuda" if provider is Provider.CUDA else "cpu")
    found = make_plan(
        Question(target, tuple(overrides), kind, device, batch, audio_s, beam, tokens, train, backend.value)
    )
    if as_json:
        say_json(found.to_json())
        return
    show_plan(found)


@app.command(name="devices")
def list_devices(as_json: AsJson = False) -> None:
    """List the devices that plans can be made for, and this machine."""
    from fastwhisper_compress.console_plan import show_devices
    from fastwhisper_compress.memory.hardware import devices
    from fastwhisper_compress.memory.local import this_machine

    found = [*devices().values(), *this_machine()]
    if as_json:
        say_json([one.model_dump(mode="json") for one in found])
        return
    show_devices(found)
