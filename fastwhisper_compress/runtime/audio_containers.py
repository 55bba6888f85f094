"""What FFmpeg's libraries read: video and audio containers, from a file or through a pipe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastwhisper_compress.errors import AudioError, BackendError
from fastwhisper_compress.runtime.audio_source import (
    ENDS_EARLY,
    EXPORT,
    MOST_S,
    NOTHING_STORED,
    Hole,
    possible_rate,
    undecodable,
)
from fastwhisper_compress.runtime.ogg_pages import Tear

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy as np

_JITTER_S = 0.1  # times are stored in milliseconds, and clocks of cameras run as they like
_PAUSE_S = 1.0  # what an encoder leaves out of silence is shorter
_PREROLL_S = 0.2  # a lossy decoder needs to warm up
# Only what holds sound itself: playlists and lists of parts, which FFmpeg knows as well, name other files to be read.
_FORMATS = (
    *("mov", "matroska", "ogg", "wav", "w64", "flac", "mp3", "aac", "loas", "asf", "aiff", "caf", "au", "amr", "ac3"),
    *("eac3", "avi", "flv", "mpeg", "mpegts"),
)
_TORN = "a page is damaged or missing"
_UNTIMED = {"aac", "mp3"}  # bare frames: times and durations are guessed from the bit rate


class Container:
    """The first audio stream of a container.

    Args:
        file: A path, or something to read from.
        place: What errors call it.
        kind: What needs PyAV, for the error that it is missing.
        start_s: Where to begin.
        options: For FFmpeg.
        tear: What is wrong with the pages of an Ogg file: FFmpeg leaves such a page out, and does not say so.

    Raises:
        AudioError: It is not audio, or has none.
        BackendError: PyAV is not installed.
    """

    def __init__(
        self,
        file: Any,
        place: str,
        kind: str,
        start_s: float = 0.0,
        options: Mapping[str, str] | None = None,
        tear: Tear | None = None,
    ) -> None:
        try:
            import av
            from av.error import FFmpegError
        except ImportError as error:
            raise BackendError(
                f"{kind} need PyAV",
                place=place,
                remedy="pip install 'fastwhisper-compress[containers]', or convert the file to WAV or FLAC",
            ) from error
        self._place = place
        self._tear = tear
        self._error = FFmpegError
        try:
            # Titles in Latin-1 are common.
            self._container = av.open(
                file,
                metadata_errors="ignore",
                options={"format_whitelist": ",".join(_FORMATS), "protocol_whitelist": "file", **(options or {})},
            )
        except FFmpegError as error:
            raise undecodable(place, error.strerror or type(error).__name__) from None
        try:
            self._prepare(start_s)
        except BaseException:
            self.close()
            raise

    def _prepare(self, start_s: float) -> None:
        import av

        if not self._container.streams.audio:
            raise AudioError("has no audio stream", place=self._place, remedy="give a file with sound")
        self._stream = stream = self._container.streams.audio[0]
        if stream.codec_context is None:
            raise AudioError("its audio is in no format that FFmpeg knows", place=self._place, remedy=EXPORT)
        self.rate = possible_rate(int(stream.rate), self._place)
        self._resampler = av.AudioResampler(format="fltp", layout=stream.layout, rate=stream.rate)
        self.duration_s = self._claimed_s()
        self._start = float((stream.start_time or 0) * (stream.time_base or 0))
        self._at = round(start_s * self.rate)
        if start_s > _PREROLL_S and stream.time_base and self._container.format.name not in _UNTIMED:
            try:
                self._container.seek(int((self._start + start_s - _PREROLL_S) / stream.time_base), stream=stream)
            except self._error:  # then everything before is decoded and dropped
                self._container.seek(0)

    def _claimed_s(self) -> float | None:
        if self._container.format.name in _UNTIMED:
            return None
        claimed_s = 0.0
        if self._stream.duration and self._stream.time_base:
            claimed_s = float(self._stream.duration * self._stream.time_base)
        elif self._container.duration and not self._container.streams.video:
            claimed_s = float(self._container.duration / 1e6)
        return claimed_s if 0 < claimed_s < MOST_S else None

    def parts(self) -> Iterator[np.ndarray | Hole]:
        """Decode on."""
        damage: str | None = None
        begun = False
        for decoded in self._frames():
            if isinstance(decoded, str):
                damage = decoded
                continue
            at, samples = decoded
            ahead = 0 if at is None else at - self._at
            if ahead > _JITTER_S * self.rate:
                damage = damage or (_TORN if self._tear else None)
                pause = damage is None and ahead < _PAUSE_S * self.rate
                yield Hole(ahead, None if pause else damage or NOTHING_STORED)
                self._at += ahead
            elif ahead < (-_JITTER_S * self.rate if begun else 0):
                samples = samples[-ahead:]  # before the start, or told twice
            damage = None
            if len(samples):
                begun = True
                self._at += len(samples)
                yield samples
        left = 0 if self.duration_s is None else round(self.duration_s * self.rate) - self._at
        if left > _PAUSE_S * self.rate or (damage and left > 0):
            yield Hole(left, damage or ENDS_EARLY)
        elif self._tear is Tear.AT_END:
            yield Hole(0, _TORN)  # nothing says how much it held

    def close(self) -> None:
        """Give the file back."""
        self._container.close()

    def _frames(self) -> Iterator[tuple[int | None, np.ndarray] | str]:
        """Where the time stamp puts the first frame, and float32 (n, channels); what is wrong with a packet instead."""
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except self._error as error:  # cannot read on
                yield error.strerror or type(error).__name__
                return
            if packet is None:
                return
            try:
                frames = [part for one in packet.decode() for part in self._resampler.resample(one)]
            except (self._error, ValueError) as error:  # ValueError: another layout in the middle
                yield getattr(error, "strerror", None) or str(error)
                continue
            for frame in frames:
                at: int | None = None
                if frame.pts is not None and frame.time_base is not None:
                    at_s = float(frame.pts * frame.time_base) - self._start
                    at = round(at_s * self.rate) if abs(at_s) < MOST_S else None
                yield at, frame.to_ndarray().T
