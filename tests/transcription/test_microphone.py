from __future__ import annotations

import sys
import types

import numpy as np
import pytest

from fastwhisper_compress.errors import AudioError, BackendError
from fastwhisper_compress.transcription.microphone import microphone


class PortAudioError(Exception):
    pass


class InputStream:
    lost_at = None

    def __init__(self, *, samplerate, channels, dtype, latency):
        assert (samplerate, channels, dtype) == (16_000, 1, "float32")
        self.read_blocks = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def read(self, n):
        self.read_blocks += 1
        return np.full((n, 1), self.read_blocks, np.float32), self.read_blocks == self.lost_at


@pytest.fixture
def sounddevice(monkeypatch):
    module = types.SimpleNamespace(InputStream=InputStream, PortAudioError=PortAudioError)
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    return module


def test_blocks_come_one_after_another(sounddevice):
    with microphone() as blocks:
        assert [next(blocks)[0] for _ in range(3)] == [1, 2, 3]


def test_lost_audio_is_said(sounddevice, monkeypatch):
    monkeypatch.setattr(InputStream, "lost_at", 2)
    with microphone() as blocks:
        next(blocks)
        with pytest.raises(AudioError, match="lost"):
            next(blocks)


def test_no_microphone_is_said(sounddevice):
    def refuse(**_):
        raise PortAudioError("no default input device")

    sounddevice.InputStream = refuse
    with pytest.raises(AudioError, match="no default input device"), microphone():
        pass


def test_a_missing_package_is_said_with_its_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(BackendError, match=r"\[microphone\]"), microphone():
        pass
