"""The same weights from every format, and what may differ between models."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fastwhisper_compress.checkpoint.open import open_checkpoint
from fastwhisper_compress.checkpoint.safetensors_file import read_safetensors, write_safetensors
from fastwhisper_compress.errors import UsageError

TURBO_LIKE = {"n_mels": 128, "n_vocab": 51_866, "encoder_layers": 3, "decoder_layers": 1}
DEEP_DECODER = {"n_vocab": 51_865, "encoder_layers": 1, "decoder_layers": 2, "encoder_heads": 4}


@pytest.mark.parametrize("changes", [{}, TURBO_LIKE, DEEP_DECODER])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_three_formats_give_one_checkpoint(formats, tmp_path, changes, dtype):
    original = formats.make(dtype=dtype, **changes)
    opened = [
        open_checkpoint(str(formats.hf(tmp_path / "hf", original))),
        open_checkpoint(str(formats.pt(tmp_path / "model.pt", original))),
        open_checkpoint(str(formats.ct2(tmp_path / "ct2", original))),
    ]
    assert [checkpoint.source.kind for checkpoint in opened] == ["huggingface", "openai", "ctranslate2"]
    for checkpoint in opened:
        assert checkpoint.dims == original.dims
        assert checkpoint.digest == original.digest
        assert checkpoint.decoding == original.decoding
        assert checkpoint.n_parameters == original.n_parameters
        assert list(checkpoint.tensors) == list(original.tensors)
        assert json.loads(checkpoint.tokenizer_json) == json.loads(original.tokenizer_json)
        for name, tensor in checkpoint.tensors.items():
            assert tensor.dtype == dtype
            assert np.array_equal(tensor, original.tensors[name]), name


def test_real_tiny_en_from_three_formats(formats, tmp_path, tiny_en):
    for path in (formats.hf(tmp_path / "hf", tiny_en), formats.pt(tmp_path / "any-name.pt", tiny_en)):
        checkpoint = open_checkpoint(str(path))
        assert checkpoint.digest == tiny_en.digest
        assert checkpoint.decoding == tiny_en.decoding
    assert tiny_en.n_parameters == 37_760_256
    assert tiny_en.decoding.alignment_heads[0] == (1, 0)
    assert tiny_en.decoding.languages == {}
    assert (tiny_en.decoding.sot, tiny_en.decoding.eot) == (50_257, 50_256)
    assert tiny_en.decoding.timestamp_begin == 50_363
    assert tiny_en.decoding.transcribe is tiny_en.decoding.translate is None


def test_real_base_agrees_with_its_pt(formats, tmp_path, base):
    again = open_checkpoint(str(formats.pt(tmp_path / "x.pt", base)))
    assert again.digest == base.digest
    assert again.decoding == base.decoding
    assert len(base.decoding.languages) == 99
    assert base.decoding.languages["de"] == 50_261
    assert (base.decoding.transcribe, base.decoding.translate) == (50_359, 50_358)


def test_huggingface_folder_loads_in_transformers_unchanged(formats, tmp_path, random_checkpoint):
    import torch
    from transformers import WhisperForConditionalGeneration

    folder = formats.hf(tmp_path / "hf", random_checkpoint)
    model, report = WhisperForConditionalGeneration.from_pretrained(
        folder, output_loading_info=True, dtype=torch.float32
    )
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert not report["mismatched_keys"]
    state = model.state_dict()
    for name, tensor in open_checkpoint(str(folder)).tensors.items():
        assert np.array_equal(state[f"model.{name}"].numpy(), tensor.astype(np.float32)), name


def test_what_transformers_saves_is_read(tmp_path, formats, random_checkpoint):
    import torch
    from transformers import WhisperForConditionalGeneration

    folder = formats.hf(tmp_path / "hf", random_checkpoint)
    model = WhisperForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    model.save_pretrained(tmp_path / "sharded", max_shard_size="2MB")
    saved = tmp_path / "sharded"
    assert (saved / "model.safetensors.index.json").exists()
    checkpoint = open_checkpoint(str(saved))  # no tokenizer.json: the released one fits
    assert checkpoint.digest == random_checkpoint.digest
    assert checkpoint.decoding == random_checkpoint.decoding


@pytest.mark.parametrize("sharded", [False, True])
def test_pytorch_bin_with_tied_projection(formats, tmp_path, random_checkpoint, sharded):
    import torch

    folder = formats.hf(tmp_path / "hf", random_checkpoint)
    (folder / "model.safetensors").unlink()
    state = {name: torch.from_numpy(tensor) for name, tensor in formats.hf_tensors(random_checkpoint).items()}
    state["proj_out.weight"] = state["model.decoder.embed_tokens.weight"]
    if sharded:
        shards = {name: f"pytorch_model-0000{1 + ('decoder' in name)}-of-00002.bin" for name in state}
        for file in set(shards.values()):
            torch.save({name: tensor for name, tensor in state.items() if shards[name] == file}, folder / file)
        (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": shards}))
    else:
        torch.save(state, folder / "pytorch_model.bin")
    assert open_checkpoint(str(folder)).digest == random_checkpoint.digest


def test_safetensors_is_preferred_over_a_pickle(formats, tmp_path, random_checkpoint):
    folder = formats.hf(tmp_path / "hf", random_checkpoint)
    (folder / "pytorch_model.bin").write_bytes(b"never opened")
    assert open_checkpoint(str(folder)).digest == random_checkpoint.digest


@pytest.mark.parametrize("prefix", ["model.", ""])
def test_bfloat16_is_widened_exactly(formats, tmp_path, random_checkpoint, prefix):
    import torch
    from safetensors.torch import save_file

    folder = formats.hf(tmp_path / "hf", random_checkpoint)
    state = {f"{prefix}{n}": torch.from_numpy(t).to(torch.bfloat16) for n, t in random_checkpoint.tensors.items()}
    save_file(state, folder / "model.safetensors")
    checkpoint = open_checkpoint(str(folder))
    for name, tensor in checkpoint.tensors.items():
        assert tensor.dtype == np.float32
        assert np.array_equal(tensor, state[f"{prefix}{name}"].float().numpy()), name
    content = formats.pt_content(random_checkpoint)
    content["model_state_dict"] = {n: t.to(torch.bfloat16) for n, t in content["model_state_dict"].items()}
    torch.save(content, tmp_path / "bf16.pt")
    assert open_checkpoint(str(tmp_path / "bf16.pt")).digest == checkpoint.digest


def test_projection_stored_instead_of_embedding(formats, tmp_path, random_checkpoint):
    from safetensors.numpy import save_file

    folder = formats.hf(tmp_path / "hf", random_checkpoint)
    state = formats.hf_tensors(random_checkpoint)
    state["proj_out.weight"] = state.pop("model.decoder.embed_tokens.weight")
    save_file(state, folder / "model.safetensors")
    assert open_checkpoint(str(folder)).digest == random_checkpoint.digest


def test_zero_key_biases_are_dropped(formats, tmp_path, random_checkpoint):
    from safetensors.numpy import save_file

    folder = formats.hf(tmp_path / "hf", random_checkpoint)
    state = formats.hf_tensors(random_checkpoint)
    state["model.encoder.layers.0.self_attn.k_proj.bias"] = np.zeros(16, np.float16)
    save_file(state, folder / "model.safetensors")
    assert open_checkpoint(str(folder)).digest == random_checkpoint.digest


def test_ctranslate2_projection_stored_twice(formats, tmp_path, random_checkpoint):
    folder = formats.ct2(tmp_path / "ct2", random_checkpoint)
    variables = formats.ct2_variables(random_checkpoint)
    variables["decoder/projection/weight"] = variables["decoder/embeddings/weight"]
    (folder / "model.bin").write_bytes(formats.ct2_bytes(variables, aliases=()))
    assert open_checkpoint(str(folder)).digest == random_checkpoint.digest


def test_ctranslate2_folder_of_an_old_converter(formats, tmp_path, random_checkpoint):
    folder = formats.ct2(tmp_path / "ct2", random_checkpoint)
    (folder / "config.json").write_text("{}")
    (folder / "tokenizer.json").unlink()
    assert open_checkpoint(str(folder)).decoding == random_checkpoint.decoding


def test_ids_of_a_folder_from_before_generation_configs(formats, tmp_path, random_checkpoint):
    folder = formats.hf(tmp_path / "hf", random_checkpoint)
    (folder / "generation_config.json").unlink()
    config = {**formats.hf_config(random_checkpoint.dims), "suppress_tokens": [5, 6], "begin_suppress_tokens": [220]}
    (folder / "config.json").write_text(json.dumps(config))
    decoding = open_checkpoint(str(folder)).decoding
    assert (decoding.suppress, decoding.begin_suppress) == ((5, 6), (220,))


def test_heads_a_distilled_decoder_lost_are_dropped(formats, tmp_path, random_checkpoint):
    folder = formats.hf(tmp_path / "hf", random_checkpoint)
    generation = {"alignment_heads": [[0, 1], [7, 0], [0, 19]]}
    (folder / "generation_config.json").write_text(json.dumps(generation))
    assert open_checkpoint(str(folder)).decoding.alignment_heads == ((0, 1),)


def test_tensors_are_mapped_and_read_only(formats, tmp_path, random_checkpoint):
    paths = (
        formats.hf(tmp_path / "hf", random_checkpoint),
        formats.pt(tmp_path / "m.pt", random_checkpoint),
        formats.ct2(tmp_path / "ct2", random_checkpoint),
    )
    for path in paths:
        tensor = open_checkpoint(str(path)).tensors["encoder.layers.0.fc1.weight"]
        assert tensor.base is not None
        with pytest.raises(ValueError, match="read-only"):
            tensor[0] = 1


def test_with_tensors_leaves_the_original_alone(random_checkpoint):
    name = "encoder.layers.0.fc1.weight"
    before = random_checkpoint.digest
    pruned = random_checkpoint.with_tensors({name: random_checkpoint.tensors[name][:8]})
    assert random_checkpoint.digest == before != pruned.digest
    assert random_checkpoint.tensors[name].shape == (64, 16)
    assert pruned.tensors[name].shape == (8, 16)
    assert pruned.n_parameters == random_checkpoint.n_parameters - 56 * 16
    assert list(pruned.tensors) == list(random_checkpoint.tensors)
    with pytest.raises(UsageError, match="no such tensor"):
        random_checkpoint.with_tensors({"encoder.layers.9.fc1.weight": np.zeros(1)})


def test_digest_is_of_values_not_of_storage(random_checkpoint):
    widened = {name: tensor.astype(np.float32) for name, tensor in random_checkpoint.tensors.items()}
    assert random_checkpoint.with_tensors(widened).digest == random_checkpoint.digest
    name = "decoder.layer_norm.bias"
    changed = widened[name].copy()
    changed[0] = np.nextafter(changed[0], np.float32(1))
    assert random_checkpoint.with_tensors({name: changed}).digest != random_checkpoint.digest
    transposed = {"encoder.layers.0.self_attn.q_proj.weight": widened["encoder.layers.0.self_attn.q_proj.weight"].T}
    assert random_checkpoint.with_tensors(transposed).digest != random_checkpoint.digest


def test_arrays_come_back_however_they_lay_in_memory(tmp_path):
    whole = np.arange(24, dtype=np.float32).reshape(4, 6)
    arrays = {
        "rows": whole,
        "columns": whole[:, [0, 2, 5]],
        "turned": whole.T,
        "every other": whole[::2, ::3],
        "one": whole[0, 1],
    }
    write_safetensors(tmp_path / "arrays", arrays)
    stored = read_safetensors(tmp_path / "arrays")
    assert all(stored[name].shape == array.shape for name, array in arrays.items())
    assert all(np.array_equal(stored[name].read(), array) for name, array in arrays.items())
