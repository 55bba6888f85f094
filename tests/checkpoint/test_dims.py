"""The architecture as data, held against transformers' own."""

from __future__ import annotations

import pytest

from fastwhisper_compress.checkpoint.dims import check_dims, modules, tensor_shapes
from fastwhisper_compress.errors import UnsafeInputError

TURBO = {
    "n_mels": 128,
    "n_vocab": 51_866,
    "d_model": 1280,
    "encoder_layers": 32,
    "decoder_layers": 4,
    "encoder_heads": 20,
    "decoder_heads": 20,
    "encoder_ffn": 5120,
    "decoder_ffn": 5120,
}


@pytest.mark.parametrize("changes", [{}, TURBO, {"encoder_layers": 1, "decoder_layers": 3, "decoder_ffn": 32}])
def test_shapes_are_those_of_transformers(formats, changes):
    import torch
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    dims = formats.dims(**changes)
    with torch.device("meta"):
        model = WhisperForConditionalGeneration(WhisperConfig(**formats.hf_config(dims)))
    expected = {
        name.removeprefix("model."): tuple(tensor.shape)
        for name, tensor in model.state_dict().items()
        if name != "proj_out.weight"
    }
    assert tensor_shapes(dims) == expected


def test_modules_are_in_graph_order_and_cover_every_tensor_once(formats):
    dims = formats.dims()
    found = modules(dims)
    paths = [module.path for module in found]
    assert len(set(paths)) == len(paths)
    assert [name for module in found for name in module.tensors] == list(tensor_shapes(dims))
    assert paths[0] == "encoder.conv1"
    assert paths[-1] == "decoder.layer_norm"
    order = ["self_attn", "self_attn.q_proj", "encoder_attn", "encoder_attn.v_proj", "fc1", "fc2"]
    places = [paths.index(f"decoder.layers.0.{name}") for name in order]
    assert places == sorted(places)


def test_module_kinds(formats):
    kinds = {module.path: module for module in modules(formats.dims())}
    assert kinds["encoder.conv1"].kind == "conv"
    assert kinds["encoder.embed_positions"].kind == "positions"
    assert kinds["decoder.embed_tokens"].kind == "embedding"
    assert kinds["decoder.layers.0.encoder_attn_layer_norm"].kind == "layer_norm"
    assert kinds["decoder.layers.0.encoder_attn"].kind == "attention"
    assert kinds["decoder.layers.0.encoder_attn"].tensors == ()
    assert kinds["encoder.layers.1.self_attn.k_proj"].tensors == ("encoder.layers.1.self_attn.k_proj.weight",)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("d_model", 0),
        ("d_model", -384),
        ("d_model", 2**63),
        pytest.param("d_model", 10**5000, id="more-digits-than-python-prints"),
        ("d_model", "384"),
        ("d_model", 384.0),
        ("encoder_layers", True),
        ("decoder_layers", 10**9),
        ("n_mels", 81),
        ("encoder_heads", 3),
        ("n_vocab", None),
    ],
)
def test_absurd_dimensions_are_refused(formats, field, value):
    with pytest.raises(UnsafeInputError, match=field) as caught:
        check_dims(formats.dims(**{field: value}), "some.pt")
    assert caught.value.exit_code == 5
    assert caught.value.place == "some.pt"
    assert caught.value.remedy
    assert len(str(caught.value)) < 300


def test_multilingual_is_told_by_the_vocabulary(formats):
    assert not formats.dims(n_vocab=51_864).multilingual
    assert formats.dims(n_vocab=51_865).multilingual
    assert formats.dims(d_model=384, encoder_heads=6).head_dim("encoder.layers.0.self_attn") == 64
