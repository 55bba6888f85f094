"""The command that writes a folder for another library."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from fastwhisper_compress.cli.app import AsJson, Offline, Override, app, setting


@app.command(name="export-hf")
def export_hf(
    recipe: Annotated[str, typer.Argument(help="A shipped recipe by name, or a file.")],
    out: Annotated[Path, typer.Option(help="Output folder.")],
    model: Annotated[str | None, typer.Option(help="Checkpoint: id, folder or file.")] = None,
    calibration: Annotated[str | None, typer.Option(help="Speech to calibrate on: name, manifest or .yaml.")] = None,
    offline: Offline = False,
    override: Override = None,
    as_json: AsJson = False,
) -> None:
    """Write the pruned or trained weights as a folder for Hugging Face transformers, without precisions and graphs."""
    from fastwhisper_compress import console
    from fastwhisper_compress.pipeline.export import export
    from fastwhisper_compress.pipeline.prepare import Request

    named = {"model": model, "calibration": calibration}
    overrides = [*(override or []), *(setting(key, value) for key, value in named.items() if value is not None)]
    with console.progress() as report:
        found = export(Request(recipe, tuple(overrides), out, offline=offline), report)
    if as_json:
        typer.echo(json.dumps(asdict(found), default=str))
        return
    for one in found.applied:
        typer.echo(f"{one.name}: {one.note}")
    if found.left_out:
        typer.echo(f"not in such a folder: {', '.join(found.left_out)}")
    typer.echo(f"{found.parameters / 1e6:.1f} M parameters: {found.folder}")
