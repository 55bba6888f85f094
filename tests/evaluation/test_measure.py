"""The measuring process is real here; only the model inside it is a stand-in (see conftest)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fastwhisper_compress.errors import (
    ArtifactError,
    AudioError,
    GateError,
    OutOfMemoryError,
    ProviderError,
    ResourceError,
    SuiteError,
    UsageError,
)
from fastwhisper_compress.evaluation.measure import compare, measure, restore
from fastwhisper_compress.evaluation.memory_trace import EXACT
from fastwhisper_compress.evaluation.suite import load_suite

MB = 1_000_000


def read(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_whole_measurement(artifact, suite):
    fake = artifact(texts={"u1": "a second sentence too", "u4": ""})
    progress = []
    evaluation = measure(
        fake.folder, suite, fake.rows, threads=1, on_progress=lambda done, of: progress.append((done, of))
    )
    assert progress == [(i, 5) for i in range(1, 6)]
    parts = evaluation.to_json()
    assert set(parts) == {"eval", "memory"}
    ev = parts["eval"]
    assert (ev["metric"], ev["n_utterances"], ev["n_ref_words"]) == ("wer", 5, 13)
    assert (ev["substitutions"], ev["deletions"], ev["insertions"]) == (0, 2, 1)
    assert ev["wer"] == pytest.approx(3 / 13)
    assert (ev["empty_outputs"], ev["repetition_loops"], ev["failed"]) == (1, 0, [])
    assert (ev["audio_s"], ev["threads"], ev["resumed_rows"]) == (5.0, 1, 0)
    assert ev["rtfx"] == pytest.approx(ev["audio_s"] / ev["wall_s"])
    memory = parts["memory"]
    assert 5 * MB < memory["rss_imports_bytes"] <= memory["rss_after_load_bytes"] <= memory["peak_rss_bytes"]
    assert memory["peak_rss_bytes"] < 80 * MB  # this test process, the parent, is larger
    assert memory["peak_vram_bytes"] is None
    phases = {one["phase"]: one for one in memory["trace"]["phases"]}
    entries = {name: one["entries"] for name, one in phases.items()}
    assert entries == {"imports": 1, "load": 1, "idle": 7, "encode": 6, "decode": 6}  # the first clip comes twice
    assert phases["load"]["end_rss_bytes"] == pytest.approx(memory["rss_after_load_bytes"], abs=MB)
    assert max(one["peak_rss_bytes"] for one in phases.values()) <= memory["peak_rss_bytes"]
    rows = read(fake.rows)
    assert rows[1] == {
        "id": "u1",
        "text": "a second sentence too",
        "tokens": [0, 1, 2, 3],
        "looped": False,
        "redone": False,
        "audio_s": 1.0,
        "wall_s": rows[1]["wall_s"],
        "error": None,
        "reference": "a second sentence",
        "substitutions": 0,
        "deletions": 0,
        "insertions": 1,
        "n_ref_words": 3,
        "speaker": "s1",
        "timeline": None,
    }
    assert fake.loads[0][:2] == ["1", "1"]  # threads of the model, and of the libraries under it
    assert [path.name for path in fake.rows.parent.iterdir()] == [fake.rows.name]


def test_memory_of_the_model_is_seen_and_memory_of_the_parent_is_not(artifact, suite):
    parent = np.ones(400 * MB, dtype=np.uint8)
    small, large = artifact("small"), artifact("large", hold_bytes=200 * MB)
    peaks = [
        measure(fake.folder, suite, fake.rows, threads=1).to_json()["memory"]["peak_rss_bytes"]
        for fake in (small, large)
    ]
    assert parent[-1] == 1
    assert 190 * MB < peaks[1] - peaks[0] < 230 * MB


def test_memory_of_a_phase_is_that_of_no_other_and_is_there_when_an_evaluation_is_reused(artifact, suite):
    fake = artifact(burst_bytes=100 * MB)
    evaluation = measure(fake.folder, suite, fake.rows, threads=1)
    memory = evaluation.to_json()["memory"]
    peaks = {one["phase"]: one["peak_rss_bytes"] for one in memory["trace"]["phases"]}
    assert memory["peak_rss_bytes"] >= peaks["encode"] > peaks["load"] + 95 * MB
    if memory["trace"]["method"] == EXACT:
        assert peaks["decode"] < peaks["load"] + 10 * MB
    assert restore(evaluation.to_json(), suite, fake.rows).to_json()["memory"] == memory


def test_failed_audio_is_listed_and_counts_as_deletions(artifact, suite):
    suite.utterances[2].audio.unlink()
    fake = artifact()
    evaluation = measure(fake.folder, suite, fake.rows, threads=1)
    ev = evaluation.to_json()["eval"]
    assert ev["failed"] == [{"id": "u2", "error": "no such file"}]
    assert (ev["deletions"], ev["n_ref_words"], ev["n_utterances"]) == (2, 13, 5)
    assert ev["empty_outputs"] == 0
    assert ev["audio_s"] == 4.0


def test_a_loop_that_decoding_cut_short_counts_as_one(artifact, suite):
    """The one round that is left looks like any text; a loop both cut short and still seen counts once."""
    fake = artifact(texts={"u1": "a a a a a a a a a a", "u2": "b b b b b b b b b b"}, looped=["u0", "u1"])
    evaluation = measure(fake.folder, suite, fake.rows, threads=1)
    assert [row.looped for row in evaluation.rows] == [True, True, False, False, False]
    assert [row["looped"] for row in read(fake.rows)] == [True, True, False, False, False]
    assert evaluation.repetition_loops == 3
    assert evaluation.to_json()["eval"]["repetition_loops"] == 3
    again = restore(evaluation.to_json(), suite, fake.rows)
    assert again.repetition_loops == 3
    plain = artifact("plain")
    baseline = measure(plain.folder, suite, plain.rows, threads=1)
    assert compare(baseline, evaluation)["loops_delta"] == 3


def test_a_clip_longer_than_the_model_hears_is_a_failed_row(artifact, suite):
    """The bound is given to read_audio, so that the clip is not decoded whole."""
    first, *others = suite.utterances
    long = replace(first, audio=first.audio.rename(first.audio.with_name("long.wav")))
    fake = artifact()
    ev = measure(fake.folder, replace(suite, utterances=(long, *others)), fake.rows, threads=1).to_json()["eval"]
    assert ev["failed"] == [{"id": "u0", "error": "lasts more than 30 s"}]


def test_only_failed_audio_is_an_error(artifact, suite):
    fake = artifact()
    for one in suite.utterances:
        one.audio.unlink()
    with pytest.raises(AudioError, match="not one of 5 clips could be transcribed; the first: no such file"):
        measure(fake.folder, suite, fake.rows, threads=1)


def test_a_suite_without_reference_words_is_refused_before_anything_runs(artifact, manifest):
    fake = artifact()
    silent = load_suite(str(manifest([{"audio_filepath": "a.wav", "text": "[noise]"}])))
    with pytest.raises(SuiteError, match="no reference has a word"):
        measure(fake.folder, silent, fake.rows)
    assert not fake.rows.parent.exists()


def test_a_folder_that_is_no_artifact(tmp_path, suite):
    with pytest.raises(ArtifactError, match=r"manifest\.json cannot be read"):
        measure(tmp_path / "nothing", suite, tmp_path / "rows.jsonl")


@pytest.mark.parametrize("kind", [ArtifactError, ProviderError, GateError])
def test_an_error_in_the_process_arrives_with_its_class_place_and_remedy(artifact, suite, kind):
    fake = artifact(error=kind.__name__)
    with pytest.raises(kind, match="told to fail") as caught:
        measure(fake.folder, suite, fake.rows, threads=1)
    assert (caught.value.place, caught.value.remedy) == ("here", "there")


def test_too_little_memory_is_a_resource_error(artifact, suite):
    fake = artifact(memory=True)
    with pytest.raises(ResourceError, match="out of memory while") as caught:
        measure(fake.folder, suite, fake.rows, threads=1)
    assert caught.value.exit_code == 6


def test_a_bug_in_the_process_shows_its_traceback(artifact, suite):
    fake = artifact(bug_at_call=3)
    with pytest.raises(RuntimeError, match=r"(?s)after utterance 1 of 5 with exit code 1.*KeyError: 'a bug'"):
        measure(fake.folder, suite, fake.rows, threads=1)


def test_a_killed_process_is_a_resource_error_and_the_next_run_goes_on(artifact, suite):
    fake = artifact(die_at_call=5)  # the warm-up is the first call
    with pytest.raises(ResourceError, match="killed by signal 9, probably out of memory") as caught:
        measure(fake.folder, suite, fake.rows, threads=1)
    assert caught.value.place == "after utterance 3 of 5"
    kept = fake.rows.read_bytes()
    assert kept.count(b"\n") == 3
    fake.rows.write_bytes(kept + b'{"id": "u3", "te')  # as if killed while writing

    evaluation = measure(fake.folder, suite, fake.rows, threads=1)  # three calls: warm-up, u3, u4
    assert evaluation.resumed_rows == 3
    assert evaluation.to_json()["eval"]["resumed_rows"] == 3
    assert [row.id for row in evaluation.rows] == ["u0", "u1", "u2", "u3", "u4"]
    assert evaluation.counts.errors == 0


@pytest.mark.parametrize("change", ["artifact", "suite", "threads", "backend"])
def test_rows_that_belong_to_something_else_are_thrown_away(artifact, suite, change):
    fake = artifact(die_at_call=5)
    with pytest.raises(ResourceError):
        measure(fake.folder, suite, fake.rows, threads=1)
    fake.rows.write_text(json.dumps({"id": "u0", "text": "stale"}) + "\n")
    if change == "artifact":
        fake.tell()
    if change == "suite":
        suite = replace(suite, utterances=suite.utterances[:3])
    if change in ("threads", "backend"):
        other = {"threads": 2} if change == "threads" else {"threads": 1, "backend": "openvino"}
        with pytest.raises(ResourceError):  # it dies again, having begun anew
            measure(fake.folder, suite, fake.rows, **other)
        assert fake.loads[-1][3] == other.get("backend", "onnxruntime")
    else:
        assert measure(fake.folder, suite, fake.rows, threads=1).resumed_rows == 0
    assert read(fake.rows)[0]["text"] == "the first one"


def test_a_finished_measurement_is_not_taken_for_an_interrupted_one(artifact, suite):
    fake = artifact()
    measure(fake.folder, suite, fake.rows, threads=1)
    again = measure(fake.folder, suite, fake.rows, threads=1)
    assert again.resumed_rows == 0
    assert len(fake.loads) == 2


def test_an_error_in_the_caller_stops_the_process_and_keeps_the_rows(artifact, suite):
    fake = artifact(sleep_s=0.2)

    def interrupt(done, of):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure(fake.folder, suite, fake.rows, threads=1, on_progress=interrupt)
    assert not alive(int(fake.loads[0][2]))
    kept = fake.rows.read_bytes().count(b"\n")
    assert kept >= 2
    evaluation = measure(fake.folder, suite, fake.rows, threads=1)
    assert evaluation.resumed_rows == kept
    assert evaluation.counts.errors == 0


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_ends_both_processes_and_keeps_the_rows(artifact, suite, tmp_path):
    fake = artifact(sleep_s=0.3)
    code = (
        "import sys; from pathlib import Path\n"
        "from fastwhisper_compress.evaluation.measure import measure\n"
        "from fastwhisper_compress.evaluation.suite import load_suite\n"
        "try:\n"
        "    measure(Path(sys.argv[1]), load_suite(sys.argv[2]), Path(sys.argv[3]), threads=1)\n"
        "except KeyboardInterrupt:\n"
        "    sys.exit(130)\n"
    )
    command = [sys.executable, "-c", code, str(fake.folder), str(tmp_path / "suite.jsonl"), str(fake.rows)]
    parent = subprocess.Popen(command, start_new_session=True)
    deadline = time.monotonic() + 20
    while not (fake.rows.exists() and fake.rows.read_bytes().count(b"\n") >= 1) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(parent.pid, signal.SIGINT)  # what a terminal does: the signal goes to the whole group
    assert parent.wait(10) == 130
    assert not alive(int(fake.loads[0][2]))
    kept = fake.rows.read_bytes().count(b"\n")
    assert 1 <= kept < 5
    assert measure(fake.folder, suite, fake.rows, threads=1).resumed_rows == kept


def test_the_process_does_not_outlive_a_killed_parent(artifact, suite, tmp_path):
    fake = artifact(sleep_s=0.3)
    code = (
        "import sys; from pathlib import Path\n"
        "from fastwhisper_compress.evaluation.measure import measure\n"
        "from fastwhisper_compress.evaluation.suite import load_suite\n"
        "measure(Path(sys.argv[1]), load_suite(sys.argv[2]), Path(sys.argv[3]), threads=1)\n"
    )
    command = [sys.executable, "-c", code, str(fake.folder), str(tmp_path / "suite.jsonl"), str(fake.rows)]
    parent = subprocess.Popen(command)
    deadline = time.monotonic() + 20
    while not (fake.rows.exists() and fake.rows.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.02)
    parent.kill()
    parent.wait()
    child = int(fake.loads[0][2])
    deadline = time.monotonic() + 5
    while alive(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(child)


def alive(pid):
    """A zombie that nobody has reaped yet is not alive."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_stray_module_in_the_working_folder_is_not_imported(artifact, suite, tmp_path, monkeypatch):
    (tmp_path / "json.py").write_text("raise SystemExit('stray')")
    monkeypatch.chdir(tmp_path)
    fake = artifact()
    assert measure(fake.folder, suite, fake.rows, threads=1).counts.errors == 0


# ---------------------------------------------------------------------------------------------------------- comparing


@pytest.fixture
def pair(artifact, suite):
    """Measure a good and a worse model on the same suite."""
    good = artifact("good")
    worse = artifact("worse", texts={"u0": "", "u1": "a a a a a a a a a a", "u3": "and a forth"}, hold_bytes=50 * MB)
    return tuple(measure(fake.folder, suite, fake.rows, threads=1) for fake in (good, worse))


def test_comparison_gives_the_delta_part(pair):
    baseline, candidate = pair
    delta = compare(baseline, candidate)
    assert set(delta) == {
        "wer_delta_pp",
        "ci95_pp",
        "ci95_by_speaker_pp",
        "n_speakers",
        "share_no_worse",
        "insertions_delta",
        "empty_delta",
        "loops_delta",
        "identical",
        "unit",
        "n_units",
        "statement",
        "rss_saved_pct",
        "rtfx_ratio",
        "recordings",
    }
    assert delta["wer_delta_pp"] == pytest.approx(100 * (3 + 9 + 1) / 13)
    assert (delta["share_no_worse"], delta["n_units"], delta["n_speakers"]) == (0.4, 5, 2)
    assert (delta["insertions_delta"], delta["empty_delta"], delta["loops_delta"]) == (7, 1, 1)
    assert delta["identical"] is False
    low, high = delta["ci95_pp"]
    assert low < delta["wer_delta_pp"] < high
    assert delta["rss_saved_pct"] < -100
    assert delta["rtfx_ratio"] == pytest.approx(candidate.rtfx / baseline.rtfx)
    json.dumps(delta, allow_nan=False)


def test_a_model_against_itself_shows_no_difference(pair):
    baseline, _ = pair
    delta = compare(baseline, baseline)
    assert delta["identical"] is True
    assert delta["ci95_pp"] is None
    assert delta["statement"].startswith("no difference seen in 5 utterances: all transcripts are identical")


def test_transcripts_that_differ_in_writing_alone_are_not_identical(pair):
    baseline, _ = pair
    rewritten = replace(baseline, rows=(replace(baseline.rows[0], text="The first one!"), *baseline.rows[1:]))
    delta = compare(baseline, rewritten)
    assert delta["identical"] is False
    assert "1 transcripts differ, none in its number of errors" in delta["statement"]


def test_different_utterances_or_another_suite_cannot_be_compared(pair):
    baseline, candidate = pair
    for other in (replace(candidate, rows=candidate.rows[:-1]), replace(candidate, suite_digest="sha256:other")):
        with pytest.raises(UsageError, match="different utterances"):
            compare(baseline, other)


def test_an_evaluation_comes_back_from_its_parts_and_rows(artifact, suite):
    fake = artifact(texts={"u1": "a sentence"})
    evaluation = measure(fake.folder, suite, fake.rows, threads=1)
    parts = json.loads(json.dumps(evaluation.to_json()))
    again = restore(parts, suite, fake.rows)
    assert again.to_json() == parts
    assert again.rows == evaluation.rows
    assert compare(evaluation, again)["identical"] is True
    fake.rows.write_text("")
    with pytest.raises(UsageError, match="5 of 5 utterances have no row"):
        restore(parts, suite, fake.rows)


def test_a_batch_that_does_not_fit_becomes_smaller_and_the_result_says_so(artifact, suite):
    fake, told = artifact(most_clips=2), []
    found = measure(fake.folder, suite, fake.rows, batch_size=4, on_shrink=lambda *step: told.append(step))
    assert told == [(4, 2)]
    figures = found.to_json()["eval"]
    assert (figures["batch_size"], figures["batch_size_used"], figures["recoveries"]) == (4, 2, [[4, 2]])
    assert [row.text for row in found.rows] == [one.text for one in suite.utterances]
    assert restore(found.to_json(), suite, fake.rows).to_json() == found.to_json()


def test_too_little_memory_for_one_clip_tells_what_was_asked_for(artifact, suite):
    fake = artifact(most_clips=0)
    with pytest.raises(OutOfMemoryError, match=r"1\.0 MB more were refused") as caught:
        measure(fake.folder, suite, fake.rows, batch_size=4)
    assert (caught.value.requested_bytes, caught.value.exit_code) == (1_000_000, 6)


def test_rows_of_another_batch_size_are_not_taken_over(artifact, suite):
    fake = artifact(bug_at_call=4)
    with pytest.raises(RuntimeError):
        measure(fake.folder, suite, fake.rows, batch_size=1)
    fake.tell()
    assert measure(fake.folder, suite, fake.rows, batch_size=2).resumed_rows == 0
