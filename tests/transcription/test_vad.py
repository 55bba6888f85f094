"""Speech told from everything else, by a network that is lent and not imported."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastwhisper_compress.errors import BackendError
from fastwhisper_compress.runtime.audio import read_audio
from fastwhisper_compress.transcription import vad
from fastwhisper_compress.transcription.vad import FRAME, Span, SpeechDetector, SpeechRules, speech_spans

ROOT = Path(__file__).resolve().parents[2]
SPEECH = min((ROOT / "eval" / "demo").rglob("*.opus"))


@pytest.fixture(scope="module")
def speech():
    return read_audio(SPEECH)


def probabilities(samples, size=16_000):
    detector = SpeechDetector()
    found = [detector.feed(samples[first : first + size]) for first in range(0, len(samples), size)]
    return np.concatenate([*found, detector.finish()])


def test_neither_torch_nor_silero_is_imported():
    program = (
        "import sys, numpy as np; from fastwhisper_compress.transcription.windows import speech_windows\n"
        "from fastwhisper_compress.transcription.vad import SpeechDetector\n"
        "assert not list(speech_windows([np.zeros(20000, np.float32)], detector=SpeechDetector()))\n"
        "print({'torch', 'silero_vad', 'transformers'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert run.stdout.strip() == "set()"


@pytest.mark.slow
def test_probabilities_are_those_of_the_package(tmp_path, speech):
    np.save(tmp_path / "speech.npy", speech)
    program = (
        "import sys, warnings; warnings.simplefilter('ignore')\n"
        "import numpy as np, torch; from silero_vad import load_silero_vad\n"
        "model = load_silero_vad(onnx=True); samples = np.load(sys.argv[1])\n"
        "samples = np.pad(samples, (0, -len(samples) % 512))\n"
        "np.save(sys.argv[2], [model(torch.from_numpy(one), 16000).item() for one in samples.reshape(-1, 512)])"
    )
    subprocess.run([sys.executable, "-c", program, tmp_path / "speech.npy", tmp_path / "theirs.npy"], check=True)
    assert np.abs(np.load(tmp_path / "theirs.npy") - probabilities(speech)).max() < 1e-4


def test_the_size_of_blocks_does_not_matter(speech):
    at_once = probabilities(speech, len(speech))
    assert len(at_once) == -(-len(speech) // FRAME)
    for size in (160, 5000):
        assert np.abs(probabilities(speech, size) - at_once).max() < 1e-5


def test_it_starts_afresh_after_the_end(speech):
    detector = SpeechDetector()
    first = np.concatenate([detector.feed(speech), detector.finish()])
    second = np.concatenate([detector.feed(speech), detector.finish()])
    assert np.array_equal(first, second)
    assert not detector.finish().size


def test_somebody_speaks_in_speech_and_nobody_in_silence_noise_or_chords(speech):
    def share(samples):
        spans = list(speech_spans(probabilities(samples.astype(np.float32))))
        return sum(span.end - span.start for span in spans) * FRAME / len(samples)

    t = np.arange(20 * 16_000) / 16_000
    chord = sum(np.sin(2 * np.pi * hz * t) * np.exp(-3 * (t % 0.5)) for hz in (220, 277.2, 329.6, 440))
    assert share(speech) > 0.5
    assert share(0 * t) == 0
    assert share(0.01 * np.random.default_rng(0).standard_normal(t.size)) == 0
    assert share(0.1 * chord) == 0


def test_a_missing_package_is_told_with_its_remedy(monkeypatch, tmp_path):
    monkeypatch.setattr(vad, "find_spec", lambda name: None)
    with pytest.raises(BackendError, match="silero-vad") as caught:
        SpeechDetector()
    assert "pip install" in caught.value.remedy
    older = importlib.util.spec_from_file_location("silero_vad", tmp_path / "__init__.py")
    monkeypatch.setattr(vad, "find_spec", lambda name: older)
    with pytest.raises(BackendError, match=r"6\.2\.3"):
        SpeechDetector()


RULES = SpeechRules(start=0.5, stop=0.3, shortest_s=0.096, pad_s=0.064)  # three frames, and two


@pytest.mark.parametrize(
    ("marks", "expected"),
    [
        ("", []),
        ("..........", []),
        (".....##...", []),  # too short
        (".....###...........", [(3, 10)]),
        ("###", [(0, 3)]),
        (".....#o#o..........", [(3, 11)]),  # what began goes on where it is less sure
        (".....ooo..........", []),
        (".....###....###....", [(3, 17)]),  # paddings that touch
        (".....###.....###...", [(3, 10), (11, 18)]),
        ("." * 10 + "#" * 100 + "." * 10, [(8, 70), (70, 112)]),
    ],
)
def test_spans(marks, expected):
    given_ = [{".": 0.1, "o": 0.4, "#": 0.9}[one] for one in marks]
    assert list(speech_spans(given_, RULES)) == [Span(*one) for one in expected]


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.2, 0.4, 0.6, 1.0]), st.integers(1, 90)), max_size=20))
def test_spans_are_ordered_and_told_soon(runs):
    frames = [probability for probability, count in runs for _ in range(count)]
    read = 0

    def reading():
        nonlocal read
        for read, probability in enumerate(frames, 1):  # noqa: B007
            yield probability

    before = 0
    for span in speech_spans(reading(), RULES):
        assert before <= span.start < span.end <= len(frames)
        assert read - span.start < 80
        before = span.end
