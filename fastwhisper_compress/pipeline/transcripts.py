"""Where transcripts go, and what is kept beside them until they are whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fastwhisper_compress.errors import OutputError
from fastwhisper_compress.files import sweep
from fastwhisper_compress.transcription.cues import Screen
from fastwhisper_compress.transcription.formats import write_recording
from fastwhisper_compress.transcription.kinds import Format
from fastwhisper_compress.transcription.recording import Recording


@dataclass(frozen=True)
class Outputs:
    """A folder for transcripts: each is named after its recording. What is there under such a name is replaced.

    Attributes:
        folder: Made when the first is written.
        formats: One file for each.
        screen: What fits on it, for subtitles.
    """

    folder: Path
    formats: Sequence[Format]
    screen: Screen

    def check(self, files: Sequence[Path]) -> None:
        """Refuse what would write a transcript over another one, or over a recording.

        Raises:
            OutputError: With the remedy.
        """
        if self.folder.exists() and not self.folder.is_dir():
            raise OutputError("is a file", place=f"--out {self.folder}", remedy="name a folder")
        names: dict[str, Path] = {}
        for file in files:
            other = names.setdefault(file.stem, file)
            if other != file:
                raise OutputError(
                    f"{other} and {file} would have transcripts of one name",
                    place=f"--out {self.folder}",
                    remedy="transcribe them apart, into two folders",
                )
        recordings = {file.resolve() for file in files}
        for path in [*(path for file in files for path in self.paths(file)), self.journal(files)]:
            if path.resolve() in recordings:
                raise OutputError("would be replaced by a transcript", place=str(path), remedy="name another --out")

    def sweep(self, files: Sequence[Path]) -> None:
        """Remove what a killed process has left of writing the same transcripts."""
        sweep(path for file in files for path in self.paths(file))

    def paths(self, file: Path) -> list[Path]:
        """Return where the transcripts of a recording are written."""
        return [self.folder / f"{file.stem}.{kind}" for kind in self.formats]

    def journal(self, files: Sequence[Path]) -> Path:
        """Return where it is written down what is done of recordings: beside the transcripts of the first."""
        return self.folder / f"{files[0].stem}.journal"

    def write(self, file: Path, recording: Recording) -> None:
        """Write the transcripts of a recording.

        Raises:
            OutputError: The folder cannot be written.
            ResourceError: The disk is full.
        """
        for kind, path in zip(self.formats, self.paths(file), strict=True):
            write_recording(recording, path, kind, self.screen)
