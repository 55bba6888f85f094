"""Files to samples: every format, rate and channel count, and every way a file can be broken."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import soundfile
from containers import tone, write_container

from fastwhisper_compress.errors import AudioError, BackendError
from fastwhisper_compress.runtime.audio import read_audio
from fastwhisper_compress.runtime.audio_opening import decode_file


def loudness_and_pitch(samples):
    spectrum = np.abs(np.fft.rfft(samples))
    return np.abs(samples).max(), spectrum.argmax() * 16_000 / samples.size


FORMATS = {
    "wav": {"subtype": "PCM_16"},
    "flac": {},
    "ogg": {"format": "OGG", "subtype": "VORBIS"},
    "opus": {"format": "OGG", "subtype": "OPUS"},
    "mp3": {"format": "MP3"},
    "WAV": {"subtype": "FLOAT"},
}


RATES = (8000, 16_000, 44_100, 48_000)


@pytest.mark.parametrize(
    ("extension", "rate"), [(e, r) for e in FORMATS for r in RATES if (e, r) != ("opus", 44_100)]
)  # Opus has no 44.1 kHz
def test_every_format_and_rate_becomes_the_same_16_khz(tmp_path, extension, rate):
    path = tmp_path / f"tone.{extension}"
    soundfile.write(path, tone(rate), rate, **FORMATS[extension])
    samples = read_audio(path)
    assert (samples.dtype, samples.ndim) == (np.float32, 1)
    assert samples.flags.c_contiguous
    assert samples.size == pytest.approx(16_000, abs=1)
    if extension in ("wav", "flac", "WAV"):
        assert np.abs(samples[:16_000] - tone(16_000)[: samples.size]).max() < 2e-3
    loudness, pitch = loudness_and_pitch(samples)
    assert loudness == pytest.approx(0.4, rel=0.1)
    assert pitch == pytest.approx(440, abs=2)


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_channels_are_averaged(tmp_path, rate):
    left, right = tone(rate), tone(rate, hz=880)
    for channels, expected in (
        ((left, left), tone(16_000)),
        ((left, 0 * left), tone(16_000) / 2),
        ((left, -left), np.zeros(16_000)),
        ((left, right, 0 * left, 0 * left), (tone(16_000) + tone(16_000, hz=880)) / 4),
    ):
        soundfile.write(tmp_path / "mix.wav", np.stack(channels, axis=1), rate, subtype="FLOAT")
        assert np.abs(read_audio(tmp_path / "mix.wav")[:16_000] - expected).max() < 2e-3


def test_resampling_folds_nothing_back(tmp_path):
    """What lies above 8 kHz is inaudible afterwards, not an alias."""
    soundfile.write(tmp_path / "high.wav", tone(48_000, hz=11_000), 48_000)
    assert np.abs(read_audio(tmp_path / "high.wav")).max() < 1e-3


CONTAINERS = {
    "a.m4a": {"codec": "aac"},
    "b.mp4": {"codec": "aac", "rate": 48_000, "layout": "mono"},
    "c.webm": {"codec": "libopus", "rate": 48_000},
    "d.mkv": {"codec": "flac", "rate": 16_000},
    "e.MOV": {"codec": "pcm_s16le", "rate": 8000, "layout": "mono"},
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_containers_are_read_through_pyav(tmp_path, name):
    samples = read_audio(write_container(tmp_path / name, **CONTAINERS[name]))
    assert (samples.dtype, samples.ndim) == (np.float32, 1)
    assert samples.size == pytest.approx(16_000, abs=600)  # AAC fills its last frame
    loudness, pitch = loudness_and_pitch(samples)
    assert loudness == pytest.approx(0.4, rel=0.1)
    assert pitch == pytest.approx(440, abs=2)


def test_a_video_without_sound_is_told_so(tmp_path):
    path = write_container(tmp_path / "silent.mp4", None, video="mpeg4")
    with pytest.raises(AudioError, match="has no audio stream"):
        read_audio(path)


def test_an_unknown_codec_is_told_so(tmp_path):
    path = write_container(tmp_path / "a.mkv", "aac")
    path.write_bytes(path.read_bytes().replace(b"A_AAC", b"A_XYZ"))
    with pytest.raises(AudioError, match="no format that FFmpeg knows"):
        read_audio(path)


def test_a_title_in_another_encoding_does_no_harm(tmp_path):
    path = write_container(tmp_path / "a.m4a", "aac", title="Xaver")
    path.write_bytes(path.read_bytes().replace(b"Xaver", b"Caf\xe9\xff"))
    assert read_audio(path).size


def test_without_pyav_the_extra_is_named(tmp_path, monkeypatch):
    path = write_container(tmp_path / "a.m4a", "aac")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(BackendError, match="need PyAV") as caught:
        decode_file(path, 0.0)
    assert caught.value.exit_code == 4
    assert "containers" in caught.value.remedy


def refused(path, match):
    with pytest.raises(AudioError, match=match) as caught:
        read_audio(path)
    assert caught.value.exit_code == 2
    assert caught.value.place == str(path)
    assert caught.value.remedy
    assert "\n" not in caught.value.message
    assert str(path.parent) not in caught.value.message  # messages go into reports


@pytest.mark.parametrize("extension", ["wav", "flac", "mp3", "m4a", "webm", "txt", ""])
def test_empty_garbage_and_missing_files_are_refused(tmp_path, extension):
    path = tmp_path / f"file.{extension}"
    refused(path, "no such file")
    path.write_bytes(b"")
    refused(path, "empty file")
    path.write_bytes(b"This is no audio. " * 99)
    refused(path, "cannot be decoded")
    path.unlink()
    path.mkdir()
    refused(path, "no such file")


@pytest.mark.parametrize("name", ["clip.wav", "clip.mp3", *CONTAINERS])
def test_what_lasts_longer_than_asked_is_refused_before_it_is_all_decoded(tmp_path, monkeypatch, name):
    path = tmp_path / name

    def write(seconds):
        if name in CONTAINERS:
            write_container(path, **CONTAINERS[name], seconds=seconds)
        else:
            soundfile.write(path, tone(44_100, seconds), 44_100)

    write(30)
    assert read_audio(path, max_s=30).size == 480_000
    write(31)
    assert read_audio(path).size == pytest.approx(31 * 16_000, abs=600)
    monkeypatch.setattr(np, "concatenate", None)
    with pytest.raises(AudioError, match=r"lasts more than 30 s") as caught:
        read_audio(path, max_s=30)
    assert caught.value.place == str(path)
    assert "shorter" in caught.value.remedy


def test_a_headerless_file_is_refused(tmp_path):
    (tmp_path / "tone.raw").write_bytes(tone(16_000).tobytes())
    refused(tmp_path / "tone.raw", "cannot be decoded")


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_a_file_without_samples_is_refused(tmp_path, rate):
    soundfile.write(tmp_path / "nothing.wav", np.zeros(0), rate)
    refused(tmp_path / "nothing.wav", "holds no samples")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_finite_are_refused(tmp_path, value):
    samples = tone(16_000)
    samples[5000] = value
    soundfile.write(tmp_path / "a.wav", samples, 16_000, subtype="FLOAT")
    refused(tmp_path / "a.wav", "not finite")


def test_a_header_that_lies_about_its_length_is_refused(tmp_path):
    """STREAMINFO claims 2 ** 36 - 1 samples, 256 GiB."""
    path = tmp_path / "lie.flac"
    soundfile.write(path, tone(16_000), 16_000)
    content = bytearray(path.read_bytes())
    content[21] |= 0x0F
    content[22:26] = b"\xff" * 4
    path.write_bytes(content)
    refused(path, "cannot be decoded")


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3", "a.opus", "a.m4a", "a.webm"])
def test_damaged_files_are_read_or_refused_but_never_crash(tmp_path, name):
    path, extension = tmp_path / name, name[2:]
    if extension in FORMATS:
        soundfile.write(path, tone(16_000, 0.5), 16_000, **FORMATS[extension])
    else:
        write_container(path, {"m4a": "aac", "webm": "libopus"}[extension], rate=48_000)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for attempt in range(25):
        damaged = bytearray(whole[: rng.integers(1, len(whole))] if attempt % 2 else whole)
        for _ in range(rng.integers(1, 12)):
            damaged[rng.integers(min(len(damaged), 300))] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            samples = read_audio(path)
        except AudioError:
            continue
        assert np.isfinite(samples).all()
        assert samples.size
