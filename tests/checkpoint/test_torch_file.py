"""What torch writes is read without it, and is what torch itself would read."""

from __future__ import annotations

import numpy as np
import pytest

from fastwhisper_compress.checkpoint.torch_file import load_torch, stored_tensors


@pytest.fixture
def saved(tmp_path):
    """A function: state dict -> its file, and the tensors as torch reads them back."""
    import torch

    def saved_(state, **options):
        path = tmp_path / "some weights.pt"
        torch.save(state, path, **options)
        return path, torch.load(path, weights_only=True)

    return saved_


def test_views_and_types_are_those_of_torch(saved):
    import torch

    base = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    half = torch.randn(3, 5).half()
    state = {
        "whole": base,
        "turned": base.T,
        "every other": base[1:, ::2],
        "the same twice": base[2],
        "empty": torch.zeros(0, 3),
        "one": torch.tensor(2.5),
        "half": half,
        "brain": torch.randn(4, 4).bfloat16().T,
        "parameter": torch.nn.Parameter(torch.randn(2, 2)),
        "stretched": torch.zeros(1).expand(2, 2),
    }
    path, theirs = saved(state)
    ours = stored_tensors(load_torch(path), path)
    assert ours.keys() == theirs.keys()
    for name, claim in ours.items():
        expected = theirs[name].detach()
        assert claim.dtype == str(expected.dtype).removeprefix("torch.")
        assert claim.shape == tuple(expected.shape)
        np.testing.assert_array_equal(claim.read(), expected.float().numpy().astype(claim.read().dtype))


def test_what_is_no_float_is_told_by_its_type(saved):
    import torch

    kinds = ["int8", "uint8", "int16", "int32", "int64", "float64", "bool"]
    path, _ = saved({name: torch.zeros(3, dtype=getattr(torch, name)) for name in kinds})
    assert {name: claim.dtype for name, claim in stored_tensors(load_torch(path), path).items()} == {
        name: name for name in kinds
    }


def test_a_module_s_state_dict_with_its_metadata_is_read(saved):
    import torch

    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.LayerNorm(2))
    path, theirs = saved(module.state_dict())
    found = stored_tensors(load_torch(path), path)
    assert {name: claim.read().tolist() for name, claim in found.items()} == {
        name: value.tolist() for name, value in theirs.items()
    }


def test_numbers_text_and_containers_are_read(saved):
    content = {"dims": {"n": 1, "large": 2**70, "less": -3, "real": 0.5}, "names": ["a", ("b", None, True)], 7: "ä"}
    path, _ = saved(content)
    assert load_torch(path) == content
