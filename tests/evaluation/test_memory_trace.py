"""Peaks are those of whole processes, so each case runs in one of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap

import pytest

from fastwhisper_compress.evaluation.allocators import torch_memory
from fastwhisper_compress.evaluation.memory_timeline import MOST_IN_DETAIL, MOST_LATER, Point, Timeline, thin, with_peak
from fastwhisper_compress.evaluation.memory_trace import EXACT, SAMPLED, MemoryTrace

MB = 1_000_000
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's mark is Linux's")


def traced(body, clear_refs="/proc/self/clear_refs"):
    """Run ``body`` in a fresh process with a ``trace`` and a ``fill(megabytes)``; return the trace and the peak it gave."""
    code = (
        "import json, sys, time\n"
        "from pathlib import Path\n"
        "from fastwhisper_compress.evaluation.memory_trace import MemoryTrace\n"
        "def fill(megabytes): return b'x' * (megabytes * 1_000_000)\n"
        f"trace = MemoryTrace(clear_refs=Path({str(clear_refs)!r}))\n"
        f"{textwrap.dedent(body)}\n"
        "heavy = sorted({'numpy', 'psutil', 'onnxruntime', 'torch'} & set(sys.modules))\n"
        "print(json.dumps([trace.finish(), trace.peak_rss_bytes, heavy]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found, peak, heavy = json.loads(done.stdout)
    assert heavy == [] or sys.platform != "linux"
    return found, {one["phase"]: one for one in found["phases"]}, peak


BURST = """
trace("load")
held = fill(30)
trace("encode")
burst = fill(100)
del burst
trace("decode")
time.sleep(0.05)
trace("idle")
"""


@on_linux
def test_a_burst_shows_in_the_peak_of_its_phase_and_in_no_later_one():
    found, phases, peak = traced(BURST)
    assert found["method"] == EXACT
    before = phases["load"]["end_rss_bytes"]
    assert 98 * MB < phases["encode"]["peak_rss_bytes"] - before < 106 * MB
    assert phases["encode"]["end_rss_bytes"] - before < 5 * MB
    assert phases["decode"]["peak_rss_bytes"] - before < 5 * MB
    assert 28 * MB < before - phases["imports"]["end_rss_bytes"] < 36 * MB
    assert peak == phases["encode"]["peak_rss_bytes"]  # of the process, though the mark was reset since
    assert max(rss for _, rss, _ in found["timeline"]) == peak
    assert [found["phases"][phase]["phase"] for t, rss, phase in found["timeline"] if rss == peak] == ["encode"]


@on_linux
def test_a_peak_from_before_the_trace_belongs_to_the_imports():
    code = (
        "early = b'x' * 150_000_000; del early\n"
        "from fastwhisper_compress.evaluation.memory_trace import MemoryTrace\n"
        "trace = MemoryTrace(); trace('load')\n"
        "print(trace.peak_rss_bytes, *(one['peak_rss_bytes'] for one in trace.finish()['phases']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    whole, imports, load = map(int, done.stdout.split())
    assert whole == imports > 150 * MB
    assert load < 50 * MB


@on_linux
def test_what_was_written_and_what_is_mapped_stand_apart(tmp_path):
    weights = tmp_path / "weights"
    weights.write_bytes(b"w" * 40 * MB)
    body = f"""
    import mmap
    trace("load")
    file = open({str(weights)!r}, "rb")
    mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    total = sum(mapped[::4096])
    trace("encode")
    held = fill(25)
    trace("idle")
    """
    _, phases, _ = traced(body)
    assert 39 * MB < phases["load"]["file_bytes"] - phases["imports"]["file_bytes"] < 44 * MB
    assert phases["encode"]["file_bytes"] - phases["load"]["file_bytes"] < 2 * MB
    assert 24 * MB < phases["encode"]["anon_bytes"] - phases["load"]["anon_bytes"] < 30 * MB


@pytest.mark.parametrize("kind", ["missing", "refusing"])
def test_where_the_mark_cannot_be_reset_peaks_are_sampled_and_the_trace_says_so(tmp_path, kind):
    path = tmp_path / "clear_refs"
    if kind == "refusing":
        path = "/dev/full"  # opens, but fails every write
    found, phases, peak = traced(BURST.replace("del burst", "time.sleep(0.1)\ndel burst"), path)
    assert found["method"] == SAMPLED
    before = phases["load"]["end_rss_bytes"]
    assert 95 * MB < phases["encode"]["peak_rss_bytes"] - before < 110 * MB
    assert phases["decode"]["peak_rss_bytes"] - before < 10 * MB
    assert peak >= phases["encode"]["peak_rss_bytes"]


def test_visits_add_up_and_an_exception_leaves_the_phase_to_the_next_call():
    body = """
    trace("load")
    for clip in range(3):
        try:
            trace("encode")
            time.sleep(0.02)
            if clip == 1:
                raise MemoryError
            trace("decode")
        except MemoryError:
            pass
        trace("idle")
    """
    found, phases, _ = traced(body)
    entries = {name: one["entries"] for name, one in phases.items()}
    assert entries == {"imports": 1, "load": 1, "encode": 3, "decode": 2, "idle": 3}
    assert phases["encode"]["seconds"] >= 0.06
    times = [t for t, _, _ in found["timeline"]]
    assert times == sorted(times)
    assert found["detail_s"] == pytest.approx(times[-1], abs=1e-4)
    assert sum(one["seconds"] for one in phases.values()) == pytest.approx(times[-1], abs=0.01)


def test_the_first_clips_are_kept_in_detail_and_the_rest_stays_small():
    body = """
    trace("load")
    for clip in range(2000):
        for phase in ("log_mel", "encode", "prefill", "decode", "idle"):
            trace(phase)
    """
    found, phases, _ = traced(body)
    assert phases["encode"]["entries"] == 2000
    assert len(found["timeline"]) <= MOST_IN_DETAIL + MOST_LATER
    detailed = [phase for t, _, phase in found["timeline"] if t < found["detail_s"]]
    assert detailed.count(3) >= 9  # each of the first encodes
    assert found["timeline"][-1][0] > found["detail_s"]


def test_thinning_keeps_the_ends_and_every_high_point():
    points = [Point(0.1 * i, 1000 + i % 7, i % 3) for i in range(5000)]
    for at, rss in ((700, 9000), (701, 8000), (4000, 7000)):
        points[at] = points[at]._replace(rss_bytes=rss)
    kept = thin(points, 100)
    assert len(kept) <= 100
    assert {points[0], points[-1], points[700], points[4000]} <= set(kept)
    assert kept == sorted(kept)
    assert thin(points[:100], 100) == points[:100]
    assert thin(points[:1] * 500, 100) == points[:1]  # all at one moment


def test_a_long_run_is_held_in_bounded_memory():
    timeline = Timeline()
    for i in range(20_000):
        timeline.extend([Point(float(i), 5000 if i == 12_345 else 10, 0)])
        assert len(timeline._detail) <= 4 * MOST_IN_DETAIL + 1
    assert max(point.rss_bytes for point in timeline.points) == 5000


def test_a_peak_no_one_saw_is_put_where_it_was_seen_highest():
    begin, low, high = Point(1.0, 100, 2), Point(1.2, 150, 2), Point(1.4, 180, 2)
    assert with_peak([begin, low, high], 2.0, 200) == [begin, low, high._replace(rss_bytes=200)]
    assert with_peak([begin], 2.0, 200) == [begin, Point(1.5, 200, 2)]
    assert with_peak([begin, high], 2.0, 180) == [begin, high]


class FakeVideo:
    def __init__(self, used):
        self.used = iter(used)
        self.last = 0

    def sample(self):
        self.last = next(self.used, self.last)
        return self.last


def test_gpu_memory_is_part_of_each_phase(monkeypatch):
    monkeypatch.setattr(MemoryTrace, "_sample", lambda _: None)  # which would look at any time
    trace = MemoryTrace(FakeVideo([0, 0, 700, 900, 800]))
    for phase in ("load", "encode", "idle"):
        trace(phase)
    found = trace.finish()
    peaks = {one["phase"]: one["peak_vram_bytes"] for one in found["phases"]}
    assert peaks == {"imports": 0, "load": 700, "encode": 900, "idle": 900}
    assert len(found["timeline_vram_bytes"]) == len(found["timeline"])
    assert max(found["timeline_vram_bytes"]) == 900


@on_linux
def test_what_malloc_holds_without_use_is_told():
    body = """
    trace("load")
    blocks = [bytes(100_000) for _ in range(1000)]
    kept = blocks[::50]
    del blocks
    trace("idle")
    """
    found, phases, _ = traced(body)
    told = found["fragmentation"]
    if told["malloc"] is None:
        pytest.skip("not glibc")
    assert 0 <= told["malloc"]["unused_resident_bytes"] <= phases["idle"]["end_rss_bytes"]
    assert told["malloc"]["unused_bytes"] <= told["malloc"]["held_bytes"]
    assert told["malloc"]["unused_bytes"] > 60 * MB
    assert told["torch"] is None


def test_torch_is_asked_only_if_it_is_there(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert torch_memory() is None


def test_torch_that_is_there_is_asked(monkeypatch):
    class Cuda:
        is_initialized = staticmethod(lambda: True)
        memory_allocated = staticmethod(lambda: 60)
        memory_reserved = staticmethod(lambda: 100)
        max_memory_allocated = staticmethod(lambda: 90)

    monkeypatch.setitem(sys.modules, "torch", type("torch", (), {"cuda": Cuda}))
    assert torch_memory() == {"held_bytes": 100, "unused_bytes": 40, "peak_allocated_bytes": 90}
