from __future__ import annotations

import ctypes
import mmap
import subprocess
import sys

import numpy as np
import pytest

from fastwhisper_compress.evaluation import memory_probe
from fastwhisper_compress.evaluation.memory_probe import VideoMemory, peak_resident_bytes, resident_bytes

MB = 1_000_000


def test_resident_memory_follows_an_allocation_and_the_peak_stays():
    before = resident_bytes()
    # Pages of its own: the C allocator may take them from what it has kept of earlier tests, and keep them again.
    with mmap.mmap(-1, 100 * MB) as block:
        np.frombuffer(block, np.uint8)[:] = 1
        during = resident_bytes()
    assert 90 * MB < during - before < 130 * MB
    assert resident_bytes() < during - 80 * MB
    assert peak_resident_bytes() >= during - MB


def test_a_child_does_not_report_the_peak_of_a_large_parent():
    block = np.ones(300 * MB, dtype=np.uint8)
    code = "from fastwhisper_compress.evaluation.memory_probe import peak_resident_bytes as p; print(p())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert block[-1] == 1
    assert 5 * MB < int(done.stdout) < 100 * MB


@pytest.mark.skipif(sys.platform == "win32", reason="no getrusage")
def test_without_proc_the_numbers_come_from_elsewhere_and_agree(monkeypatch, tmp_path):
    peak, resident = peak_resident_bytes(), resident_bytes()
    monkeypatch.setattr(memory_probe, "_STATUS", tmp_path / "missing")
    assert peak_resident_bytes() >= 0.9 * peak
    assert resident_bytes() == pytest.approx(resident, rel=0.1)


class FakeDriver:
    """NVML as far as it is used: memory in use, in bytes, one value per look."""

    def __init__(self, used, failing=()):
        self.used = iter(used)
        self.failing = failing
        self.asked = []

    def nvmlInit_v2(self):  # noqa: N802
        return "init" in self.failing

    def nvmlDeviceGetCount_v2(self, count):  # noqa: N802
        count._obj.value = 4
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, index, device):  # noqa: N802
        self.asked.append(index.value)
        device._obj.value = 100 + index.value
        return "handle" in self.failing

    def nvmlDeviceGetHandleByUUID(self, uuid, device):  # noqa: N802
        self.asked.append(uuid)
        device._obj.value = 200
        return 0

    def nvmlDeviceGetMemoryInfo(self, device, memory):  # noqa: N802
        self.watched = device.value
        used = next(self.used)
        if used is None:
            return 15
        memory._obj[2] = used
        return 0


@pytest.fixture
def driver(monkeypatch):
    def install(*used, failing=(), visible=None):
        fake = FakeDriver(used, failing)
        monkeypatch.setattr(ctypes, "CDLL", lambda name: fake)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if visible is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        return fake

    return install


def test_video_memory_is_the_peak_above_the_start(driver):
    driver(1_000, 3_000, 9_000, 4_000)
    video = VideoMemory()
    for _ in range(3):
        video.sample()
    assert video.peak_bytes == 8_000


def test_a_failed_look_changes_nothing(driver):
    driver(1_000, 5_000, None)
    video = VideoMemory()
    video.sample()
    video.sample()
    assert video.peak_bytes == 4_000


@pytest.mark.parametrize(("visible", "watched"), [(None, 100), ("3,1", 103), ("GPU-ab12", 200)])
def test_the_first_visible_device_is_watched(driver, visible, watched):
    fake = driver(0, visible=visible)
    VideoMemory()
    assert fake.watched == watched


def test_hidden_devices_are_not_watched(driver):
    driver(0, visible="")
    assert VideoMemory().peak_bytes is None


@pytest.mark.parametrize("failing", ["init", "handle"])
def test_no_device_is_no_number(driver, failing):
    driver(failing=(failing,))
    video = VideoMemory()
    video.sample()
    assert video.peak_bytes is None


def test_no_driver_is_no_number(monkeypatch):
    def missing(name):
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert VideoMemory().peak_bytes is None
