"""A real limit of the address space: the run goes on with smaller batches, or ends with a sentence; it never crashes."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from small_whisper import recipe_plan, write_artifact

from fastwhisper_compress.checkpoint.open import open_checkpoint
from fastwhisper_compress.recipe import load_recipe

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the system must keep to RLIMIT_AS and tell VmPeak")

CHILD = """
import resource, sys
from pathlib import Path
limit = int(sys.argv.pop(1))
if limit:
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
from fastwhisper_compress.cli import main
try:
    main()
finally:
    sys.stderr.write(next(line for line in open("/proc/self/status") if line.startswith("VmPeak")))
"""
RECOVERED = re.compile(r"out of memory at (\d+) clips: going on with (\d+)")


def transcribe(folder, clips, limit=0, batch_size=8):
    """Run the command in a fresh process whose address space is limited (0: is not)."""
    command = [sys.executable, "-c", CHILD, limit, "transcribe", folder, *clips]
    options = ["--batch-size", batch_size, "--threads", 2]
    return subprocess.run([*map(str, [*command, *options])], capture_output=True, text=True, check=False)


def peak_bytes(done):
    return 1024 * int(re.search(r"VmPeak:\s+(\d+) kB", done.stderr)[1])


def descent(tmp_path, repository, recipe, factor):
    """Run under limits that sink from what eight clips need; yields what became of each, as it should be."""
    checkpoint = open_checkpoint("openai/whisper-tiny.en")
    compressed = recipe_plan(checkpoint, load_recipe(recipe).recipe)
    write_artifact(compressed.checkpoint, compressed.plan, tmp_path / recipe)
    clips = sorted((repository / "eval" / "demo").glob("*.opus"))[:8]
    free = transcribe(tmp_path / recipe, clips)
    assert free.returncode == 0, free.stderr
    assert not RECOVERED.search(free.stderr)
    limit = peak_bytes(free)
    while True:
        limit = round(factor * limit)
        done = transcribe(tmp_path / recipe, clips, limit)
        assert done.returncode in (0, 6), (limit, done.returncode, done.stderr)  # negative: killed by a signal
        assert "Traceback" not in done.stderr
        if done.returncode == 0:
            assert done.stdout == free.stdout
        else:
            assert "error: " in done.stderr
            assert "out of memory" in done.stderr
        yield done


def test_a_run_goes_on_with_smaller_batches(tmp_path, repository):
    for done in descent(tmp_path, repository, "fp32", 0.9):
        assert done.returncode == 0, done.stderr
        if steps := RECOVERED.findall(done.stderr):
            break
    assert steps[0] == ("8", "4")
    assert steps == [("8", "4"), ("4", "2"), ("2", "1")][: len(steps)]


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["fp32", "int8_dynamic"])
def test_with_too_little_for_one_clip_it_ends_with_a_sentence(tmp_path, repository, recipe):
    recovered = 0
    for done in descent(tmp_path, repository, recipe, 0.9):
        if done.returncode == 6:
            break
        recovered += bool(RECOVERED.search(done.stderr))
    assert recovered
    assert re.search(r"error: .*the address space is limited to \d+ MB", done.stderr)
