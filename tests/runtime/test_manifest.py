"""Artifacts come from elsewhere: whatever their files say, the answer is a typed error."""

from __future__ import annotations

import json
import shutil

import pytest
from small_whisper import speech_like

from fastwhisper_compress.errors import ArtifactError, BackendError, ProviderError, UnsafeInputError
from fastwhisper_compress.runtime import load_artifact
from fastwhisper_compress.runtime.manifest import read_manifest


@pytest.fixture
def folder(english_folder, tmp_path):
    return shutil.copytree(english_folder, tmp_path / "artifact")


@pytest.fixture
def edited(folder):
    """A function that changes manifest.json and returns the folder."""

    def edited_(**changes):
        manifest = json.loads((folder / "manifest.json").read_text())
        for key, value in changes.items():
            part, _, name = key.rpartition("__")
            (manifest[part] if part else manifest)[name] = value
        (folder / "manifest.json").write_text(json.dumps(manifest))
        return folder

    return edited_


def test_a_whole_artifact_is_read(folder):
    manifest = read_manifest(folder)
    assert manifest.provider == "cpu"
    assert all(path.is_file() for path in manifest.graphs.values())
    assert (manifest.decoding.sot, manifest.decoding.eot) == (257, 256)
    assert manifest.decoding.languages == {}
    assert load_artifact(folder).transcribe(speech_like(0.5)).tokens


def test_a_copied_artifact_still_works(folder, tmp_path, english):
    moved = folder.rename(tmp_path / "a folder with spaces, ümläuts")
    samples = speech_like(0.5)
    assert load_artifact(str(moved)).transcribe(samples) == english.transcribe(samples)


@pytest.mark.parametrize("graph", ["../elsewhere.onnx", "onnx/../../elsewhere.onnx", "/etc/hostname"])
def test_a_path_out_of_the_artifact_is_refused_whether_it_exists_or_not(edited, folder, graph):
    for exists in (False, True):
        if exists:
            (folder.parent / "elsewhere.onnx").write_bytes((folder / "onnx" / "encoder.onnx").read_bytes())
        with pytest.raises(UnsafeInputError, match="a path leaves the artifact") as caught:
            load_artifact(edited(graphs__encoder=graph))
        assert caught.value.exit_code == 5
        assert caught.value.place == graph


@pytest.mark.parametrize("link", ["onnx", "onnx/encoder.onnx"])
def test_a_symlink_out_of_the_artifact_is_refused(folder, link):
    (folder / link).rename(folder.parent / "elsewhere")
    (folder / link).symlink_to(folder.parent / "elsewhere")
    with pytest.raises(UnsafeInputError, match="a path leaves the artifact"):
        load_artifact(folder)


def test_an_artifact_reached_by_a_symlink_is_fine(folder, tmp_path):
    (tmp_path / "link").symlink_to(folder)
    assert load_artifact(tmp_path / "link").transcribe(speech_like(0.1)).tokens


@pytest.mark.parametrize("name", ["encoder", "decoder", "log_mel"])
def test_a_missing_graph_is_named(folder, name):
    (folder / "onnx" / f"{name}.onnx").unlink()
    with pytest.raises(ArtifactError, match="missing file") as caught:
        load_artifact(folder)
    assert caught.value.exit_code == 2
    assert caught.value.place.endswith(f"{name}.onnx")


def test_what_is_no_artifact_is_told_so(tmp_path):
    for place in (tmp_path, tmp_path / "nowhere", tmp_path / "file" / "below"):
        (tmp_path / "file").write_text("")
        with pytest.raises(ArtifactError, match=r"no manifest\.json") as caught:
            load_artifact(place)
        assert caught.value.place == str(place)


CONTENTS = [b"", b"{", b"[]", b"null", b'"text"', b"\xff\xfe", b"[" * 100_000, b"{}", b'{"format": []}', b"9" * 5000]


@pytest.mark.parametrize("content", CONTENTS, ids=range(len(CONTENTS)))
def test_a_broken_manifest_is_a_typed_error(folder, content):
    (folder / "manifest.json").write_bytes(content)
    with pytest.raises(ArtifactError) as caught:
        load_artifact(folder)
    assert caught.value.place.endswith("manifest.json")
    assert caught.value.remedy


@pytest.mark.parametrize("changes", [{"format": "other"}, {"schema_version": 1}, {"schema_version": None}])
def test_another_format_or_version_is_refused(edited, changes):
    with pytest.raises(ArtifactError, match="not a fastwhisper-compress/native manifest of version 4"):
        load_artifact(edited(**changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"graphs": []},
        {"graphs": {}},
        {"graphs__encoder": "a\0b"},
        {"encoder_context": None},
        {"encoder_context": {}},
        {"encoder_context": {"margin_s": "1"}},
        {"encoder_context": {"margin_s": -1}},
        {"encoder_context": {"margin_s": 31}},
        {"encoder_context": {"margin_s": True}},
        {"decoding": None},
        {"decoding": {}},
        {"decoding__sot": "257"},
        {"decoding__sot": -1},
        {"decoding__sot_prev": None},
        {"decoding__timestamp_begin": None},
        {"decoding__no_speech": -1},
        {"decoding__alignment_heads": [[0]]},
        {"decoding__alignment_heads": [[0, "1"]]},
        {"decoding__sot": True},
        {"decoding__sot": 1e400},
        {"decoding__sot": 320},
        {"decoding__eot": 10**30},
        {"decoding__suppress": [320]},
        {"decoding__suppress": [-1]},
        {"decoding__suppress": 5},
        {"decoding__begin_suppress": [[1]]},
        {"decoding__languages": []},
        {"decoding__languages": {"en": 10**6}},
        {"decoding__transcribe": 320},
        {"decoding__max_length": 25},
        {"decoding__max_length": 10**9},
        {"provider": "tpu"},
        {"provider": None},
    ],
    ids=str,
)
def test_a_manifest_that_does_not_fit_its_graphs_is_refused_before_anything_runs(edited, changes):
    with pytest.raises(UnsafeInputError) as caught:
        load_artifact(edited(**changes))
    assert caught.value.exit_code == 5
    assert caught.value.place.endswith("manifest.json")


def test_graphs_in_each_others_place_are_refused(edited):
    with pytest.raises(UnsafeInputError, match="not an encoder and a decoder"):
        load_artifact(edited(graphs__encoder="onnx/decoder.onnx", graphs__decoder="onnx/encoder.onnx"))


def test_another_provider_than_the_graphs_were_written_for_is_refused(folder):
    with pytest.raises(ProviderError, match="written for cpu, not for cuda") as caught:
        load_artifact(folder, provider="cuda")
    assert "--provider cuda" in caught.value.remedy
    assert load_artifact(folder, provider="cpu").manifest.provider == "cpu"


def test_a_cuda_artifact_without_a_cuda_runtime_names_the_extra(edited):
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this machine has it")
    with pytest.raises(BackendError, match="no CUDAExecutionProvider") as caught:
        load_artifact(edited(provider="cuda"))
    assert caught.value.exit_code == 4
    assert "[gpu]" in caught.value.remedy


@pytest.mark.parametrize("file", ["onnx/weights.bin", "onnx/encoder.onnx", "onnx/decoder.onnx", "tokenizer.json"])
@pytest.mark.parametrize("content", ["missing", b"", b"garbage" * 99, "half"])
def test_damaged_files_are_typed_errors(folder, file, content):
    whole = (folder / file).read_bytes()
    (folder / file).unlink()
    if content != "missing":
        (folder / file).write_bytes(whole[: len(whole) // 2] if content == "half" else content)
    with pytest.raises((UnsafeInputError, ArtifactError)) as caught:
        load_artifact(folder)
    assert caught.value.remedy
    assert "\n" not in caught.value.message
