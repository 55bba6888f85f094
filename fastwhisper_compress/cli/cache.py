"""The commands about finished stages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from fastwhisper_compress.cli.app import AsJson, app
from fastwhisper_compress.cli.output import say, say_json

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fastwhisper_compress.pipeline.cache import Entry, Removed
    from fastwhisper_compress.pipeline.store import Store

cache_app = typer.Typer(help="Finished stages: what runs keep so as not to do it again.", no_args_is_help=True)
app.add_typer(cache_app, name="cache")

EveryByte = Annotated[
    bool, typer.Option("--verify", help="Hash every file, also where size and time are those that were written.")
]


@cache_app.command(name="ls")
def list_stages(as_json: AsJson = False) -> None:
    """List the finished stages, the last used ones first."""
    from fastwhisper_compress.pipeline.cache import entries

    store = _store()
    found = entries(store)
    if as_json:
        say_json({"store": str(store.root), "stages": [one.to_json() for one in found]})
        return
    for one in found:
        say(_line(one))
    total = sum(one.size_on_disk_bytes for one in found)
    say(f"{len(found)} stages, {total / 1e6:,.1f} MB in {store.root}")


@cache_app.command(name="verify")
def verify_stages(as_json: AsJson = False) -> None:
    """Hash every file of every stage; exit code 5 if one is not what was written."""
    from fastwhisper_compress.errors import UnsafeInputError
    from fastwhisper_compress.pipeline.cache import entries

    store = _store()
    found = entries(store, every_byte=True)
    damaged = [one for one in found if one.damage is not None]
    if as_json:
        say_json({"store": str(store.root), "stages": [one.to_json() for one in found]})
    else:
        for one in damaged:
            say(_line(one))
        say(f"{len(found) - len(damaged)} of {len(found)} stages are what was written")
    if damaged:
        raise UnsafeInputError(
            f"{len(damaged)} of {len(found)} stages are not what was written",
            place=str(store.root),
            remedy="`cache gc --verify` removes them",
        )


@cache_app.command(name="gc")
def collect(
    unused_days: Annotated[
        float | None, typer.Option(min=0, help="Remove also what was not used for so many days.")
    ] = None,
    max_mb: Annotated[
        float | None, typer.Option(min=0, help="Remove also what was unused for longest, until this is left.")
    ] = None,
    verify: EveryByte = False,
    as_json: AsJson = False,
) -> None:
    """Remove what killed runs left behind, damaged stages and old locks; what is in use stays."""
    from fastwhisper_compress.pipeline.cache import DAY_S, clean

    store = _store()
    removed = clean(
        store,
        unused_s=None if unused_days is None else unused_days * DAY_S,
        most_bytes=None if max_mb is None else round(max_mb * 1e6),
        every_byte=verify,
    )
    if as_json:
        say_json({"store": str(store.root), "removed": [one.to_json() for one in removed]})
        return
    for one in removed:
        say(f"{one.path}  {one.size_on_disk_bytes / 1e6:,.1f} MB  {one.why}")
    say(f"{_total(removed) / 1e6:,.1f} MB removed from {store.root}")


def _store() -> Store:
    from fastwhisper_compress.pipeline.store import Store
    from fastwhisper_compress.resources import cache_dir

    return Store(cache_dir() / "stages")


def _line(one: Entry) -> str:
    from datetime import datetime

    used = datetime.fromtimestamp(one.used_at).astimezone().isoformat(" ", "minutes")[:16]
    size = f"{one.size_on_disk_bytes / 1e6:10,.1f} MB"
    return f"{one.kind:12} {one.name[:12]} {size}  used {used}" + (f"  damaged: {one.damage}" if one.damage else "")


def _total(removed: Iterable[Removed]) -> int:
    return sum(one.size_on_disk_bytes for one in removed)
