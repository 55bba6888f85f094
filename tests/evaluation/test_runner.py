from __future__ import annotations

import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from fastwhisper_compress.errors import ArtifactError, AudioError, AudioTooLongError, UsageError
from fastwhisper_compress.evaluation import runner
from fastwhisper_compress.evaluation.runner import finished_rows, transcribe_suite

UTTERANCES = [{"id": f"u{i}", "audio": f"{i}.wav", "sha256": None, "language": "de"} for i in range(4)]


class FakeModel:
    def __init__(self, failing=(), looping=()):
        self.heard = []
        self.failing = failing
        self.looping = looping

    def check(self, samples):
        if len(samples) in self.failing:
            raise AudioError("longer than 30 s")

    def transcribe_batch(self, clips, options):
        return [self.transcribe(samples, language=options.language) for samples in clips]

    def transcribe(self, samples, *, language):
        self.heard.append((len(samples), language))
        self.check(samples)
        return SimpleNamespace(
            text=f"text of {len(samples)}",
            tokens=np.array([len(samples), 7]),
            looped=len(samples) in self.looping,
            redone=len(samples) == 32_000,
        )


def read_audio(path):
    """Clip i has 16000 * (i + 1) samples; clip 2 is broken, those from 10 on are recordings."""
    number = int(path.stem)
    if number > 9:
        raise AudioTooLongError("lasts more than 30 s", place=str(path))
    if number == 2:
        raise AudioError("cannot be decoded", place=str(path))
    return np.zeros(16_000 * (number + 1), np.float32)


def recordings(utterances):
    for one in utterances:
        yield {"id": one["id"], "text": "long", "timeline": {"windows": []}}


def run(model, path, utterances=UTTERANCES):
    done = []
    resumed = transcribe_suite(
        model, read_audio, utterances, path, recordings=recordings, on_shrink=None, after_each=done.append
    )
    return resumed, done, [json.loads(line) for line in path.read_text().splitlines()]


def test_every_utterance_becomes_a_row(tmp_path):
    model = FakeModel()
    resumed, done, rows = run(model, tmp_path / "rows.jsonl")
    assert (resumed, done) == (0, [1, 2, 3, 4])
    assert [row["id"] for row in rows] == ["u0", "u1", "u2", "u3"]
    assert set(rows[0]) == {"id", "text", "tokens", "looped", "redone", "audio_s", "wall_s", "error", "timeline"}
    assert rows[1]["text"] == "text of 32000"
    assert rows[1]["tokens"] == [32_000, 7]
    assert (rows[1]["audio_s"], rows[1]["error"]) == (2.0, None)
    assert 0 < rows[1]["wall_s"] < 1
    assert {language for _, language in model.heard} == {"de"}


def test_broken_audio_is_a_row_with_its_error(tmp_path):
    _, _, rows = run(FakeModel(), tmp_path / "rows.jsonl")
    assert rows[2] == {
        "id": "u2",
        "text": "",
        "tokens": [],
        "looped": False,
        "redone": False,
        "audio_s": 0.0,
        "wall_s": 0.0,
        "error": "cannot be decoded",
        "timeline": None,
    }


def test_recordings_come_after_the_clips(tmp_path):
    mixed = [{"id": "r0", "audio": "10.wav", "sha256": None, "language": "de"}, *UTTERANCES[:2]]
    model = FakeModel()
    resumed, done, rows = run(model, tmp_path / "rows.jsonl", mixed)
    assert (resumed, done) == (0, [1, 2, 3])
    assert [(row["id"], row["timeline"]) for row in rows] == [("u0", None), ("u1", None), ("r0", {"windows": []})]
    assert [length for length, _ in model.heard] == [16_000, 16_000, 32_000]  # the warm-up is a clip
    assert run(FakeModel(), tmp_path / "rows.jsonl", mixed)[:2] == (3, [])


def test_a_row_tells_whether_decoding_was_stopped_in_a_loop(tmp_path):
    _, _, rows = run(FakeModel(looping=(32_000,)), tmp_path / "rows.jsonl")
    assert [row["looped"] for row in rows] == [False, True, False, False]


def test_audio_that_the_model_refuses_is_a_row_with_its_error(tmp_path):
    _, _, rows = run(FakeModel(failing=(64_000,)), tmp_path / "rows.jsonl")
    assert rows[3]["error"] == "longer than 30 s"


def test_the_first_clip_that_can_be_read_warms_up(tmp_path):
    model = FakeModel(failing=(64_000,))
    run(model, tmp_path / "rows.jsonl", [UTTERANCES[2], UTTERANCES[3], UTTERANCES[0]])
    assert [length for length, _ in model.heard] == [64_000, 16_000, 16_000]  # refused, warm-up, the row


def test_finished_rows_are_not_done_again(tmp_path):
    path = tmp_path / "rows.jsonl"
    run(FakeModel(), path, UTTERANCES[:2])
    before = path.read_bytes()
    model = FakeModel()
    resumed, done, rows = run(model, path)
    assert (resumed, done) == (2, [3, 4])
    assert path.read_bytes().startswith(before)
    assert [row["id"] for row in rows] == ["u0", "u1", "u2", "u3"]
    assert [length for length, _ in model.heard] == [16_000, 64_000]  # warm-up and the one readable clip left


@pytest.mark.parametrize("cut", [1, 2, 10, 40])
def test_a_line_cut_by_a_kill_is_dropped_and_done_again(tmp_path, cut):
    path = tmp_path / "rows.jsonl"
    _, _, whole = run(FakeModel(), path)
    path.write_bytes(path.read_bytes()[:-cut])
    assert [row["id"] for row in finished_rows(path)] == ["u0", "u1", "u2"]
    resumed, _, rows = run(FakeModel(), path)
    assert resumed == 3
    assert [row["id"] for row in rows] == [row["id"] for row in whole]


@pytest.mark.parametrize("damage", [b"\0\0\0\0\n", b"[1]\n", b'{"text": "x"}\n', b"\xff\n"])
def test_what_follows_a_damaged_line_is_not_trusted(tmp_path, damage):
    path = tmp_path / "rows.jsonl"
    run(FakeModel(), path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + damage + lines[1])
    assert [row["id"] for row in finished_rows(path)] == ["u0"]
    assert path.read_bytes() == lines[0]


def test_no_rows_yet(tmp_path):
    assert finished_rows(tmp_path / "none.jsonl") == []


def test_an_error_of_use_is_not_taken_for_broken_audio(tmp_path):
    class English(FakeModel):
        def transcribe(self, samples, *, language):
            raise UsageError("the model knows no German")

    with pytest.raises(UsageError, match="German"):
        run(English(), tmp_path / "rows.jsonl")


@pytest.mark.parametrize(
    ("raised", "kind", "code"),
    [
        (ArtifactError("no manifest", place="x", remedy="y"), "ArtifactError", 2),
        (MemoryError(), "OutOfMemoryError", 6),
        (RuntimeError("[ONNXRuntimeError] : std::bad_alloc"), "OutOfMemoryError", 6),
        (RuntimeError("Failed to allocate memory for requested buffer of size 9"), "OutOfMemoryError", 6),
    ],
)
def test_errors_become_an_event_and_an_exit_code(tmp_path, monkeypatch, raised, kind, code):
    def fail(spec, emit):
        raise raised

    monkeypatch.setattr(runner, "_measure", fail)
    spec = tmp_path / "spec.json"
    spec.write_text("{}")
    events = []
    assert runner.main(spec, events.append) == code
    assert events[0]["event"] == "error"
    assert events[0]["type"] == kind
    assert events[0]["remedy"]


def test_a_bug_is_not_dressed_up(tmp_path, monkeypatch):
    def fail(spec, emit):
        raise RuntimeError("a bug")

    monkeypatch.setattr(runner, "_measure", fail)
    (tmp_path / "spec.json").write_text("{}")
    with pytest.raises(RuntimeError, match="a bug"):
        runner.main(tmp_path / "spec.json", list)


def test_the_process_holds_only_what_transcribing_needs():
    code = (
        "import sys\n"
        "import fastwhisper_compress.evaluation.runner\n"
        "import fastwhisper_compress.runtime, fastwhisper_compress.runtime.audio\n"
        "heavy = 'torch transformers whisper jiwer rapidfuzz scipy pydantic ruamel matplotlib onnx'.split()\n"
        "print([name for name in heavy if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
