"""Artifacts of small random Whispers, English and multilingual."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from small_whisper import small_checkpoint, uniform_plan, write_artifact

from fastwhisper_compress.runtime import load_artifact

sys.path.append(str(Path(__file__).parent))  # containers.py


def _folder(factory, name, **changes):
    checkpoint = small_checkpoint(11, **changes)
    folder = factory.mktemp("artifacts") / name
    write_artifact(checkpoint, uniform_plan(checkpoint.dims), folder)
    return folder


@pytest.fixture(scope="session")
def english_folder(tmp_path_factory):
    return _folder(tmp_path_factory, "english")


@pytest.fixture(scope="session")
def multilingual_folder(tmp_path_factory):
    return _folder(tmp_path_factory, "multilingual", multilingual=True)


@pytest.fixture(scope="session")
def english(english_folder):
    return load_artifact(english_folder, threads=2)


@pytest.fixture(scope="session")
def multilingual(multilingual_folder):
    return load_artifact(multilingual_folder, threads=2)
