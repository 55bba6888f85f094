"""The present machine, and machines that are made up of files and a driver that is not there."""

# ruff: noqa: N802 - the functions of NVML have the names they have
from __future__ import annotations

import ctypes
import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fastwhisper_compress import nvml
from fastwhisper_compress.errors import BackendError
from fastwhisper_compress.memory import limits, local
from fastwhisper_compress.memory.bandwidth import measure_bandwidth
from fastwhisper_compress.memory.hardware import devices, find_device
from fastwhisper_compress.memory.processor import last_cache_bytes, read_processor
from fastwhisper_compress.resources import usable_cpus

GIB = 2**30
MEMINFO = "MemTotal:       16777216 kB\nMemFree:  1 kB\nMemAvailable:    8388608 kB\nHugePages_Total:       0\n"


@pytest.fixture
def system(tmp_path, monkeypatch):
    """A function that writes files below a root, which it returns; a process without a limit on its addresses."""
    monkeypatch.setattr(limits, "address_space", lambda: None)

    def write(**files):
        for name, text in ({"proc/meminfo": MEMINFO} | files).items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return lambda files=None: write(**(files or {}))


def test_the_present_machine_is_read_within_its_limits():
    host, *cards = local.this_machine()
    assert host.kind == "cpu"
    assert 0 < host.available_bytes <= host.memory_bytes
    assert host.reserved_bytes == host.memory_bytes - host.available_bytes
    assert host.fast_fp16 is False
    assert all(card.kind == "cuda" for card in cards)
    assert find_device("auto").name == "this-cpu"


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="only Linux lists extensions there")
def test_the_present_processor_has_what_the_system_says():
    flags = set(Path("/proc/cpuinfo").read_text().split())
    isa = read_processor().isa
    assert ("avx2" in isa) == ("avx2" in flags)
    assert ("avx512_vnni" in isa) == ("avx512_vnni" in flags)


def test_without_control_groups_memory_is_that_of_the_machine(system):
    root = system()
    assert limits.total_bytes(root) == 16 * GIB
    assert limits.available_bytes(root) == 8 * GIB
    assert limits.usable_cores(root) == len(usable_cpus())


@pytest.mark.parametrize(
    ("files", "total", "available"),
    [
        # Version 2: in a container of its own, deep in a tree, and under a path that only the host knows.
        ({"memory.max": f"{2 * GIB}", "memory.current": f"{GIB}"}, 2 * GIB, GIB),
        ({"memory.max": "max", "memory.current": f"{GIB}"}, 16 * GIB, 8 * GIB),
        ({"a/memory.max": f"{4 * GIB}", "a/memory.current": "0", "a/b/memory.max": "max"}, 4 * GIB, 4 * GIB),
        ({"a/memory.max": f"{4 * GIB}", "a/b/memory.max": f"{GIB}", "a/b/memory.current": "0"}, GIB, GIB),
        ({"memory.max": f"{2 * GIB}", "memory.current": f"{3 * GIB}"}, 2 * GIB, 0),
        ({"memory.max": f"{2 * GIB}"}, 2 * GIB, 8 * GIB),
        ({"memory.max": "", "memory.current": "many"}, 16 * GIB, 8 * GIB),
        ({"memory.max": f"{64 * GIB}", "memory.current": f"{GIB}"}, 16 * GIB, 8 * GIB),
        (
            {
                "memory.max": f"{2 * GIB}",
                "memory.current": f"{2 * GIB}",
                "memory.stat": f"anon 5\ninactive_file {GIB}\nactive_file 7\n",
            },
            2 * GIB,
            GIB,
        ),
    ],
)
def test_limits_of_version_2_control_groups(system, files, total, available):
    root = system({"proc/self/cgroup": "0::/a/b\n"} | {f"sys/fs/cgroup/{name}": text for name, text in files.items()})
    assert limits.total_bytes(root) == total
    assert limits.available_bytes(root) == available


@pytest.mark.parametrize(
    ("files", "total", "available"),
    [
        ({"a/memory.limit_in_bytes": f"{3 * GIB}", "a/memory.usage_in_bytes": f"{GIB}"}, 3 * GIB, 2 * GIB),
        ({"memory.limit_in_bytes": "9223372036854771712", "memory.usage_in_bytes": "1"}, 16 * GIB, 8 * GIB),
        (
            {
                "a/memory.limit_in_bytes": f"{3 * GIB}",
                "a/memory.usage_in_bytes": f"{3 * GIB}",
                "a/memory.stat": f"inactive_file {GIB}\ntotal_inactive_file {2 * GIB}\n",
            },
            3 * GIB,
            2 * GIB,
        ),
    ],
)
def test_limits_of_version_1_control_groups(system, files, total, available):
    root = system(
        {"proc/self/cgroup": "4:memory:/a\n1:cpu,cpuacct:/\n0::/\n"}
        | {f"sys/fs/cgroup/memory/{name}": text for name, text in files.items()}
    )
    assert limits.total_bytes(root) == total
    assert limits.available_bytes(root) == available


@pytest.mark.parametrize(
    ("groups", "files", "cores"),
    [
        ("0::/\n", {"cpu.max": "50000 100000"}, 0.5),
        ("0::/\n", {"cpu.max": "max 100000"}, None),
        ("0::/x\n", {"cpu.max": "25000 100000"}, 0.25),
        (
            "3:cpu,cpuacct:/\n",
            {"cpu,cpuacct/cpu.cfs_quota_us": "50000", "cpu,cpuacct/cpu.cfs_period_us": "100000"},
            0.5,
        ),
        ("3:cpuacct,cpu:/\n", {"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000"}, 0.5),
        ("3:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ("rubbish\n\n", {"cpu.max": ""}, None),
    ],
)
def test_a_quota_of_processor_time_counts_as_fewer_cores(system, groups, files, cores):
    root = system({"proc/self/cgroup": groups} | {f"sys/fs/cgroup/{name}": text for name, text in files.items()})
    assert limits.usable_cores(root) == (cores or len(usable_cpus()))


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit on addresses that is kept")
def test_a_limit_on_addresses_is_a_limit_on_memory():
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31))\n"
        "from fastwhisper_compress.memory import limits\n"
        "print(limits.total_bytes(), limits.available_bytes())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    total, available = map(int, done.stdout.split())
    assert total == 2**31
    assert 0 < available < 2**31


CPUINFO = "processor\t: 0\nvendor_id\t: {vendor}\ncpu family\t: {family}\nmodel name\t: Fast\ncpu MHz\t\t: 2000.5\nflags\t\t: {flags}\n"


@pytest.mark.parametrize(
    ("vendor", "family", "flags", "isa", "fp32", "int8"),
    [
        ("GenuineIntel", 6, "sse avx avx2 fma", ["avx2"], 32, 2),
        ("GenuineIntel", 6, "avx2 avx512f avx512_vnni", ["avx2", "avx512", "avx512_vnni"], 64, 4),
        ("AuthenticAMD", 25, "avx2 avx512f avx512_vnni", ["avx2", "avx512", "avx512_vnni"], 32, 4),
        ("GenuineIntel", 6, "avx2 avx_vnni", ["avx2", "avx_vnni"], 32, 4),
        ("GenuineIntel", 6, "avx2 avx512f amx_bf16 amx_int8", ["avx2", "avx512", "amx_int8", "amx_bf16"], 64, 32),
        ("GenuineIntel", 6, "sse2", [], None, None),
    ],
)
def test_rates_follow_from_extensions_and_clock(system, vendor, family, flags, isa, fp32, int8):
    root = system({"proc/cpuinfo": CPUINFO.format(vendor=vendor, family=family, flags=flags)})
    host = local.host(root)
    cores = limits.usable_cores(root)
    assert host.title == "Fast"
    assert host.isa == isa
    assert host.flops("fp32") == (None if fp32 is None else pytest.approx(cores * 2000.5e6 * fp32))
    assert host.flops("int8") == (None if int8 is None else pytest.approx(cores * 2000.5e6 * fp32 * int8))
    assert (host.flops("bf16") is not None) == ("amx_bf16" in isa)
    if fp32:
        assert host.sources["fp32"] == f"computed: {cores:g} cores x 2.00 GHz x {fp32}"


def test_the_largest_clock_counts_where_it_is_known(system):
    files = {"proc/cpuinfo": CPUINFO.format(vendor="", family="", flags="avx2")}
    files["sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq"] = "3500000"
    assert read_processor(system(files)).clock_hz == 3.5e9


def test_an_arm_processor_is_understood(system):
    processor = read_processor(system({"proc/cpuinfo": "processor : 0\nFeatures : fp asimd asimddp i8mm\n"}))
    assert processor.isa == ["neon", "dotprod", "i8mm"]
    assert processor.flops_per_cycle == 16
    assert processor.clock_hz is None
    assert processor.int8_factor() == ("i8mm", 8)


def test_a_system_without_proc_leaves_unknown_what_it_does_not_tell(tmp_path, monkeypatch):
    monkeypatch.setattr(local, "measure_bandwidth", lambda *_: None)
    host = local.host(tmp_path)
    assert host.memory_bytes > 0
    assert host.title
    assert host.isa is None
    assert host.bandwidth_bytes_per_s is None
    assert [host.flops(kind) for kind in ("fp32", "fp16", "bf16", "int8")] == [None] * 4
    assert set(host.why) == {"bandwidth_bytes_per_s", "fp32", "fp16", "bf16", "int8", "isa"}


def test_caches_are_counted_once_for_all_that_share_them(tmp_path):
    for cpu, (size, shared) in enumerate([("32768K", "0-1"), ("32768K", "0-1"), ("16M", "2")]):
        for level in ("index0", "index3"):
            folder = tmp_path / f"sys/devices/system/cpu/cpu{cpu}/cache/{level}"
            folder.mkdir(parents=True)
            (folder / "size").write_text("32K" if level == "index0" else size)
            (folder / "shared_cpu_list").write_text(shared)
    assert last_cache_bytes([0, 1], tmp_path) == 32 * 2**20
    assert last_cache_bytes([0, 1, 2], tmp_path) == 48 * 2**20
    assert last_cache_bytes([7], tmp_path) is None


def test_bandwidth_counts_what_is_read_and_what_is_written():
    ticks = itertools.count()
    # A clock on which every look is a second later, too slow for the patience; and one that stands still before.
    assert measure_bandwidth(0, GIB, 1, clock=lambda: float(next(ticks))) is None
    looks = itertools.chain([0.0] * 9, itertools.count(1.0))
    measured = measure_bandwidth(16 * 2**20, GIB, 2, clock=lambda: float(next(looks)))
    assert measured == 2 * 16 * 2**20
    assert measure_bandwidth(None, 10**6, 1) is None, "no room for the buffer"


class OldDriver:
    """NVML as the code calls it, before it told the width of the memory bus."""

    def __init__(self, cards):
        self.cards = cards

    def nvmlDeviceGetCount_v2(self, count):
        count._obj.value = len(self.cards)
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, index, handle):
        if index.value >= len(self.cards):
            return 2
        handle._obj.value = index.value + 1
        return 0

    def nvmlDeviceGetHandleByUUID(self, uuid, handle):
        found = [index for index, card in enumerate(self.cards) if card["uuid"] == uuid.decode()]
        handle._obj.value = found[0] + 1 if found else None
        return 0 if found else 6

    def _card(self, handle):
        return self.cards[handle.value - 1]

    def nvmlDeviceGetMemoryInfo(self, handle, memory):
        card = self._card(handle)
        memory._obj[:] = [card["total"], card["free"], card["total"] - card["free"]]
        return 0

    def nvmlDeviceGetName(self, handle, name, size):
        name.value = self._card(handle)["name"].encode()
        return 0

    def nvmlDeviceGetCudaComputeCapability(self, handle, major, minor):
        major._obj.value, minor._obj.value = self._card(handle)["capability"]
        return 0

    def nvmlDeviceGetMaxClockInfo(self, handle, kind, clock):
        assert kind.value == 2
        clock._obj.value = self._card(handle)["clock"]
        return 0


class Driver(OldDriver):
    """NVML as it is now."""

    def nvmlDeviceGetMemoryBusWidth(self, handle, width):
        width._obj.value = self._card(handle)["width"]
        return 0


T4 = {
    "name": "Tesla T4",
    "uuid": "GPU-1",
    "total": 15360 * 2**20,
    "free": 15000 * 2**20,
    "capability": (7, 5),
    "width": 256,
    "clock": 5001,
}
OTHER = T4 | {
    "name": "NVIDIA Unheard-of",
    "uuid": "GPU-2",
    "capability": (12, 0),
    "width": 0,
    "total": 8 * GIB,
    "free": 1,
}


@pytest.fixture
def driver(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def put(cards, kind=Driver):
        monkeypatch.setattr(local, "open_nvml", lambda: kind(cards))

    return put


def test_a_card_is_what_its_driver_says_and_for_the_rest_its_profile(driver):
    driver([T4, OTHER])
    card = find_device("auto", provider="cuda")
    profile = devices()["t4"]
    assert (card.name, card.title, card.kind) == ("this-gpu-0", "Tesla T4", "cuda")
    assert card.memory_bytes == 15360 * 2**20
    assert card.available_bytes == (15000 - 512) * 2**20  # the rest goes to the context of whoever uses it
    assert card.compute_capability == "7.5"
    assert card.bandwidth_bytes_per_s == pytest.approx(profile.bandwidth_bytes_per_s, rel=0.001)
    assert card.peak == profile.peak
    assert card.sources["fp16"].startswith("profile t4: NVIDIA T4 datasheet")
    assert card.sources["memory_bytes"] == "read from the driver"
    assert card.why == profile.why


def test_a_card_without_a_profile_has_no_figures_that_nobody_told(driver):
    driver([OTHER])
    card = local.detect("cuda")
    assert card.memory_bytes == 8 * GIB
    assert card.compute_capability == "12.0"
    assert [card.flops(kind) for kind in ("fp32", "fp16", "bf16", "int8")] == [None] * 4
    assert card.bandwidth_bytes_per_s is None
    assert card.fast_fp16 is True
    assert "no profile of 'NVIDIA Unheard-of'" in card.why["fp32"]


@pytest.mark.parametrize("name", [name for name, device in devices().items() if device.kind == "cuda"])
def test_the_compute_capability_tells_whether_fp16_is_fast(driver, name):
    capability = tuple(map(int, devices()[name].compute_capability.split(".")))
    driver([OTHER | {"capability": capability}])
    assert local.detect("cuda").fast_fp16 == devices()[name].fast_fp16


def test_a_driver_that_does_not_tell_the_bandwidth_leaves_it_to_the_profile(driver):
    driver([T4], OldDriver)
    assert local.detect("cuda").bandwidth_bytes_per_s == devices()["t4"].bandwidth_bytes_per_s


def test_all_cards_follow_the_host(driver):
    driver([T4, OTHER])
    assert [device.name for device in local.this_machine()] == ["this-cpu", "this-gpu-0", "this-gpu-1"]
    driver([T4 | {"free": 7}, OTHER])
    assert local.this_machine()[1].available_bytes == 0  # never less, though the context would not fit


@pytest.mark.parametrize(
    ("visible", "names"),
    [
        (None, ["Tesla T4", "NVIDIA Unheard-of"]),
        ("1", ["NVIDIA Unheard-of"]),
        ("1,0", ["NVIDIA Unheard-of", "Tesla T4"]),
        (" GPU-2 ", ["NVIDIA Unheard-of"]),
        ("GPU-3,0", []),
        ("0,-1,1", ["Tesla T4"]),
        ("7", []),
        ("", []),
    ],
)
def test_hidden_cards_are_not_seen(monkeypatch, driver, visible, names):
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [gpu.name for gpu in nvml.read_gpus(Driver([T4, OTHER]))] == names


def test_where_there_is_no_card_none_is_made_up(monkeypatch):
    def missing(name):
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert [device.kind for device in local.this_machine()] == ["cpu"]
    with pytest.raises(BackendError, match="no NVIDIA GPU") as caught:
        find_device("auto", provider="cuda", place="device")
    assert caught.value.place == "device"
    assert "t4" in caught.value.remedy


def test_a_plan_for_a_named_device_needs_no_array_library():
    code = (
        "import sys; from fastwhisper_compress.memory.hardware import find_device; find_device('t4'); find_device('auto')\n"
        "print({name.partition('.')[0] for name in sys.modules} & {'numpy', 'torch', 'onnxruntime', 'psutil'})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout.strip() == "set()" or sys.platform != "linux"
