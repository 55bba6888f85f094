"""Audio a second at a time: the same samples as in one go, gaps where they belong, pipes that stall or close."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile
from containers import write_container

from fastwhisper_compress.errors import AudioError, BackendError, StalledError, UsageError
from fastwhisper_compress.runtime.audio import read_audio
from fastwhisper_compress.runtime.audio_blocks import Gap, open_audio, open_stream
from fastwhisper_compress.runtime.audio_opening import decode_file

RATE = 16_000


def sweep(seconds, rate=RATE):
    """A tone that rises: every moment of it sounds different."""
    t = np.arange(round(seconds * rate)) / rate
    return (0.3 * np.sin(2 * np.pi * (200 + 1500 * t / seconds) * t)).astype(np.float32)


def busy_sweep(seconds):
    """One that no format stores in a few bytes."""
    return sweep(seconds) + np.random.default_rng(1).uniform(-0.1, 0.1, seconds * RATE).astype(np.float32)


def heard(path, **options):
    with open_audio(path, **options) as blocks:
        return np.concatenate([*blocks, np.zeros(0, np.float32)]), blocks


def shift_s(samples, original, at_s):
    """How much later than in the original a second of samples comes."""
    size = 1 << 19
    part = samples[round(at_s * RATE) :][:RATE]
    likeness = np.fft.irfft(np.fft.rfft(original, size) * np.conj(np.fft.rfft(part, size)))
    return at_s - likeness.argmax() / RATE


ENCODED = {
    "a.wav": {},
    "a.flac": {},
    "a.mp3": {"format": "MP3"},
    "a.ogg": {"format": "OGG", "subtype": "VORBIS"},
    "a.opus": {"format": "OGG", "subtype": "OPUS"},
}
MUXED = {"a.m4a": "aac", "a.webm": "libopus", "a.mkv": "flac"}


def write(path, samples, rate=RATE):
    if path.name in MUXED:
        return write_container(path, MUXED[path.name], rate=rate, samples=samples, layout="mono")
    soundfile.write(path, samples, rate, **ENCODED[path.name])
    return path


@pytest.mark.parametrize("name", [*ENCODED, *MUXED])
def test_blocks_are_short_and_make_up_the_recording(tmp_path, name):
    path = write(tmp_path / name, sweep(7.3, 48_000), 48_000)
    with open_audio(path) as opened:
        blocks = list(opened)
    assert opened.gaps == []
    assert opened.duration_s == pytest.approx(7.3, abs=0.1)
    assert all(block.dtype == np.float32 and block.flags.c_contiguous for block in blocks)
    assert max(map(len, blocks)) < 1.2 * RATE
    together = np.concatenate(blocks)
    assert together.size == pytest.approx(7.3 * RATE, abs=600)
    assert np.array_equal(together, read_audio(path))


@pytest.mark.parametrize("name", [*ENCODED, *MUXED])
def test_it_can_begin_anywhere(tmp_path, name):
    path = write(tmp_path / name, sweep(12))
    whole, _ = heard(path)
    late, blocks = heard(path, start_s=7.77)
    assert blocks.start_s == 7.77
    rounded = 8 if path.suffix in (".webm", ".mkv") else 0  # Matroska tells time in ms: half of one, in samples
    assert late.size == pytest.approx(whole.size - round(7.77 * RATE), abs=20)
    shifted = [whole[round(8.77 * RATE) + shift :][: 2 * RATE] for shift in range(-rounded, rounded + 1)]
    assert min(np.abs(late[RATE : 3 * RATE] - there).max() for there in shifted) < 0.02
    nothing, blocks = heard(path, start_s=13)
    assert nothing.size == 0
    assert blocks.gaps == []


@pytest.mark.parametrize("rate", [8000, 96_000])
def test_eight_channels_at_any_rate_become_one(tmp_path, rate):
    channels = np.stack([sweep(3, rate) * weight for weight in (8, 0, 0, 0, 0, 0, 0, 0)], axis=1) / 8
    soundfile.write(tmp_path / "a.wav", channels, rate, subtype="FLOAT")
    samples, _ = heard(tmp_path / "a.wav")
    assert samples.size == 3 * RATE
    assert np.abs(samples[1000:-1000] - sweep(3)[1000:-1000] / 8).max() < 0.01


@pytest.mark.parametrize("name", ["a.flac", "a.mp3", "a.ogg", "a.opus", "a.m4a", "a.webm", "a.mkv"])
@pytest.mark.parametrize("damage", ["noise", "zeros"])
def test_a_corrupt_middle_is_a_gap_and_the_rest_is_where_it_was(tmp_path, name, damage):
    if (name, damage) == ("a.mp3", "noise"):
        pytest.skip("libmpg123 may take noise for the start of another stream, and gives up")
    original = busy_sweep(20)
    path = write(tmp_path / name, original)
    content = bytearray(path.read_bytes())
    middle, count = len(content) // 2, len(content) // 10
    bad = np.random.default_rng(0).bytes(count) if damage == "noise" else bytes(count)
    content[middle : middle + count] = bad
    path.write_bytes(content)
    samples, blocks = heard(path)
    assert samples.size == pytest.approx(20 * RATE, abs=1200)
    (gap,) = blocks.gaps
    assert 6 < gap.start_s < 11
    assert 11 < gap.end_s < 16
    assert gap.end_s - gap.start_s > 1
    assert gap.reason
    inside = samples[round((gap.start_s + 0.1) * RATE) : round((gap.end_s - 0.1) * RATE)]
    assert not inside.any()
    late, _ = heard(path, start_s=17)
    for part, at_s, start_s in ((samples, 3, 0), (samples, 18, 0), (late, 1, 17)):
        assert shift_s(part, original, at_s) + start_s == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize("name", ["a.ogg", "a.opus"])
@pytest.mark.parametrize("page", ["middle", "last"])
def test_a_single_wrong_bit_in_an_ogg_page_is_a_gap(tmp_path, name, page):
    original = busy_sweep(20)
    path = write(tmp_path / name, original)
    content = bytearray(path.read_bytes())
    pages = [at for at in range(len(content)) if content[at : at + 4] == b"OggS"]
    at = pages[-1 if page == "last" else len(pages) // 2]
    content[at + 27 + content[at + 26] + 20] ^= 0x10
    path.write_bytes(content)
    samples, blocks = heard(path)
    (gap,) = blocks.gaps
    assert "page" in gap.reason
    assert gap.start_s > 8
    if page == "middle":
        assert 0.3 < gap.end_s - gap.start_s < 2
        assert not samples[round((gap.start_s + 0.1) * RATE) : round((gap.end_s - 0.1) * RATE)].any()
        assert shift_s(samples, original, 18) == pytest.approx(0, abs=0.05)
    else:
        assert gap.end_s == pytest.approx(samples.size / RATE, abs=0.1)
    with pytest.raises(AudioError, match="a page is damaged"):
        read_audio(path)


def test_what_stands_behind_the_pages_of_an_ogg_file_is_no_damage(tmp_path):
    path = write(tmp_path / "a.ogg", sweep(3))
    path.write_bytes(path.read_bytes() + b"TAG" + bytes(125))
    assert read_audio(path).size == pytest.approx(3 * RATE, abs=600)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3", "a.webm", "a.mkv"])
def test_a_truncated_recording_ends_with_a_gap(tmp_path, name):
    path = write(tmp_path / name, sweep(20))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    samples, blocks = heard(path)
    assert samples.size == pytest.approx(10 * RATE, rel=0.2)  # no silence up to an end that never came
    (gap,) = blocks.gaps
    assert gap.start_s == pytest.approx(samples.size / RATE, abs=0.01)
    assert gap.end_s == pytest.approx(20, abs=0.1)
    assert heard(path, start_s=15)[0].size == 0


def test_a_truncated_mp4_without_its_index_is_refused(tmp_path):
    path = write(tmp_path / "a.m4a", sweep(5))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(AudioError, match="cannot be decoded"):
        open_audio(path)


def test_a_torn_ogg_needs_pyav(tmp_path, monkeypatch):
    path = write(tmp_path / "a.ogg", busy_sweep(10))
    content = path.read_bytes()
    middle = len(content) // 2
    path.write_bytes(content[:middle] + content[middle + 6000 :])
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(BackendError, match="damaged Ogg files need PyAV"):
        decode_file(path, 0.0)


def test_samples_that_are_not_finite_are_a_gap(tmp_path):
    samples = sweep(5)
    samples[RATE - 100 : RATE + 200] = np.nan
    samples[RATE + 300] = np.inf
    samples[4 * RATE] = -np.inf
    soundfile.write(tmp_path / "a.wav", samples, RATE, subtype="FLOAT")
    found, blocks = heard(tmp_path / "a.wav")
    assert np.array_equal(found, np.where(np.isfinite(samples), samples, 0))
    reason = "holds samples that are not finite, or louder than any sound"
    assert blocks.gaps == [
        Gap(1 - 100 / RATE, 1 + 301 / RATE, reason),
        Gap(4.0, 4 + 1 / RATE, reason),
    ]
    _, blocks = heard(tmp_path / "a.wav", start_s=2.0)
    assert blocks.gaps == [Gap(4.0, 4 + 1 / RATE, reason)]


def test_random_bytes_among_floats_leave_samples_that_a_model_takes(tmp_path):
    """Most patterns of 32 bits are finite, and many of them are louder than anything: 48 kHz stereo adds them up, too."""
    samples = np.stack([sweep(6)] * 2, axis=1)[: 6 * RATE]
    soundfile.write(tmp_path / "a.wav", samples, 3 * RATE, subtype="FLOAT")
    content = bytearray((tmp_path / "a.wav").read_bytes())
    middle = len(content) // 2 // 8 * 8
    content[middle : middle + 4096] = np.random.default_rng(3).bytes(4096)
    (tmp_path / "a.wav").write_bytes(content)
    found, blocks = heard(tmp_path / "a.wav")
    assert np.abs(found).max() <= 1.01e6  # as far as a resampler overshoots
    assert [one.reason for one in blocks.gaps] == ["holds samples that are not finite, or louder than any sound"]
    assert abs(blocks.gaps[0].start_s - 1) < 0.1


def test_what_cannot_be_opened_is_told(tmp_path):
    for name, content, match in (
        ("gone.wav", None, "no such file"),
        ("empty.flac", b"", "empty file"),
        ("empty.webm", b"", "empty file"),
        ("note.wav", b"no audio" * 100, "cannot be decoded"),
        ("note.mp4", b"no audio" * 100, "cannot be decoded"),
    ):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(AudioError, match=match) as caught:
            open_audio(tmp_path / name)
        assert caught.value.place == str(tmp_path / name)
        assert caught.value.remedy
    with pytest.raises(AudioError, match="no audio stream"):
        open_audio(write_container(tmp_path / "silent.mp4", None, video="mpeg4"))
    soundfile.write(tmp_path / "nothing.wav", np.zeros(0), RATE)
    with pytest.raises(AudioError, match="holds no samples"):
        heard(tmp_path / "nothing.wav")


def test_memory_does_not_grow_with_the_recording(tmp_path):
    """Six minutes take what one does; held whole they would take 23 MB as samples, and more before."""
    program = (
        "import resource, sys; from fastwhisper_compress.runtime.audio_blocks import open_audio\n"
        "from fastwhisper_compress.runtime.audio_pool import POOL\n"
        "peaks = []\n"
        "for path in sys.argv[1:]:\n"
        "    with open_audio(path) as blocks: assert sum(map(len, blocks))\n"
        "    POOL.close()\n"
        "    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):\n"
        "        peaks.append(resource.getrusage(who).ru_maxrss)\n"
        "print(max(peaks[2] - peaks[0], peaks[3] - peaks[1]))"
    )
    paths = [tmp_path / "short.flac", tmp_path / "long.flac"]
    minute = sweep(60, 44_100)
    for path, minutes in zip(paths, (1, 6), strict=True):
        with soundfile.SoundFile(path, "w", 44_100, 1) as file:
            for _ in range(minutes):
                file.write(minute)
    run = subprocess.run(
        [sys.executable, "-c", program, *paths],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert int(run.stdout) < 5000  # KiB


def piped(content, *, close=True):
    """The reading end of a pipe that content is written to."""
    reading, writing = os.pipe()

    def fill():
        with os.fdopen(writing, "wb") as file:
            file.write(content)
            file.flush()
            if not close:
                done.wait(30)

    done = threading.Event()
    threading.Thread(target=fill, daemon=True).start()
    return os.fdopen(reading, "rb"), done


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [RATE, 8000])
def test_raw_pcm_is_heard_as_it_comes(rate, channels):
    stored = np.repeat(np.round(sweep(3, rate) * 32767).astype("<i2")[:, None], channels, axis=1)
    file, _ = piped(stored.tobytes() + b"\x01")  # it closes in the middle of a frame
    with file, open_stream(file, rate=rate, channels=channels) as opened:
        blocks = list(opened)
    assert opened.duration_s is None
    together = np.concatenate(blocks)
    assert together.size == 3 * RATE
    assert np.abs(together[500:-500] - sweep(3)[500:-500]).max() < (1e-4 if rate == RATE else 0.01)
    in_memory = list(open_stream(io.BytesIO(stored.tobytes()), rate=rate, channels=channels))
    assert np.abs(np.concatenate(in_memory) - together).max() < 1e-6


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3", "a.webm"])
def test_a_container_comes_through_a_pipe(tmp_path, name):
    original = sweep(5)
    path = write(tmp_path / name, original)
    file, _ = piped(path.read_bytes())
    with file, open_stream(file) as opened:
        samples = np.concatenate(list(opened))
    assert samples.size == pytest.approx(5 * RATE, abs=2000)
    assert shift_s(samples, original, 2) == pytest.approx(0, abs=0.08)


def test_a_stream_that_closes_in_the_middle_ends_there(tmp_path):
    content = write(tmp_path / "a.flac", sweep(10)).read_bytes()
    file, _ = piped(content[: len(content) // 2])
    with file, open_stream(file) as opened:
        samples = np.concatenate(list(opened))
    assert samples.size == pytest.approx(5 * RATE, rel=0.2)


@pytest.mark.parametrize("rate", [RATE, None])
def test_a_stream_that_stalls_is_heard_up_to_there(tmp_path, rate):
    samples = sweep(4)
    soundfile.write(tmp_path / "a.wav", samples, RATE)
    content = (tmp_path / "a.wav").read_bytes()
    file, done = piped(content[44:] if rate else content, close=False)
    found = []
    with file, open_stream(file, rate=rate, timeout_s=0.3, name="the microphone") as opened:
        with pytest.raises(StalledError, match="nothing more came") as caught:
            found.extend(opened)
        done.set()
    assert caught.value.place == "the microphone"
    assert isinstance(caught.value, TimeoutError)
    assert sum(map(len, found)) == 4 * RATE


def test_streams_that_are_no_audio_are_told():
    for content, match in ((b"This is no audio. " * 99, "no container that is known"), (b"", "nothing came")):
        with pytest.raises(AudioError, match=match):
            open_stream(io.BytesIO(content))
    with pytest.raises(AudioError, match="nothing came"):
        list(open_stream(io.BytesIO(b""), rate=RATE))
    with pytest.raises(AudioError, match="cannot be decoded"):
        list(open_stream(io.BytesIO(b"fLaC" + bytes(5000))))
    with pytest.raises(UsageError, match="0 Hz"):
        open_stream(io.BytesIO(b""), rate=0)
    for content, match in ((b"", "nothing came"), (b"RIFF\xff\xff\xff\xffWAVEfmt ", "nothing more came")):
        file, done = piped(content, close=False)
        with file, pytest.raises(StalledError, match=match):
            open_stream(file, timeout_s=0.2)
        done.set()
