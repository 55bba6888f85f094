"""Containers of every kind, with a tone in them."""

from __future__ import annotations

import av
import numpy as np


def tone(rate, seconds=1.0, hz=440, level=0.4):
    """A tone that fades in and out, so that filters ring neither at its start nor at its end."""
    t = np.arange(round(rate * seconds)) / rate
    return (level * np.hanning(t.size) * np.sin(2 * np.pi * hz * t)).astype(np.float32)


def write_container(path, codec, *, rate=44_100, layout="stereo", video=None, title="", seconds=1.0, samples=None):
    """Write a tone, or samples, as mono or stereo; with or without pictures."""
    samples = tone(rate, seconds) if samples is None else samples
    with av.open(str(path), "w") as container:
        container.metadata["title"] = title
        pictures = sound = None
        if video:
            pictures = container.add_stream(video, rate=10)
            pictures.width = pictures.height = 64
            pictures.pix_fmt = "yuv420p"
        if codec:
            sound = container.add_stream(codec, rate=rate)
            sound.layout = layout
        if pictures:
            for _ in range(5):
                image = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
                container.mux(pictures.encode(image))
            container.mux(pictures.encode())
        if sound:
            channels = 2 if layout == "stereo" else 1
            frame = av.AudioFrame.from_ndarray(np.tile(samples, (channels, 1)), format="fltp", layout=layout)
            frame.sample_rate, frame.pts = rate, 0
            for part in av.AudioResampler(format=sound.format, layout=layout, rate=rate).resample(frame):
                container.mux(sound.encode(part))
            container.mux(sound.encode())
    return path
