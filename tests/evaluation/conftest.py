"""A suite on disk, and an artifact that a stand-in for the runtime can run in the measuring process."""

from __future__ import annotations

import json
import os
import textwrap
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import fastwhisper_compress
from fastwhisper_compress.evaluation.suite import Suite, load_suite

SENTENCES = ("the first one", "a second sentence", "number three", "and a fourth", "the last")


@pytest.fixture
def manifest(tmp_path):
    """Write a manifest whose "audio" files hold their own id; returns (rows -> path)."""

    def write(rows, name="suite.jsonl", audio=True):
        for row in rows:
            if audio and (path := tmp_path / row["audio_filepath"]).suffix == ".wav":
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(row.get("id", row["audio_filepath"]))
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path

    return write


@pytest.fixture
def suite(manifest) -> Suite:
    rows = [
        {"audio_filepath": f"clips/{i}.wav", "text": text, "id": f"u{i}", "speaker": f"s{i % 2}", "duration": 1.5}
        for i, text in enumerate(SENTENCES)
    ]
    return load_suite(str(manifest(rows)))


# Takes the place of fastwhisper_compress.runtime in the measuring process: python imports sitecustomize by itself.
STAND_IN = """
import json, os, sys, time, types
from pathlib import Path

if os.environ.get("FAKE_RUNTIME"):
    from fastwhisper_compress import errors

    class Fake:
        def __init__(self, folder, threads, backend):
            self.told = json.loads((folder / "manifest.json").read_text())
            (folder / "loads.txt").open("a").write(f"{threads} {os.environ['OMP_NUM_THREADS']} {os.getpid()} {backend}\\n")
            if "error" in self.told:
                raise getattr(errors, self.told["error"])("told to fail", place="here", remedy="there")
            if "memory" in self.told:
                raise MemoryError
            self.held = bytearray(os.urandom(1)) * self.told.get("hold_bytes", 0)
            self.calls = 0
            self.on_phase = None

        def check(self, samples):
            pass

        def free_memory(self):
            pass

        def transcribe_batch(self, clips, options):
            if len(clips) > self.told.get("most_clips", len(clips)):
                raise RuntimeError("Failed to allocate memory for requested buffer of size 1000000")
            return [self.transcribe(samples) for samples in clips]

        def transcribe(self, samples):
            self.calls += 1
            self.on_phase("encode")
            burst = bytearray(os.urandom(1)) * self.told.get("burst_bytes", 0)
            del burst
            self.on_phase("decode")
            time.sleep(self.told.get("sleep_s", 0.001))
            if self.calls == self.told.get("die_at_call"):
                os.kill(os.getpid(), 9)
            if self.calls == self.told.get("bug_at_call"):
                raise KeyError("a bug")
            print("a library that chatters")
            text = self.told["texts"][samples.id]
            looped = samples.id in self.told.get("looped", [])
            redone = samples.id in self.told.get("redone", [])
            tokens = tuple(range(len(text.split())))
            self.on_phase("idle")
            return types.SimpleNamespace(text=text, tokens=tokens, looped=looped, redone=redone)

    class Samples:
        def __init__(self, id):
            self.id = id
        def __len__(self):
            return 16000

    def read_audio(path, *, max_s):
        if path.stem == "long":
            raise errors.AudioError(f"lasts more than {max_s} s", place=str(path))
        if not path.is_file():
            raise errors.AudioError("no such file", place=str(path))
        return Samples(path.read_text())

    name = "fastwhisper_compress.runtime"
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = [str(Path(errors.__file__).with_name("runtime"))]
    sys.modules[name].load_artifact = lambda folder, *, threads, backend, offload: Fake(folder, threads, backend)
    sys.modules[name + ".audio"] = types.ModuleType(name + ".audio")
    sys.modules[name + ".audio"].read_audio = read_audio
    sys.modules[name + ".audio"].MAX_CLIP_S = 30
    sys.modules[name + ".session"] = types.ModuleType(name + ".session")
    sys.modules[name + ".session"].import_onnxruntime = lambda: None
    sys.modules[name + ".openvino_encoder"] = types.ModuleType(name + ".openvino_encoder")
    sys.modules[name + ".openvino_encoder"].import_openvino = lambda: None
"""


@dataclass(frozen=True)
class FakeArtifact:
    folder: Path
    rows: Path
    texts: dict[str, str] = field(default_factory=dict)

    def tell(self, **told):
        """Say how the artifact is to behave; part of its contents, so it changes its digest."""
        (self.folder / "manifest.json").write_text(json.dumps({"texts": self.texts} | told))

    @property
    def loads(self) -> list[list[str]]:
        return [line.split() for line in (self.folder / "loads.txt").read_text().splitlines()]


@pytest.fixture
def artifact(tmp_path, monkeypatch):
    """Make artifacts that "hear" every sentence of the suite right, save what `texts` overrides."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(textwrap.dedent(STAND_IN))
    package_root = Path(fastwhisper_compress.__file__).parents[1]  # a child runs the code that is tested here
    monkeypatch.setenv("PYTHONPATH", f"{site}{os.pathsep}{package_root}")
    monkeypatch.setenv("FAKE_RUNTIME", "1")

    def make(name="artifact", texts=None, **told):
        folder = tmp_path / name
        folder.mkdir()
        heard = {f"u{i}": text for i, text in enumerate(SENTENCES)} | (texts or {})
        fake = FakeArtifact(folder, tmp_path / "eval" / f"{name}.jsonl", heard)
        fake.tell(**told)
        return fake

    return make
