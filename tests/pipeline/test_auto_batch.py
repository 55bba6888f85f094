"""`auto` becomes a number when a job begins, and is told; a number stays what it is."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from fastwhisper_compress.checkpoint.known import KNOWN
from fastwhisper_compress.errors import BackendError
from fastwhisper_compress.pipeline import auto_batch
from fastwhisper_compress.pipeline.auto_batch import settle_batch


@pytest.fixture
def artifact(tmp_path):
    """A function: provider -> a folder with the part of a manifest that the estimate reads."""

    def artifact_(provider):
        dims = asdict(KNOWN["openai/whisper-large-v3"])
        manifest = {"model": {"dims": dims}, "provider": provider, "passes": [], "offload": "none", "modules": []}
        (tmp_path / "manifest.json").write_text(json.dumps(manifest))
        return tmp_path

    return artifact_


def test_a_number_is_taken_as_it_is(tmp_path):
    assert settle_batch(7, [tmp_path / "nowhere"], threads=None, tell=pytest.fail) == (7, None)


def test_auto_follows_the_memory_that_is_free(artifact, monkeypatch):
    said, sizes = [], []
    for free in (10, 15, 40):
        monkeypatch.setattr(auto_batch, "available_bytes", lambda free=free: free * 10**9)
        size, choice = settle_batch("auto", [artifact("cpu")], threads=2, tell=said.append)
        sizes.append(size)
        assert (choice.batch_size, str(choice)) == (size, said[-1])
    assert 1 <= sizes[0] < sizes[1] < sizes[2] == 16


def test_without_a_gpu_that_tells_a_number_is_asked_for(artifact, monkeypatch):
    monkeypatch.setattr(auto_batch, "read_gpus", lambda nvml: iter(()))
    with pytest.raises(BackendError, match="free memory") as caught:
        settle_batch("auto", [artifact("cuda")], threads=2, tell=pytest.fail)
    assert "number" in caught.value.remedy
