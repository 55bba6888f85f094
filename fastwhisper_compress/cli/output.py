"""What commands print. Nothing that stands in it can act on the terminal, whoever wrote it."""

from __future__ import annotations

import os
import sys
from typing import Any

import typer

from fastwhisper_compress.harmless import harmless, harmless_json


def say(text: str = "", *, err: bool = False, nl: bool = True) -> None:
    """Print text on standard output, or on standard error."""
    typer.echo(harmless(text), err=err, nl=nl)


def say_if_read(text: str, *, err: bool = False) -> None:
    """Print a line that need not be read: when nobody reads any more, the work goes on without a word."""
    try:
        say(text, err=err)
    except BrokenPipeError:
        to_nobody(2 if err else 1)


def to_nobody(descriptor: int) -> None:
    """Send what is printed from now on nowhere: whoever read it has seen enough."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)


def say_json(value: Any) -> None:
    """Print JSON on standard output, in a line."""
    typer.echo(harmless_json(value))


def speak_any_script() -> None:
    """Let a terminal that knows only some characters show the others as escapes, rather than end the command."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # what a test puts in their place need not
            stream.reconfigure(errors="backslashreplace")
