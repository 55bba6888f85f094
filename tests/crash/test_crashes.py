"""Killed at every call and at any time, with a disk that fails at every call: complete and right, or absent."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from crash.job import Place, digest
from terminal import write_model

RESULT_IS_RIGHT = {"corrupt": 0, "wrong": 0, "rubbish": 0}


@pytest.fixture
def expected(tmp_path):
    """What an undisturbed job publishes."""
    place = Place(tmp_path / "expected")
    place.run()
    return digest(place.out)


def test_killed_five_hundred_times(loop):
    found = loop("--kills", 500)
    assert found["kills"] in (500, 501)
    assert found.items() >= RESULT_IS_RIGHT.items()


def test_the_loop_goes_on_after_the_rows_of_its_log(loop, tmp_path):
    log = tmp_path / "log"
    loop("--kills", 4, "--log", log)
    with log.open("a") as file:
        file.write('{"kills": 1, "corr')
    loop("--kills", 8, "--log", log)
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    assert [row["number"] for row in rows] == list(range(len(rows)))
    assert sum(row["kills"] for row in rows) in (8, 9)


def test_every_call_fails_with_every_error(loop):
    found = loop("--faults")
    assert found.items() >= RESULT_IS_RIGHT.items()
    assert {code.split()[0] for code in found["codes"]} == {"EIO", "ENOSPC", "EACCES"}
    assert sum(n for code, n in found["codes"].items() if code.endswith(" 6")) > 0.8 * found["faults"]


@pytest.mark.slow
@pytest.mark.timeout(1800)  # a kill and what goes on after it take about 16 s on two quiet cores
def test_the_command_line_killed_twenty_times(loop, tmp_path):
    found = loop("--kills", 20, "--model", write_model(tmp_path / "model"))
    assert found["kills"] >= 20
    assert found.items() >= RESULT_IS_RIGHT.items()


def test_files_that_may_not_grow(start, quick, expected):
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (6_000, 6_000))"
    process = start("place.run()", before=limit)
    _, err = process.communicate()
    assert process.returncode == 1
    assert "ResourceError" in err
    assert "File too large" in err
    place = Place(quick)
    assert place.contents() == {}
    place.run()
    assert digest(place.out) == expected


def test_a_small_disk_that_is_full(tmp_path, expected):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], capture_output=True, check=False)
    if mount.returncode:
        pytest.skip("may not mount a file system")
    try:
        place = Place(disk)
        (disk / "ballast").write_bytes(bytes(40_000))
        with pytest.raises(OSError, match="No space left") as caught:
            place.run()
        assert caught.value.exit_code == 6
        (disk / "ballast").unlink()
        place.clean()
        enough = subprocess.run(["mount", "-o", "remount,size=1m", disk], capture_output=True, check=False)
        assert enough.returncode == 0
        place.run()
        assert digest(place.out) == expected
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def test_eight_processes_and_a_cleaner_on_one_store(start, quick, expected):
    Path(quick, "runs").mkdir()
    cleaner = start("import time\nwhile True:\n    place.clean(unused_s=0)\n    time.sleep(0.01)")
    processes = [start(f"place.run(place.folder / 'runs' / 'out{i}', pause_s=0.05)") for i in range(8)]
    ended = [process.communicate() for process in processes]
    cleaner.kill()
    _, said = cleaner.communicate()
    assert [process.returncode for process in processes] == [0] * 8, ended
    assert not said
    assert [digest(quick / "runs" / f"out{i}") for i in range(8)] == [expected] * 8


def test_eight_processes_make_every_stage_once(start, quick, expected):
    processes = [start(f"place.run(place.folder / 'runs' / 'out{i}', pause_s=0.05)") for i in range(8)]
    ended = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0] * 8, ended
    assert sorted((quick / "made").read_text().split()) == ["rounded", "rows", "weights"]
    assert [digest(quick / "runs" / f"out{i}") for i in range(8)] == [expected] * 8
