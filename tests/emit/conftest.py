"""Artifacts of one small random Whisper, each emitted once."""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace

import onnx
import pytest
from small_whisper import SCHEMES, small_checkpoint, uniform_plan, write_artifact

from fastwhisper_compress.emit.artifact import GRAPHS


@pytest.fixture(scope="session")
def checkpoint():
    """Four times as many vocabulary rows as usual: the embedding is most of it, as it is of tiny."""
    return small_checkpoint(n_vocab=2000)


@pytest.fixture(scope="session")
def emitted(checkpoint, tmp_path_factory):
    """A function: scheme, fused?, provider -> the folder, its graphs, and what emit() returned."""

    @cache
    def emitted_(scheme, *, fuse=True, provider="cpu"):
        folder = tmp_path_factory.mktemp("emitted") / "artifact"
        plan = uniform_plan(checkpoint.dims, SCHEMES[scheme], fuse=fuse, provider=provider)
        emission = write_artifact(checkpoint, plan, folder)
        graphs = {name: onnx.load(folder / file, load_external_data=False).graph for name, file in GRAPHS.items()}
        return SimpleNamespace(folder=folder, plan=plan, emission=emission, graphs=graphs)

    return emitted_
