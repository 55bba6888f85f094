"""The application, what its commands share, and how it ends."""

from __future__ import annotations

import json
import os
import sys
import traceback
from enum import StrEnum
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from fastwhisper_compress import __version__
from fastwhisper_compress.cli.output import say, speak_any_script, to_nobody
from fastwhisper_compress.errors import FastWhisperError


class _Commands(TyperGroup):
    """The commands, and what is said when one of them is cut short."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            kept = ctx.invoked_subcommand in ("run", "eval")
            hint = "; what is finished is kept, run the same command to go on" if kept else ""
            if ctx.invoked_subcommand == "transcribe":
                hint = "; with --out, what is finished is kept: add --resume to go on"
            say(f"interrupted{hint}", err=True)
            raise typer.Exit(130) from None
        except BrokenPipeError:  # whoever reads our output has seen enough, as `head` does
            to_nobody(1)
            raise typer.Exit(0) from None


class Provider(StrEnum):
    """Where an artifact runs."""

    CPU = "cpu"
    CUDA = "cuda"


class Backend(StrEnum):
    """What runs the encoder."""

    ONNXRUNTIME = "onnxruntime"
    OPENVINO = "openvino"


def _batch_size(text: str) -> int | str:
    """Read a number of clips, or ``auto``."""
    if text == "auto":
        return text
    if text.isascii() and text.isdigit() and int(text) >= 1:
        return int(text)
    raise typer.BadParameter(f"{text!r} is neither a whole number from 1 on nor auto")


# Read by Hugging Face's libraries when they are imported, here and in every process that is started.
_NO_TELEMETRY = ("HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK")

app = typer.Typer(
    cls=_Commands,
    name="fastwhisper-compress",
    help="Compress a Whisper checkpoint, export it to ONNX, and prove what that cost.",
    epilog="Exit codes: 0 success, 1 a bug, 2 bad recipe or usage, 3 gate or parity failed, 4 missing backend, "
    "5 unsafe input refused, 6 resources (memory, disk, network), 130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
recipes_app = typer.Typer(help="The recipes that ship with the package.", no_args_is_help=True)
app.add_typer(recipes_app, name="recipes")

Override = Annotated[
    list[str] | None, typer.Option("-o", "--override", metavar="KEY=VALUE", help="Replace a setting of the recipe.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]
Offline = Annotated[bool, typer.Option("--offline", help="Go to no hub: use local files and caches only.")]
OwnProvider = Annotated[Provider | None, typer.Option(help="What it was written for, and the default.")]
OwnBackend = Annotated[Backend, typer.Option("--backend", help="What runs the encoder; openvino is an extra.")]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads; all usable cores by default.")]
BatchSize = Annotated[
    Any,  # int, "auto" or None: typer knows no unions
    typer.Option(
        parser=_batch_size,
        metavar="N|auto",
        help="Clips to transcribe together, auto: what fits into free memory; by default what the recipe says.",
    ),
]
Limit = Annotated[int | None, typer.Option(min=1, help="Only the first N utterances; marks results not comparable.")]


def main() -> None:
    """Run the command line and exit with the documented code."""
    speak_any_script()
    os.environ.update(dict.fromkeys(_NO_TELEMETRY, "1"))
    try:
        app(standalone_mode=True)
    except FastWhisperError as error:
        say(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except Exception as error:  # noqa: BLE001 - the last place where it can be told apart from a mistake of the user
        _exit_if_out_of_memory(error)
        say("".join(traceback.format_exception(error)), err=True, nl=False)
        say("this is a bug in fastwhisper-compress: please report it with the lines above", err=True)
        sys.exit(1)


def _exit_if_out_of_memory(error: Exception) -> None:
    """Libraries say that memory has run out in classes of their own."""
    from fastwhisper_compress.runtime.out_of_memory import translated

    if known := translated(error):
        say(f"error: {known}", err=True)
        sys.exit(known.exit_code)


def setting(key: str, value: str | int) -> str:
    """Write an option as an override, quoted so that YAML takes text for text, as a folder called 1 or null."""
    return f"{key}={json.dumps(value, ensure_ascii=False)}"


def _version(wanted: bool) -> None:
    if wanted:
        say(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    pass
