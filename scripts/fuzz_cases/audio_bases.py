"""Short audio files of every kind that is read, to be damaged by ``fuzz_cases.audio``."""

from __future__ import annotations

import io
from functools import cache
from typing import Any

import numpy as np

from fastwhisper_compress.runtime.ogg_pages import page_checksum

_RATE = 16_000
_SECONDS = 0.5
_FILES = {  # suffix and what libsndfile calls it
    "wav": (".wav", {"format": "WAV", "subtype": "PCM_16"}),
    "wav, float": (".wav", {"format": "WAV", "subtype": "FLOAT"}),
    "wav, ADPCM": (".wav", {"format": "WAV", "subtype": "IMA_ADPCM"}),
    "flac": (".flac", {"format": "FLAC"}),
    "ogg": (".ogg", {"format": "OGG", "subtype": "VORBIS"}),
    "opus": (".opus", {"format": "OGG", "subtype": "OPUS"}),
    "mp3": (".mp3", {"format": "MP3"}),
    "aiff": (".aiff", {"format": "AIFF"}),
    "caf": (".caf", {"format": "CAF"}),
    "au": (".au", {"format": "AU"}),
}
_CONTAINERS = {  # suffix, FFmpeg's names of the container and of the codec, rate
    "m4a": (".m4a", "mp4", "aac", _RATE),
    "aac": (".aac", "adts", "aac", _RATE),
    "webm": (".webm", "webm", "libopus", 48_000),
    "mkv": (".mkv", "matroska", "flac", _RATE),
    "mov": (".mov", "mov", "pcm_s16le", _RATE),
    "wma": (".wma", "asf", "wmav2", 44_100),
}


@cache
def bases() -> dict[str, tuple[str, bytes]]:
    """Name -> suffix and bytes; half a second of tones and noise each, most of them mono."""
    found = {name: (suffix, _file(**options)) for name, (suffix, options) in _FILES.items()}
    return found | {name: (row[0], _container(*row[1:])) for name, row in _CONTAINERS.items()}


def _sound(rate: int) -> np.ndarray:
    t = np.arange(round(_SECONDS * rate)) / rate
    noise = np.random.default_rng(3).uniform(-0.1, 0.1, t.size)
    return np.asarray(0.3 * np.sin(2 * np.pi * 300 * (1 + t) * t) + noise, np.float32)


def _file(**options: str) -> bytes:
    import soundfile

    written = io.BytesIO()
    stereo = options.get("subtype") == "FLOAT"
    sound = _sound(_RATE)
    soundfile.write(written, np.stack([sound, -sound], axis=1) if stereo else sound, _RATE, **options)
    return _repeatable(bytearray(written.getvalue()))


def _repeatable(data: bytearray) -> bytes:
    """Undo what libsndfile makes different each time: the numbers of Ogg streams, and when a WAV file was written."""
    if (at := data.find(b"PEAK")) >= 0:
        data[at + 12 : at + 16] = bytes(4)
    at = data.find(b"OggS")
    while at >= 0:
        data[at + 14 : at + 18] = b"\1\0\0\0"
        at = data.find(b"OggS", at + 4)
    mend_checksums(data)
    return bytes(data)


def mend_checksums(data: bytearray) -> None:
    """Give every page of an Ogg file the checksum that it should have."""
    at = data.find(b"OggS")
    while at >= 0:
        lengths = data[at + 27 : at + 27 + (data[at + 26] if at + 26 < len(data) else 0)]
        end = at + 27 + len(lengths) + sum(lengths)
        if end <= len(data):
            data[at + 22 : at + 26] = page_checksum(bytes(data[at:end]))
        at = data.find(b"OggS", at + 4)


def _container(container: str, codec: str, rate: int) -> bytes:
    import av

    written = io.BytesIO()
    with av.open(written, "w", format=container, options={"fflags": "bitexact"}) as file:
        stream: Any = file.add_stream(codec, rate=rate)
        stream.layout, stream.bit_rate = "mono", 64_000
        frame = av.AudioFrame.from_ndarray(_sound(rate)[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts = rate, 0
        for part in av.AudioResampler(format=stream.format, layout="mono", rate=rate).resample(frame):
            file.mux(stream.encode(part))
        file.mux(stream.encode())
    return written.getvalue()
