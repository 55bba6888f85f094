"""Damaged and hostile files: refused with place and remedy, before they cost memory and without running anything."""

from __future__ import annotations

import json
import os
import random
import struct

import numpy as np
import pytest

from fastwhisper_compress.checkpoint.open import open_checkpoint
from fastwhisper_compress.errors import ModelNotFoundError, UnsafeInputError

SOME = "encoder.layers.0.fc1.weight"


class Executes:
    """A pickle that runs code when it is loaded."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


def refused(path, *words):
    """Opening fails with the typed error, which names the words, a place and a remedy."""
    with pytest.raises(UnsafeInputError) as caught:
        open_checkpoint(str(path))
    error = caught.value
    assert error.exit_code == 5
    assert error.place
    assert error.remedy
    text = str(error)
    assert len(text) < 1000
    for word in words:
        assert word in text
    return error


@pytest.fixture
def hf(formats, tmp_path, random_checkpoint):
    return formats.hf(tmp_path / "hf", random_checkpoint)


@pytest.fixture
def ct2(formats, tmp_path, random_checkpoint):
    return formats.ct2(tmp_path / "ct2", random_checkpoint)


@pytest.fixture
def pt(formats, tmp_path, random_checkpoint):
    return formats.pt(tmp_path / "model.pt", random_checkpoint)


def write_safetensors(folder, header, body=b""):
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(raw)) + raw + body)


# --- pickles ---------------------------------------------------------------------------------------------------------


def test_pickle_that_executes_is_not_run_from_pt(tmp_path, formats, random_checkpoint):
    import torch

    trap = tmp_path / "executed"
    content = formats.pt_content(random_checkpoint)
    content["model_state_dict"]["decoder.ln.weight"] = Executes(trap)
    torch.save(content, tmp_path / "evil.pt")
    refused(tmp_path / "evil.pt", "evil.pt", "may run code")
    assert not trap.exists()


# --- truncation and noise --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kept", [0, 1, 7, 8, 100, 0.5, -1])
def test_truncated_files(tmp_path, hf, ct2, pt, kept):
    for path, file in ((hf, hf / "model.safetensors"), (ct2, ct2 / "model.bin"), (pt, pt)):
        data = file.read_bytes()
        size = int(len(data) * kept) if isinstance(kept, float) else kept % len(data)
        file.write_bytes(data[:size])
        refused(path, file.name)


@pytest.mark.parametrize("kind", ["hf", "ct2", "pt"])
def test_flipped_bytes_never_crash(request, kind):
    """A damaged file is refused, or differs only in values; nothing else escapes."""
    path = request.getfixturevalue(kind)
    file = {"hf": path / "model.safetensors", "ct2": path / "model.bin", "pt": path}[kind]
    clean = file.read_bytes()
    rng = random.Random(0)
    outcomes = set()
    for _ in range(40):
        damaged = bytearray(clean)
        # Half of the hits go where names and lengths are: the start, or a zip's directory at the end.
        where = rng.randrange(len(clean)) if rng.random() < 0.5 else rng.choice([1, -1]) * rng.randrange(1, 6000)
        damaged[where] = rng.randrange(256)
        file.write_bytes(damaged)
        try:
            open_checkpoint(str(path))
            outcomes.add("opened")
        except UnsafeInputError:
            outcomes.add("refused")
    assert "refused" in outcomes


@pytest.mark.parametrize("junk", [b"", b"{", b"[]", b"null", b"\xff\xfe\x00", b"[" * 50_000, b'{"d_model": 1e999}'])
def test_broken_configs(hf, ct2, junk):
    for folder in (hf, ct2):
        (folder / "config.json").write_bytes(junk)
        if folder is ct2 and junk.startswith(b'{"'):
            continue  # valid JSON whose keys CTranslate2 folders do not use
        refused(folder, "config.json")


def test_missing_config(hf, ct2):
    for folder in (hf, ct2):
        (folder / "config.json").unlink()
        with pytest.raises(ModelNotFoundError, match=r"config\.json"):
            open_checkpoint(str(folder))


# --- tensors that do not fit -----------------------------------------------------------------------------------------


def changed_everywhere(formats, tmp_path, checkpoint):
    return formats.hf(tmp_path / "hf", checkpoint), formats.pt(tmp_path / "m.pt", checkpoint)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_name_the_tensor(formats, tmp_path, random_checkpoint, value):
    tensor = random_checkpoint.tensors[SOME].copy()
    tensor[3, 5] = value
    spoiled = random_checkpoint.with_tensors({SOME: tensor})
    for path in changed_everywhere(formats, tmp_path, spoiled):
        refused(path, SOME, "NaN or infinite")
    refused(formats.ct2(tmp_path / "ct2", spoiled), SOME, "NaN or infinite", "model.bin")


def test_wrong_shapes_name_the_tensor(formats, tmp_path, random_checkpoint):
    for changed in (random_checkpoint.tensors[SOME].T, random_checkpoint.tensors[SOME][:-1]):
        spoiled = random_checkpoint.with_tensors({SOME: changed})
        for path in changed_everywhere(formats, tmp_path, spoiled):
            refused(path, SOME, str(list(changed.shape)))
    refused(formats.ct2(tmp_path / "ct2", spoiled), "encoder.layers.0.fc1")


def test_wrong_types_name_the_tensor(formats, tmp_path, random_checkpoint):
    for dtype in (np.int8, np.int64, np.float64, np.uint8):
        spoiled = random_checkpoint.with_tensors({SOME: np.zeros_like(random_checkpoint.tensors[SOME], dtype)})
        for path in changed_everywhere(formats, tmp_path, spoiled):
            refused(path, SOME, "stored as")


def test_missing_and_unexpected_tensors_name_three(formats, tmp_path, hf, pt, random_checkpoint):
    from safetensors.numpy import save_file

    state = formats.hf_tensors(random_checkpoint)
    layer = {name for name in state if ".layers.1." in name}
    save_file({name: tensor for name, tensor in state.items() if name not in layer}, hf / "model.safetensors")
    error = refused(hf, "missing tensors", "encoder.layers.1.fc1.bias", f"and {len(layer) - 3} more")
    assert str(error).count("encoder.layers.1") == 3
    extra = {"model.encoder.spy.weight": np.zeros(3, np.float32)}
    save_file({**state, **extra}, hf / "model.safetensors")
    refused(hf, "unexpected tensors", "encoder.spy.weight")


def test_names_cannot_write_to_the_terminal(formats, tmp_path, hf, random_checkpoint):
    import torch
    from safetensors.numpy import save_file

    name = "\x1b[2J" + "x" * 10_000
    save_file({**formats.hf_tensors(random_checkpoint), name: np.zeros(1, np.float32)}, hf / "model.safetensors")
    content = formats.pt_content(random_checkpoint)
    content["model_state_dict"][name] = torch.zeros(1)
    torch.save(content, tmp_path / "m.pt")
    for path in (hf, tmp_path / "m.pt"):
        assert "\x1b" not in str(refused(path, "unexpected tensors"))


def test_projection_must_be_the_embedding(formats, hf, random_checkpoint):
    from safetensors.numpy import save_file

    state = formats.hf_tensors(random_checkpoint)
    other = state["model.decoder.embed_tokens.weight"].copy()
    other[0, 0] += 1
    save_file({**state, "proj_out.weight": other}, hf / "model.safetensors")
    refused(hf, "proj_out.weight", "differs")
    save_file({**state, "proj_out.weight": other[:-1]}, hf / "model.safetensors")
    refused(hf, "proj_out.weight", "shape")


def test_key_bias_must_be_zero(formats, ct2, random_checkpoint):
    variables = formats.ct2_variables(random_checkpoint)
    name = "decoder/layer_0/attention/linear_1/bias"
    bias = variables[name].copy()
    bias[2] = 0.5
    (ct2 / "model.bin").write_bytes(formats.ct2_bytes({**variables, name: bias}))
    refused(ct2, "decoder.layers.0.encoder_attn.k_proj.bias", "not zero")


# --- Hugging Face ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model_type", "bert"),
        ("activation_function", "relu"),
        ("scale_embedding", True),
        ("quantization_config", {"bits": 4}),
        ("d_model", 2**63),
        ("d_model", "16"),
        ("encoder_layers", 10**9),
        ("num_mel_bins", 40),
        ("encoder_attention_heads", 0),
        ("vocab_size", 51_865),
    ],
)
def test_configurations_that_are_no_whisper(hf, key, value):
    config = json.loads((hf / "config.json").read_text())
    (hf / "config.json").write_text(json.dumps({**config, key: value}))
    refused(hf)


def test_configuration_without_dimensions(hf):
    (hf / "config.json").write_text('{"model_type": "whisper"}')
    refused(hf, "config.json", "num_mel_bins")


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F16", "shape": [2**63], "data_offsets": [0, 2]},
        {"dtype": "F16", "shape": [2**62, 2**62], "data_offsets": [0, 2]},
        {"dtype": "F16", "shape": [1], "data_offsets": [0, 2**60]},
        {"dtype": "F16", "shape": [1], "data_offsets": [2, 0]},
        {"dtype": "F16", "shape": [1], "data_offsets": [-2, 0]},
        {"dtype": "F16", "shape": [-1], "data_offsets": [0, 2]},
        {"dtype": "F16", "shape": [1.0], "data_offsets": [0, 2]},
        {"dtype": "F16", "shape": [1] * 9, "data_offsets": [0, 2]},
        {"dtype": "F16", "shape": [2], "data_offsets": [0, 2]},
        {"dtype": 7, "shape": [1], "data_offsets": [0, 2]},
        {"shape": [1], "data_offsets": [0, 2]},
        "nothing",
    ],
)
def test_lying_safetensors_headers(hf, entry):
    write_safetensors(hf, {"model.encoder.conv1.weight": entry}, b"\0\0")
    refused(hf, "model.safetensors", "model.encoder.conv1.weight")


def test_huge_and_broken_safetensors_headers(hf):
    file = hf / "model.safetensors"
    for claimed in (2**63, 2**64 - 1, 50_000_000):
        file.write_bytes(struct.pack("<Q", claimed) + b"{}" * 100)
        refused(hf, "header")
    with file.open("wb") as sparse:  # as large as it claims, and yet too large for a header
        sparse.write(struct.pack("<Q", 200_000_000))
        sparse.truncate(200_000_100)
    refused(hf, "header")
    for junk in (b"{", b"[]", b"\xff", b"[" * 50_000):
        write_safetensors(hf, junk)
        refused(hf, "model.safetensors")


def test_overlapping_and_uncovered_bytes(hf):
    one = {"dtype": "F16", "shape": [1], "data_offsets": [0, 2]}
    write_safetensors(hf, {"a": one, "b": one}, b"\0\0")
    refused(hf, "model.safetensors")
    write_safetensors(hf, {"a": one}, b"\0\0\0\0")
    refused(hf, "2 bytes belong to no tensor")


@pytest.mark.parametrize(
    "name", ["../outside.safetensors", "/etc/passwd", "missing.safetensors", "..", "", "config.json", 5]
)
def test_shard_index_cannot_lead_elsewhere(hf, name):
    (hf / "model.safetensors").rename(hf.parent / "outside.safetensors")
    (hf / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
    refused(hf, "index.json")


@pytest.mark.parametrize("index", ["{}", '{"weight_map": []}', '{"weight_map": {}}', "nonsense"])
def test_broken_shard_index(hf, index):
    (hf / "model.safetensors").unlink()
    (hf / "model.safetensors.index.json").write_text(index)
    refused(hf, "index.json")


def test_tensor_in_two_shards(hf):
    data = (hf / "model.safetensors").read_bytes()
    (hf / "model.safetensors").unlink()
    for name in ("a.safetensors", "b.safetensors"):
        (hf / name).write_bytes(data)
    weight_map = {"x": "a.safetensors", "y": "b.safetensors"}
    (hf / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    refused(hf, "stored twice")


# --- openai-whisper --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"n_audio_state": 2**63},
        {"n_audio_state": 64},
        {"n_text_layer": 10**9},
        {"n_mels": "80"},
        {"n_vocab": 51_863},
        {"n_audio_head": 7},
    ],
)
def test_absurd_dims_in_pt(formats, tmp_path, random_checkpoint, change):
    import torch

    content = formats.pt_content(random_checkpoint)
    torch.save({**content, "dims": {**content["dims"], **change}}, tmp_path / "m.pt")
    refused(tmp_path / "m.pt", "m.pt")


@pytest.mark.parametrize(
    "content",
    [
        {"dims": {}, "model_state_dict": {}},
        {"dims": None, "model_state_dict": {}},
        {"model_state_dict": {}},
        {},
        [],
        3,
        {"dims": {"n_mels": 80}, "model_state_dict": None},
    ],
)
def test_archives_of_something_else(tmp_path, content):
    import torch

    torch.save(content, tmp_path / "m.pt")
    refused(tmp_path / "m.pt", "m.pt")


def test_tensors_that_are_no_plain_tensors(formats, tmp_path, random_checkpoint):
    import torch

    content = formats.pt_content(random_checkpoint)
    name = "decoder.token_embedding.weight"
    shape = content["model_state_dict"][name].shape
    repeated = torch.zeros(1, dtype=torch.float16).expand(shape)  # two bytes that claim to be the whole embedding
    sparse = torch.zeros(shape, dtype=torch.float16).to_sparse()
    for fake in (sparse, torch.empty(shape, device="meta"), "text", None):
        content["model_state_dict"][name] = fake
        torch.save(content, tmp_path / "m.pt")
        refused(tmp_path / "m.pt", name)
    content["model_state_dict"][name] = repeated
    torch.save(content, tmp_path / "m.pt")
    refused(tmp_path / "m.pt", "more bytes than the file")


# --- CTranslate2 -----------------------------------------------------------------------------------------------------


def test_quantised_ctranslate2_names_float16(formats, ct2, random_checkpoint):
    variables = formats.ct2_variables(random_checkpoint)
    for dtype in (np.int8, np.int16):
        changed = {**variables, "encoder/layer_0/ffn/linear_0/weight": np.zeros((64, 16), dtype)}
        (ct2 / "model.bin").write_bytes(formats.ct2_bytes(changed))
        refused(ct2, "quantised", "float16")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("decoder/activation", np.int8(0)),
        ("decoder/pre_norm", np.int8(0)),
        ("decoder/scale_embeddings", np.int8(1)),
        ("decoder/rotary_dim", np.int16(64)),
        ("encoder/num_heads", np.int16(0)),
        ("encoder/num_heads", np.int16(-1)),
        ("encoder/num_heads", np.float32(2)),
        ("encoder/spy/weight", np.zeros((2, 2), np.float16)),
        ("encoder/layer_7/ffn/linear_0/weight", np.zeros((64, 16), np.float16)),
        ("encoder/layer_0/self_attention/linear_0/weight", np.zeros((49, 16), np.float16)),
        ("encoder/layer_0/self_attention/linear_0/weight", np.zeros((3, 16), np.float16)),
    ],
)
def test_ctranslate2_that_is_no_whisper(formats, ct2, random_checkpoint, name, value):
    variables = formats.ct2_variables(random_checkpoint)
    (ct2 / "model.bin").write_bytes(formats.ct2_bytes({**variables, name: value}))
    refused(ct2, "model.bin")


@pytest.mark.parametrize(
    ("lie", "word"),
    [
        (((2**32 - 1,) * 8, 4, b"\0\0"), "claims"),
        (((2**31, 2), 4, b""), "claims 0 bytes"),  # 2^33 bytes, which wrap to 0 in 32 bits
        (((1,) * 9, 4, b"\0\0"), "rank 9"),
        (((1,), 99, b"\0\0"), "type 99"),
        (((3,), 4, b"\0\0"), "claims 2 bytes"),
    ],
)
def test_lying_ctranslate2_variables(formats, ct2, random_checkpoint, lie, word):
    variables = {"encoder/conv1/weight": lie, **formats.ct2_variables(random_checkpoint)}
    variables["encoder/conv1/weight"] = lie
    (ct2 / "model.bin").write_bytes(formats.ct2_bytes(variables))
    refused(ct2, word, "encoder/conv1/weight")


def test_ctranslate2_file_that_contradicts_itself(formats, ct2, random_checkpoint):
    variables = formats.ct2_variables(random_checkpoint)
    file = ct2 / "model.bin"
    file.write_bytes(formats.ct2_bytes(variables) + b"\0")
    refused(ct2, "follow the end")
    file.write_bytes(formats.ct2_bytes(variables, version=5))
    refused(ct2, "version 5")
    for aliases in ([("a", "nowhere")], [("encoder/conv1/weight", "encoder/conv2/weight")]):
        file.write_bytes(formats.ct2_bytes(variables, aliases=aliases))
        refused(ct2, "alias")
    file.write_bytes(struct.pack("<IH", 6, 60_000) + b"WhisperSpec\0")
    refused(ct2, "ends inside the model type")
    file.write_bytes(struct.pack("<IH", 6, 4) + b"\xff\xfe\xfd\0")
    refused(ct2, "not text")
    file.write_bytes(struct.pack("<IH", 6, 4) + b"GPT\0")
    refused(ct2, "GPT")
    file.write_bytes(struct.pack("<IH", 6, 12) + b"WhisperSpec\0" + struct.pack("<II", 3, 2**32 - 1))
    refused(ct2, "variables")


@pytest.mark.parametrize("config", [{"suppress_ids": "all"}, {"alignment_heads": 1}, {"suppress_ids_begin": [10**30]}])
def test_broken_ids_in_ctranslate2_config(ct2, config):
    (ct2 / "config.json").write_text(json.dumps(config))
    refused(ct2, "ct2")
