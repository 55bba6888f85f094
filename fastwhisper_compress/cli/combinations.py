"""Which options of ``transcribe`` go together: what would have no effect is refused, not passed over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from fastwhisper_compress.errors import UsageError

_SUBTITLES = {"srt", "vtt"}


def check_files(
    files: Sequence[Path],
    out: Path | None,
    kinds: Sequence[str],
    *,
    resume: bool,
    as_json: bool,
    of_subtitles: Mapping[str, object],
    of_streams: Mapping[str, object],
) -> None:
    """Refuse what makes no sense for recordings.

    Args:
        files: What is to be transcribed.
        out: Where to.
        kinds: Formats.
        resume: Whether to go on.
        as_json: Whether JSON goes to standard output.
        of_subtitles: Options that only subtitles have, None where they were not given.
        of_streams: Options that only standard input has, likewise.

    Raises:
        UsageError: With the option.
    """
    if not files:
        raise UsageError("nothing to transcribe", place="FILES", remedy="name recordings, or --stream -")
    if name := _given(of_streams):
        raise UsageError("a recording is no stream", place=name, remedy="leave it out, or read --stream -")
    if (name := _given(of_subtitles)) and not _SUBTITLES.intersection(kinds):
        raise UsageError("there are no subtitles to lay out", place=name, remedy="add --format srt or --format vtt")
    if out is not None:
        return
    if resume:
        raise UsageError("there is nothing to go on with", place="--resume", remedy="name the folder with --out")
    several = len(kinds) > 1 or len(files) > 1 or as_json
    if several and list(kinds) != ["txt"]:
        raise UsageError(
            "only one transcript in one format fits on standard output",
            place="--format",
            remedy="name a folder with --out",
        )


def check_mode(mode: str, *, vad: bool, batch_size: int | str | None) -> None:
    """Refuse options of packed mode in sequential mode, which hears all of one recording after the other.

    Raises:
        UsageError: With the option.
    """
    if mode == "sequential" and not vad:
        raise UsageError("sequential hears all there is", place="--no-vad", remedy="leave it out")
    if mode == "sequential" and batch_size is not None:
        raise UsageError(
            "sequential hears one window at a time", place="--batch-size", remedy="leave it out, or use --mode packed"
        )


def check_stream(name: str, of_recordings: Mapping[str, object], of_pipes: Mapping[str, object]) -> None:
    """Refuse what makes no sense for a stream.

    Args:
        name: Of the stream.
        of_recordings: What only recordings have, None or false where it was not given.
        of_pipes: What only standard input has, likewise.

    Raises:
        UsageError: With the option.
    """
    if option := _given(of_recordings):
        raise UsageError(
            "a stream has no files, and its text goes to standard output as it comes",
            place=f"--stream with {option}",
            remedy="leave out recordings and the options about them; --json gives times",
        )
    if name != "-" and (option := _given(of_pipes)):
        raise UsageError(f"the stream {name!r} has it of its own", place=option, remedy="leave it out")


def _given(options: Mapping[str, object]) -> str | None:
    """Return the first option that was given."""
    return next((name for name, value in options.items() if value), None)
