"""Offloading changes what is in memory, and nothing that comes out."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from small_whisper import SCHEMES, small_checkpoint, speech_like, uniform_plan, write_artifact

from fastwhisper_compress.emit import split
from fastwhisper_compress.errors import ArtifactError, FastWhisperError, ProviderError, UnsafeInputError, UsageError
from fastwhisper_compress.runtime import load_artifact

CLIPS = [speech_like(0.5, seed) for seed in range(3)]
PROMPT, TOKENS = (257, 270), (10, 20, 30, 40)


@pytest.fixture(scope="module")
def checkpoint():
    return small_checkpoint(5, encoder_layers=2, decoder_layers=2)


@pytest.fixture(scope="module")
def streamed_folder(checkpoint, tmp_path_factory):
    """An FP32 artifact in parts, its logits in several bands."""
    folder = tmp_path_factory.mktemp("offload") / "artifact"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(split, "LOGITS_BAND_BYTES", 4 * checkpoint.dims.d_model * 96)
        write_artifact(checkpoint, uniform_plan(checkpoint.dims), folder, offload="layers")
    return folder


@pytest.fixture
def edited(streamed_folder, tmp_path):
    """A function that changes the manifest of a copy and returns the copy."""

    def edited_(change):
        folder = shutil.copytree(streamed_folder, tmp_path / "artifact")
        manifest = json.loads((folder / "manifest.json").read_text())
        change(manifest)
        (folder / "manifest.json").write_text(json.dumps(manifest))
        return folder

    return edited_


def assert_same(folder, mode, *, exact=True):
    plain, other = load_artifact(folder, threads=2, offload="none"), load_artifact(folder, threads=2, offload=mode)
    assert other.offload == mode
    for clips in (CLIPS[:1], CLIPS):
        before, after = plain.transcribe_batch(clips), other.transcribe_batch(clips)
        assert [one.tokens for one in after] == [one.tokens for one in before]
        assert before[0].tokens
    encoded = [one.encode(CLIPS[:1], hidden=True) for one in (plain, other)]
    logits = [one.forced_logits(e, PROMPT, TOKENS) for one, e in zip((plain, other), encoded, strict=True)]
    tolerance = 0 if exact else 2e-5
    np.testing.assert_allclose(encoded[1].hidden, encoded[0].hidden, rtol=0, atol=tolerance)
    np.testing.assert_allclose(logits[1], logits[0], rtol=0, atol=tolerance)


@pytest.mark.parametrize("fuse", [True, False])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_phases_compute_the_same(checkpoint, tmp_path, scheme, fuse):
    write_artifact(checkpoint, uniform_plan(checkpoint.dims, SCHEMES[scheme], fuse=fuse), tmp_path / "artifact")
    assert_same(tmp_path / "artifact", "phase", exact=scheme not in ("fp32", "fp16"))


@pytest.mark.parametrize("fuse", [True, False])
@pytest.mark.parametrize("scheme", ["fp32", "fp16"])
def test_layers_compute_the_same(checkpoint, tmp_path, monkeypatch, scheme, fuse):
    monkeypatch.setattr(split, "LOGITS_BAND_BYTES", 4 * checkpoint.dims.d_model * 96)
    plan = uniform_plan(checkpoint.dims, SCHEMES[scheme], fuse=fuse)
    write_artifact(checkpoint, plan, tmp_path / "artifact", offload="layers")
    assert_same(tmp_path / "artifact", "layers", exact=False)


def test_an_artifact_is_run_as_its_recipe_said_unless_told(streamed_folder):
    assert load_artifact(streamed_folder, threads=2).offload == "layers"
    assert load_artifact(streamed_folder, threads=2, offload="phase").offload == "phase"


def test_phases_hold_no_session_between_calls(streamed_folder, monkeypatch):
    import onnxruntime as ort

    alive: list[str] = []
    opened = ort.InferenceSession

    class Counted(opened):
        def __init__(self, path, *args, **kwargs):
            super().__init__(path, *args, **kwargs)
            self.name = path.rpartition("/")[2]
            alive.append(self.name)
            assert {"encoder.onnx", "decoder.onnx"} - set(alive), "both are open"

        def __del__(self):
            alive.remove(self.name)

    monkeypatch.setattr(ort, "InferenceSession", Counted)
    model = load_artifact(streamed_folder, threads=2, offload="phase")
    model.transcribe_batch(CLIPS)
    assert alive == ["log_mel.onnx"]


def test_layers_that_were_not_written_are_a_usage_error(english_folder):
    with pytest.raises(UsageError, match="without layers to stream") as caught:
        load_artifact(english_folder, threads=2, offload="layers")
    assert "offload=layers" in caught.value.remedy


def test_openvino_streams_no_layers(streamed_folder):
    with pytest.raises(UsageError, match="openvino cannot stream layers"):
        load_artifact(streamed_folder, threads=2, backend="openvino")


def test_layers_are_for_the_cpu(edited):
    folder = edited(lambda manifest: manifest.update(provider="cuda"))
    with pytest.raises(ProviderError, match="for cuda"):
        load_artifact(folder)


def _first(manifest):
    return manifest["layers"]["decoder"][1]


HOSTILE = {
    "offset behind the file": (lambda m: _first(m)["weights"][0].update(offset=2**40), UnsafeInputError),
    "offset of half an item": (lambda m: _first(m)["weights"][0].update(offset=2), UnsafeInputError),
    "another length": (lambda m: _first(m)["weights"][0].update(length=4), UnsafeInputError),
    "a negative offset": (lambda m: _first(m)["weights"][0].update(offset=-4096), UnsafeInputError),
    "a shape too large": (lambda m: _first(m)["weights"][0].update(shape=[2**31, 2**31]), UnsafeInputError),
    "a shape that is none": (lambda m: _first(m)["weights"][0].update(shape="12"), UnsafeInputError),
    "another type": (lambda m: _first(m)["weights"][0].update(dtype="object"), UnsafeInputError),
    "a type that is none": (lambda m: _first(m)["weights"][0].update(dtype=["float32"]), UnsafeInputError),
    "a graph outside": (lambda m: _first(m).update(graph="../../etc/passwd"), UnsafeInputError),
    "weights outside": (lambda m: m["layers"].update(weights="/etc/passwd"), UnsafeInputError),
    "a graph that is missing": (lambda m: _first(m).update(graph="onnx/none.onnx"), ArtifactError),
    "no parts": (lambda m: m["layers"].update(decoder=[]), UnsafeInputError),
    "something else": (lambda m: m.update(layers=[1]), UnsafeInputError),
    "parts in another order": (lambda m: m["layers"]["decoder"].reverse(), UnsafeInputError),
    "a part left out": (lambda m: m["layers"]["decoder"].pop(1), UnsafeInputError),
    "the encoder's parts": (lambda m: m["layers"].update(decoder=m["layers"]["encoder"]), UnsafeInputError),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_index_is_a_typed_error(edited, name):
    change, kind = HOSTILE[name]
    with pytest.raises(FastWhisperError) as caught:
        load_artifact(edited(change), threads=2).transcribe(CLIPS[0])
    assert isinstance(caught.value, kind)
    assert caught.value.place
