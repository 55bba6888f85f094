"""The hub is a stand-in here: what matters is what is written to the cache, and what happens without a network."""

from __future__ import annotations

import json
import sys
import time
from types import SimpleNamespace

import huggingface_hub
import pytest

from fastwhisper_compress.errors import BackendError, HubUnavailableError, SuiteError
from fastwhisper_compress.evaluation.suite import load_suite

COMMIT = "0123456789abcdef0123456789abcdef01234567"

YAML = """\
version: 1
name: speech
kind: hf_dataset
language: en
license: CC-BY-4.0
source: somewhere
repo: some/speech
config: clean
split: test
revision: {revision}
id_column: id
speaker_column: speaker_id
"""


@pytest.fixture
def suite_file(tmp_path):
    def write(revision="main", text=YAML):
        path = tmp_path / "speech.yaml"
        path.write_text(text.format(revision=revision))
        return str(path)

    return write


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTWHISPER_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    return tmp_path / "cache"


class FakeHub:
    """Three rows of a data set, and a record of what was asked."""

    def __init__(self):
        self.asked = []
        self.served = 0
        self.error = None

    def load_dataset(self, repo, config, *, split, revision, streaming):
        self.asked.append((repo, config, split, revision, streaming))
        return self

    def cast_column(self, column, feature):
        assert (column, feature.decode) == ("audio", False)
        return self._rows()

    def _rows(self):
        for i in range(3):
            if self.error and i == 1:
                raise self.error
            self.served += 1
            audio = {"bytes": f"audio {i}".encode(), "path": ("a.flac", "../../x.WAV", "b.not a suffix")[i]}
            yield {"audio": audio, "text": f"TEXT {i}", "id": f"r-{i}", "speaker_id": 7 + i % 2}


@pytest.fixture
def hub(monkeypatch):
    fake = FakeHub()
    module = SimpleNamespace(load_dataset=fake.load_dataset, Audio=lambda decode: SimpleNamespace(decode=decode))
    monkeypatch.setitem(sys.modules, "datasets", module)
    monkeypatch.setattr(
        huggingface_hub.HfApi, "dataset_info", lambda self, repo, *, revision, timeout: SimpleNamespace(sha=COMMIT)
    )
    return fake


def test_audio_is_cached_as_it_is_and_the_commit_recorded(hub, suite_file, cache):
    suite = load_suite(suite_file())
    assert suite.revision == COMMIT
    assert hub.asked == [("some/speech", "clean", "test", COMMIT, True)]
    assert [(one.id, one.text, one.speaker) for one in suite.utterances] == [
        ("r-0", "TEXT 0", "7"),
        ("r-1", "TEXT 1", "8"),
        ("r-2", "TEXT 2", "7"),
    ]
    assert [one.audio.name for one in suite.utterances] == ["000000.flac", "000001.WAV", "000002.audio"]
    assert suite.utterances[1].audio.read_bytes() == b"audio 1"
    assert all(one.audio.is_relative_to(cache) for one in suite.utterances)


def test_a_pinned_commit_in_the_cache_needs_neither_network_nor_package(hub, suite_file, monkeypatch):
    digest = load_suite(suite_file(COMMIT)).digest
    monkeypatch.setitem(sys.modules, "datasets", None)
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", None)
    again = load_suite(suite_file(COMMIT), offline=True)
    assert again.digest == digest
    assert load_suite(suite_file(COMMIT), limit=2).utterances == again.utterances[:2]


def test_limit_fetches_no_more_than_it_needs_and_does_not_pass_for_the_whole(hub, suite_file):
    assert len(load_suite(suite_file(COMMIT), limit=1).utterances) == 1
    assert hub.served == 1
    assert len(load_suite(suite_file(COMMIT), limit=1).utterances) == 1
    assert hub.served == 1
    assert len(load_suite(suite_file(COMMIT)).utterances) == 3


@pytest.mark.parametrize("how", ["argument", "variable"])
def test_offline_without_a_cache_fails_at_once(hub, suite_file, monkeypatch, how):
    if how == "variable":
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    start = time.monotonic()
    with pytest.raises(HubUnavailableError, match="offline mode is on") as caught:
        load_suite(suite_file(COMMIT), offline=how == "argument")
    assert time.monotonic() - start < 1
    assert caught.value.exit_code == 6
    assert "demo" in caught.value.remedy
    assert hub.asked == []


def test_without_the_package_the_remedy_is_the_extra(suite_file, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(BackendError) as caught:
        load_suite(suite_file())
    assert caught.value.exit_code == 4
    assert caught.value.remedy == "pip install 'fastwhisper-compress[datasets]'"


def test_an_unreachable_hub(hub, suite_file, monkeypatch):
    def unreachable(self, repo, *, revision, timeout):
        raise ConnectionError("no route to host")

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", unreachable)
    with pytest.raises(HubUnavailableError, match="no route to host") as caught:
        load_suite(suite_file())
    assert caught.value.place.endswith("speech.yaml")


def test_a_connection_lost_on_the_way_leaves_nothing_that_passes_for_whole(hub, suite_file):
    hub.error = TimeoutError("read timed out")
    with pytest.raises(HubUnavailableError, match="read timed out"):
        load_suite(suite_file(COMMIT))
    hub.error = None
    assert len(load_suite(suite_file(COMMIT)).utterances) == 3


def test_a_bug_is_not_taken_for_the_network(hub, suite_file):
    hub.error = TypeError("a bug")
    with pytest.raises(TypeError, match="a bug"):
        load_suite(suite_file(COMMIT))


def test_a_data_set_that_is_not_there(hub, suite_file, monkeypatch):
    from huggingface_hub.errors import RepositoryNotFoundError

    def missing(self, repo, *, revision, timeout):
        raise RepositoryNotFoundError("404", response=SimpleNamespace(headers={}, request=None))

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", missing)
    with pytest.raises(SuiteError, match="no data set some/speech at revision main"):
        load_suite(suite_file())


def test_a_wrong_column(hub, suite_file):
    with pytest.raises(SuiteError, match="has no column 'sentence'") as caught:
        load_suite(suite_file(text=YAML + "text_column: sentence\n"))
    assert "_column" in caught.value.remedy


def test_the_cache_is_one_folder_per_content(hub, suite_file, cache):
    load_suite(suite_file(COMMIT))
    load_suite(suite_file(COMMIT, text=YAML.replace("speaker_column: speaker_id\n", "")))
    folders = list((cache / "suites").iterdir())
    assert len(folders) == 2
    row = json.loads((folders[0] / "manifest.jsonl").read_text().splitlines()[0])
    assert row["audio_filepath"] == "audio/000000.flac"
