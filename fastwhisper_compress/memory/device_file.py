"""From a YAML file of device profiles to :class:`Device` values, or to what is wrong on which line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fastwhisper_compress.errors import RecipeError, UsageError
from fastwhisper_compress.memory.device import Device, Peak
from fastwhisper_compress.recipe.base import WholeNumber
from fastwhisper_compress.recipe.messages import complaint, nearest
from fastwhisper_compress.recipe.yaml12 import parse

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from fastwhisper_compress.recipe.yaml12 import Document, Loc

MAX_BYTES = 64 * 1024
MAX_REPORTED = 10


class DeviceFile(BaseModel):
    """A file of profiles."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    version: Annotated[Literal[1], WholeNumber] = Field(description="Version of the format: 1.")
    devices: list[Device] = Field(min_length=1, max_length=64, description="The profiles.")


def read_device_file(path: Path) -> list[Device]:
    """Read the profiles of a file.

    Raises:
        UsageError: if it cannot be read, is no YAML, lacks a figure, or holds what no profile has. Names the line.
    """
    try:
        document = parse(_text(path), str(path))
    except RecipeError as error:
        raise UsageError(error.message, place=error.place, remedy=error.remedy) from None
    problems = [
        UsageError(problem.message, place=problem.place, remedy=problem.remedy) for problem in document.problems
    ]
    try:
        devices = DeviceFile.model_validate(document.value).devices
    except ValidationError as error:
        devices = []
        problems += [_translated(details, document) for details in error.errors(include_url=False)]
    problems += [problem for index, device in enumerate(devices) for problem in _unusable(device, index, document)]
    names = [device.name for device in devices]
    problems += [
        UsageError(
            f"the name {name!r} stands twice, first at {document.where(('devices', names.index(name), 'name'))}",
            place=document.where(("devices", index, "name")),
            remedy="give each profile a name of its own",
        )
        for index, name in enumerate(names)
        if name in names[:index]
    ]
    if problems:
        raise _combined(problems, str(path))
    return devices


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(
            f"the device file cannot be read: {error.strerror}", place=str(path), remedy="check the path"
        ) from error
    if len(data) > MAX_BYTES:
        raise UsageError(
            f"the file is larger than {MAX_BYTES // 1024} KiB", place=str(path), remedy="name a file of device profiles"
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UsageError("the file is not UTF-8", place=str(path), remedy="save the file as UTF-8") from None


def _unusable(device: Device, index: int, document: Document) -> list[UsageError]:
    """What may be unknown of the present machine, but not of a device that is described to be planned for."""
    loc: Loc = ("devices", index)
    needed: dict[Loc, float | None] = {
        (*loc, "bandwidth_bytes_per_s"): device.bandwidth_bytes_per_s,
        (*loc, "peak", "fp32"): device.peak.fp32,
    }
    problems = [
        UsageError(
            f"the figure {place[-1]!r} of {device.name!r} is null, and nothing can be planned without it",
            place=document.where(place),
            remedy="give the figure, with its source",
        )
        for place, value in needed.items()
        if value is None
    ]
    if device.available_bytes is not None:
        problems.append(_unknown((*loc, "available_bytes"), document))
    return problems


def _translated(details: ErrorDetails, document: Document) -> UsageError:
    loc: Loc = details["loc"]
    if details["type"] == "extra_forbidden":
        return _unknown(loc, document)
    if details["type"] == "missing":
        name = _name(loc, document)
        return UsageError(
            f"{loc[-1]!r} is missing" + (f" in the profile of {name!r}" if name else ""),
            place=document.where(loc),
            remedy=f"add it: {_described(loc) or 'a file of profiles has version and devices'}",
        )
    if details["type"] == "device":
        at: Loc = (*loc, *details["ctx"]["at"])
        return UsageError(details["msg"], place=document.where(at), remedy="correct the profile")
    label = "the file" if not loc else f"{loc[-2]}[{loc[-1]}]" if isinstance(loc[-1], int) else loc[-1]
    return UsageError(
        complaint(details, label), place=document.where(loc), remedy=_described(loc) or "write 'version' and 'devices'"
    )


def _unknown(loc: Loc, document: Document) -> UsageError:
    known = [key for key in _model_at(loc[:-1]).model_fields if key != "available_bytes"]
    return UsageError(
        f"unknown key {loc[-1]!r}", place=document.keys.get(loc) or document.where(loc), remedy=nearest(loc[-1], known)
    )


def _model_at(loc: Loc) -> type[BaseModel]:
    if "peak" in loc:
        return Peak
    return Device if loc[:1] == ("devices",) else DeviceFile


def _described(loc: Loc) -> str | None:
    """What the schema says about the setting that ``loc`` leads to."""
    for end in range(len(loc), 0, -1):
        field = _model_at(loc[: end - 1]).model_fields.get(str(loc[end - 1]))
        if field:
            return field.description
    return None


def _name(loc: Loc, document: Document) -> object:
    """The name of the device that ``loc`` is part of, if it has one."""
    return document.value["devices"][loc[1]].get("name") if loc[:1] == ("devices",) and len(loc) > 2 else None


def _combined(problems: list[UsageError], place: str) -> UsageError:
    if len(problems) == 1:
        return problems[0]
    lines = [f"  {problem.place}: {problem.message}" for problem in problems[:MAX_REPORTED]]
    if len(problems) > MAX_REPORTED:
        lines.append(f"  and {len(problems) - MAX_REPORTED} more")
    return UsageError(
        f"{len(problems)} problems\n" + "\n".join(lines), place=place, remedy="correct the profile at these places"
    )
