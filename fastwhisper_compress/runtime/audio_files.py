"""What libsndfile reads: WAV, FLAC, Ogg, MP3, AIFF and their like."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from fastwhisper_compress.errors import AudioError
from fastwhisper_compress.runtime.audio_source import ENDS_EARLY, MOST_S, Hole, possible_rate, undecodable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy as np
    import soundfile

_FINE_S = 0.1  # how closely the edges of damage are found, near its beginning
_PATIENCE = 10_000  # errors one after another; a kilobyte of MP3 is one
_MOST_AT_ONCE = 1 << 20  # samples of all channels together


class SoundFile:
    """A file that libsndfile reads.

    Args:
        path: The file.
        start_s: Where to begin.

    Raises:
        AudioError: It is not audio.
    """

    def __init__(self, path: Path, start_s: float) -> None:
        self._path = path
        self._file = self._open()
        try:
            self.rate = possible_rate(int(self._file.samplerate), str(path))
        except AudioError:
            self._file.close()
            raise
        self._at_once = max(1, min(self.rate, _MOST_AT_ONCE // self._file.channels))
        claimed = self._file.frames + _frames_cut_off(path, self._file)
        self._end: int | None = claimed if claimed < MOST_S * self.rate else None
        self.duration_s = None if self._end is None else self._end / self.rate
        self._fine = round(_FINE_S * self.rate)
        self._at = round(start_s * self.rate)
        self._is_mp3 = self._file.format == "MP3"
        self._counted = self._over = False
        self._failures = 0  # one after another

    def parts(self) -> Iterator[np.ndarray | Hole]:
        """Decode on."""
        if self._end is not None and self._at >= self._end > 0:
            return
        if self._is_mp3:
            yield from self._after_all_before()
            return
        if self._at and not self._seek(self._at):
            yield from self._behind("damaged")
        yield from self._on()

    def read(self, frames: int) -> tuple[np.ndarray, str | None]:
        """So many frames, float32 (n, channels), and what kept them from being decoded; neither at the end."""
        import numpy as np
        import soundfile

        try:
            samples = self._file.read(frames, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            self._failures += 1
            damage = error.error_string.removeprefix("Error : ").rstrip(".")
            return np.zeros((0, self._file.channels), np.float32), damage if self._failures < _PATIENCE else None
        self._failures = 0
        return samples, None

    def _on(self) -> Iterator[np.ndarray | Hole]:
        while not self._over:
            samples, damage = self.read(self._at_once)
            if damage is not None:
                yield from self._around(damage)
            elif samples.size:
                self._at += len(samples)
                yield samples
            else:
                self._over = True
                if self._end is not None and self._end - self._at > self._fine:
                    yield Hole(self._end - self._at, ENDS_EARLY)

    def close(self) -> None:
        """Give the file back."""
        self._file.close()

    def _after_all_before(self) -> Iterator[np.ndarray | Hole]:
        """Decode and drop: a decoder of MP3 that has jumped does not know what it has missed."""
        drop, self._at = self._at, 0
        for part in self._on():
            frames = part.frames if isinstance(part, Hole) else len(part)
            if drop < frames:
                yield Hole(frames - drop, part.reason) if isinstance(part, Hole) else part[drop:]
            drop = max(0, drop - frames)

    def _open(self) -> soundfile.SoundFile:
        import soundfile

        try:
            return soundfile.SoundFile(self._path)
        except soundfile.LibsndfileError as error:
            raise undecodable(str(self._path), error.error_string) from None
        except (ValueError, TypeError) as error:  # TypeError: headerless .raw
            raise undecodable(str(self._path), str(error)) from None

    def _seek(self, frame: int) -> bool:
        """Open the file again elsewhere: a decoder that has lost its way finds back in no other manner."""
        import soundfile

        self._file.close()
        self._file = self._open()
        try:
            self._file.seek(frame)
        except soundfile.LibsndfileError:
            return False
        return True

    def _around(self, damage: str) -> Iterator[np.ndarray | Hole]:
        """Decode what is whole of this second, and go on behind the damage."""
        if self._is_mp3:  # goes on by itself, but does not count what it has skipped
            if not self._counted:
                self._counted = True
                lost = self._lost_in_all()
                yield Hole(lost, "its frames are damaged")
                self._at += lost
            return
        if self._seek(self._at):
            while True:
                samples, broken = self.read(self._fine)
                if broken is not None or not samples.size:
                    break
                self._at += len(samples)
                yield samples
        yield from self._behind(damage)

    def _behind(self, damage: str) -> Iterator[np.ndarray | Hole]:
        """Look for the next place that can be decoded, in steps that grow with the hole."""
        hole = self._fine
        while self._end is not None and self._at + hole < self._end:
            if self._seek(self._at + hole):
                samples, broken = self.read(self._fine)
                if broken is None and samples.size:
                    yield Hole(hole, damage)
                    yield samples
                    self._at += hole + len(samples)
                    return
            hole += max(self._fine, hole // 10)
        yield Hole(0 if self._end is None else self._end - self._at, damage)
        self._over = True

    def _lost_in_all(self) -> int:
        """How many frames of a damaged MP3 file cannot be decoded: decodes all of it, and keeps nothing."""
        found = 0
        with closing(SoundFile(self._path, 0.0)) as again:
            while True:
                samples, damage = again.read(self._at_once)
                found += len(samples)
                if damage is None and not samples.size:
                    return 0 if self._end is None else max(0, self._end - found)


def _frames_cut_off(path: Path, file: soundfile.SoundFile) -> int:
    """How many more frames the header of a WAV file claims than the file holds; libsndfile tells of those it holds."""
    if file.format not in {"WAV", "WAVEX"} or not file.frames:
        return 0
    with path.open("rb") as raw:
        head = raw.read(8)
    held = path.stat().st_size
    claimed = 8 + int.from_bytes(head[4:], "little")
    if head[:4] != b"RIFF" or not held < claimed < 1 << 31:  # a recorder that never came to say claims the most
        return 0
    return int((claimed - held) * file.frames / held)
