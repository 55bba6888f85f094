"""What is said when memory has run out."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from fastwhisper_compress.checkpoint.known import KNOWN
from fastwhisper_compress.errors import OutOfMemoryError
from fastwhisper_compress.evaluation import memory_probe
from fastwhisper_compress.memory import limits
from fastwhisper_compress.pipeline.advice import with_advice
from fastwhisper_compress.recipe import load_recipe


@pytest.fixture
def artifact(tmp_path):
    """A function: recipe -> a folder with the part of a manifest that advice reads, for large-v3."""

    def artifact_(recipe):
        passes = [one.model_dump(mode="json", exclude={"only_on"}) for one in load_recipe(recipe).recipe.active]
        dims = asdict(KNOWN["openai/whisper-large-v3"])
        manifest = {"model": {"dims": dims}, "provider": "cpu", "passes": passes, "offload": "none", "modules": []}
        (tmp_path / "manifest.json").write_text(json.dumps(manifest))
        return tmp_path

    return artifact_


ERROR = OutOfMemoryError("out of memory while transcribing", remedy="r", requested_bytes=7)


def advised(artifact, monkeypatch, free):
    monkeypatch.setattr(limits, "available_bytes", lambda: free)
    monkeypatch.setattr(memory_probe, "resident_bytes", lambda: 60_000_000)  # other tests have been in this process
    return with_advice(ERROR, artifact)


def test_the_least_compressed_recipe_that_fits_is_named(artifact, monkeypatch):
    found = advised(artifact("fp32"), monkeypatch, 3_000_000_000)
    assert found.message.startswith("out of memory while transcribing; one clip needs about 7,")
    assert "can be had" in found.message
    assert "int8_" in found.remedy
    assert (found.requested_bytes, found.exit_code) == (7, 6)
    assert found.place == str(artifact("fp32"))


def test_where_nothing_fits_the_smallest_is_named(artifact, monkeypatch):
    assert "int" in advised(artifact("fp32"), monkeypatch, 1_000).remedy


def test_of_the_smallest_nothing_smaller_is_promised(artifact, monkeypatch):
    assert "no shipped recipe of this one is smaller" in advised(artifact("int4_qat"), monkeypatch, 1_000).remedy


def test_the_error_is_told_whatever_becomes_of_the_advice(tmp_path):
    found = with_advice(ERROR, tmp_path)
    assert (found.message, found.remedy) == (ERROR.message, "r")
