"""Recordings on the command line: any length, any trouble in the middle, and going on after a crash at any moment."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import hearing
import numpy as np
import pytest
import soundfile
from small_whisper import small_checkpoint, uniform_plan, write_artifact
from terminal import snapshot

from fastwhisper_compress.runtime.audio import read_audio

FORMATS = ("--format", "srt", "--format", "json", "--format", "txt")


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    """Something with a manifest; what would hear is put in its place."""
    checkpoint = small_checkpoint(11)
    folder = tmp_path_factory.mktemp("artifacts") / "english"
    write_artifact(checkpoint, uniform_plan(checkpoint.dims), folder)
    return folder


@pytest.fixture(scope="module")
def talks(tmp_path_factory, repository):
    """Two recordings of a minute and more of synthetic speech, with pauses, at a rate that is not the model's."""
    folder = tmp_path_factory.mktemp("talks")
    clips = [read_audio(path) for path in sorted((repository / "eval" / "demo").glob("*.opus"))[:16]]
    pause = np.zeros(48_000, np.float32)
    for name, chosen in (("long.flac", clips), ("short.wav", clips[:5])):
        samples = np.concatenate([part for clip in chosen for part in (clip, pause)])
        soundfile.write(folder / name, samples, 16_000)
    return [folder / "long.flac", folder / "short.wav"]


@pytest.fixture
def transcribe(cli, artifact, monkeypatch):
    """A function: files and options -> how it ended, with the quick model."""

    def transcribe_(*arguments):
        transcribe_.loaded = hearing.install(monkeypatch)
        return cli("transcribe", artifact, "--batch-size", 3, *arguments)

    return transcribe_


@pytest.fixture
def interrupted(transcribe, talks, monkeypatch, tmp_path):
    """A finished transcription of two recordings, and the journal as it was at the end: folder, journal."""
    kept = []
    remove = hearing.transcribe.Journal.remove

    def keep(journal):
        kept.append(journal.path.read_bytes())
        remove(journal)

    monkeypatch.setattr(hearing.transcribe.Journal, "remove", keep)
    done = transcribe(*talks, *FORMATS, "--out", tmp_path / "whole")
    assert (done.code, done.err) == (0, "")
    monkeypatch.undo()
    return tmp_path / "whole", kept[0]


def test_one_transcript_goes_to_stdout(transcribe, talks):
    done = transcribe(talks[0])
    assert done.code == 0
    assert transcribe.loaded.model.sizes[0] == 3
    assert len(done.out.splitlines()) == sum(transcribe.loaded.model.sizes)
    assert transcribe(talks[0], "--format", "vtt").out.startswith("WEBVTT\n\n00:00:0")
    both = transcribe(*talks).out.splitlines()
    assert [line.split(": ")[0] for line in both] == [str(path) for path in talks]
    assert both[0].split(": ")[1].split()[:2] == done.out.split()[:2]


def test_transcripts_in_a_folder(interrupted, talks):
    folder, journal = interrupted
    names = {f"{stem}.{suffix}" for stem in ("long", "short") for suffix in ("srt", "json", "txt")}
    assert set(snapshot(folder)) == names
    found = json.loads((folder / "long.json").read_text())
    assert found["file"] == str(talks[0])
    assert found["duration_s"] == pytest.approx(soundfile.info(talks[0]).duration, abs=0.01)
    assert (found["language"], found["mode"], found["timestamps"], found["gaps"]) == ("en", "packed", "segment", [])
    starts = [segment["start"] for segment in found["segments"]]
    assert starts == sorted(starts)
    ends = [segment["end"] for segment in found["segments"]]
    assert all(start < end <= found["duration_s"] for start, end in zip(starts, ends, strict=True))
    chapters = {json.loads(line).get("chapter_s") for line in journal.splitlines()[1:]}
    assert len(chapters - {None}) > 2, "the recording should be longer than a few chapters"


def test_it_goes_on_wherever_it_was_cut(interrupted, transcribe, talks, tmp_path):
    whole, journal = interrupted
    lines = journal.splitlines(keepends=True)
    edges = np.cumsum([0, *map(len, lines)])
    cuts = [0, 10, *edges[1:], *(edges[1:-1] + 25), len(journal) - 1]
    windows = []
    for number, cut in enumerate(cuts):
        folder = tmp_path / f"cut-{number}"
        folder.mkdir()
        (folder / "long.journal").write_bytes(journal[:cut])
        done = transcribe(*talks, *FORMATS, "--out", folder, "--resume")
        assert (done.code, done.err) == (0, "")
        assert snapshot(folder) == snapshot(whole), f"cut at {cut} of {len(journal)}"
        windows.append(sum(transcribe.loaded.model.sizes))
    of = sum('"end_s"' in line.decode() for line in lines)
    assert windows[0] == windows[1] == of
    assert min(windows) <= 2  # but for the last batch, which might have been meant to hold more


def test_a_killed_process_goes_on(artifact, talks, interrupted, tmp_path):
    whole, _ = interrupted
    out = tmp_path / "killed"
    arguments = ["transcribe", artifact, *talks, *FORMATS, "--out", out, "--batch-size", 3, "--resume"]
    command = [sys.executable, hearing.__file__, *map(str, arguments)]
    for lines in (2, 5):
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            deadline = time.monotonic() + 120
            while time.monotonic() < deadline and process.poll() is None:
                if (out / "long.journal").exists() and (out / "long.journal").read_bytes().count(b"\n") > lines:
                    break
                time.sleep(0.002)
            assert process.poll() is None
            os.kill(process.pid, signal.SIGKILL)
        assert (out / "long.journal").exists()
    subprocess.run(command, check=True, capture_output=True)
    assert snapshot(out) == snapshot(whole)  # a draft that it was killed over is gone too


def first_line_of(*arguments):
    """Run a command and read the first line of what it prints, as ``head -1`` does: line, exit code, stderr."""
    command = [sys.executable, hearing.__file__, "transcribe", *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8") as process:
        line = process.stdout.readline()
        process.stdout.close()
        return line, process.wait(timeout=240), process.stderr.read()


def test_with_a_folder_all_is_transcribed_though_nobody_reads(artifact, talks, tmp_path):
    out, missing = tmp_path / "out", tmp_path / "missing.wav"
    found = first_line_of(artifact, talks[1], talks[0], "--out", out)
    assert found == (f"{out / 'short.txt'}\n", 0, "")
    assert set(snapshot(out)) == {"short.txt", "long.txt"}
    line, code, err = first_line_of(artifact, talks[1], missing, "--out", out, "--batch-size", 1)
    assert (line, code) == (f"{out / 'short.txt'}\n", 2)
    assert f"error: {missing}" in err


def test_without_one_it_ends_when_nobody_reads(artifact, talks, tmp_path):
    line, code, err = first_line_of(artifact, talks[1], talks[0], tmp_path / "missing.wav")
    assert line.startswith(f"{talks[1]}: ")
    assert (code, err) == (0, "")


def test_one_window_after_the_other_needs_no_batch(cli, artifact, monkeypatch, tmp_path):
    """Where a recipe says auto, no memory is looked at and nothing said."""
    found = json.loads((artifact / "manifest.json").read_text()) | {"batch_size": "auto"}
    auto = tmp_path / "auto"
    shutil.copytree(artifact, auto)
    (auto / "manifest.json").write_text(json.dumps(found))
    hearing.install(monkeypatch)
    done = cli("transcribe", auto, tmp_path / "missing.wav", "--mode", "sequential")
    assert done.code == 2
    assert done.err.startswith(f"error: {tmp_path / 'missing.wav'}: no such file")


def test_a_journal_is_not_gone_on_with_by_mistake(interrupted, transcribe, talks, tmp_path):
    _, journal = interrupted
    (tmp_path / "out").mkdir()
    path = tmp_path / "out" / "long.journal"
    path.write_bytes(journal)

    def refused(*arguments):
        done = transcribe(*arguments, "--out", tmp_path / "out")
        done.refused(2, str(path))
        assert snapshot(tmp_path / "out") == {"long.journal": path.read_bytes()}
        return done.err

    assert "add --resume" in refused(*talks)
    assert "other files" in refused(talks[0], "--resume")
    assert "other options" in refused(*talks, *FORMATS, "--no-vad", "--resume")
    path.write_text("dear diary\n")
    assert "no journal" in refused(*talks, "--resume")
    path.write_text("dear diary")
    assert "no journal" in refused(*talks, "--resume")


def test_a_file_that_has_changed_is_not_gone_on_with(interrupted, transcribe, talks, tmp_path):
    _, journal = interrupted
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "long.journal").write_bytes(journal)
    times = talks[1].stat()
    os.utime(talks[1], ns=(times.st_atime_ns, times.st_mtime_ns + 1))
    try:
        done = transcribe(*talks, *FORMATS, "--out", tmp_path / "out", "--resume")
    finally:
        os.utime(talks[1], ns=(times.st_atime_ns, times.st_mtime_ns))
    done.refused(2, "other files", "repeat the command")


def test_what_cannot_be_written_is_refused_first(transcribe, talks, tmp_path):
    (tmp_path / "file").write_text("mine")
    transcribe(talks[0], "--out", tmp_path / "file").refused(2, "is a file")
    transcribe(talks[0], tmp_path / "long.mp3", "--out", tmp_path / "out").refused(2, "one name")
    transcribe(talks[0], "--resume").refused(2, "--resume", "--out")
    transcribe(*talks, "--format", "srt").refused(2, "--format", "--out")
    transcribe(talks[0], "--format", "srt", "--format", "vtt").refused(2, "--format", "--out")
    assert not (tmp_path / "out").exists()


def test_trouble_in_one_file_does_not_stop_the_others(transcribe, talks, tmp_path):
    content = bytearray(talks[0].read_bytes())
    middle = len(content) // 2
    content[middle : middle + 20_000] = bytes(20_000)
    torn = tmp_path / "torn.flac"
    torn.write_bytes(content)
    (tmp_path / "empty.wav").write_bytes(b"")
    files = [tmp_path / "missing.wav", torn, tmp_path / "empty.wav", talks[1]]
    done = transcribe(*files, "--json")
    assert done.code == 2
    assert f"error: {files[0]}: no such file" in done.err
    assert f"error: {files[2]}: cannot be decoded: empty file" in done.err
    first, second = done.json
    assert (first["file"], second["file"]) == (str(torn), str(talks[1]))
    (gap,) = first["gaps"]
    assert 0 < gap["start"] < gap["end"] < first["duration_s"]
    assert first["duration_s"] == pytest.approx(soundfile.info(talks[0]).duration, abs=1)
    assert f"{torn}: {gap['start']:.2f} to {gap['end']:.2f} s could not be decoded" in done.err
    assert max(segment["end"] for segment in first["segments"]) > gap["end"]
    assert second["gaps"] == []


def test_a_film_without_sound_and_a_silent_one(transcribe, tmp_path):
    av = pytest.importorskip("av")
    film = tmp_path / "film.mp4"
    with av.open(str(film), "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width = stream.height = 32
        for _ in range(3):
            for packet in stream.encode(av.VideoFrame(32, 32, "yuv420p")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    transcribe(film).refused(2, str(film), "has no audio stream")
    soundfile.write(tmp_path / "silence.wav", np.zeros(16_000 * 65), 16_000)
    done = transcribe(tmp_path / "silence.wav", "--json")
    assert (done.code, done.err) == (0, "")
    (found,) = done.json
    assert (found["text"], found["segments"], found["language"], found["duration_s"]) == ("", [], None, 65.0)
    assert transcribe.loaded.model.sizes == []
    transcribe(tmp_path / "silence.wav", "--no-vad")
    assert transcribe.loaded.model.sizes == [3]
