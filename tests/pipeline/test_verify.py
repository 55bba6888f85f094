"""Parity: what is measured, and that nothing wrong gets through, NaN least of all."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import soundfile
from onnx import TensorProto, helper

from fastwhisper_compress.errors import GateError, SuiteError, UnsafeInputError
from fastwhisper_compress.evaluation.suite import Suite, Utterance
from fastwhisper_compress.pipeline import verify
from fastwhisper_compress.pipeline.verify import Clip, parity_clips, verify_compressed, verify_fp32, verify_loads
from fastwhisper_compress.runtime.manifest import Decoding

LIMITS = {"log_mel": 5e-5, "encoder": 2.5e-4, "logits": 1e-3}
IDS = Decoding(
    sot=1, eot=0, sot_prev=3, no_timestamps=2, timestamp_begin=4, no_speech=None, transcribe=None, translate=None,
    languages={}, suppress=(), begin_suppress=(), alignment_heads=(), max_length=9,
)  # fmt: skip
CLIPS = [Clip("one", np.ones(4, np.float32), "en"), Clip("two", np.ones(8, np.float32), "en")]
TOKENS = (5, 6, 7)
CHECKPOINT = SimpleNamespace(dims=SimpleNamespace(n_mels=2))


class Fake:
    """Both an artifact and the reference, exact unless something is put in the way; both look at what they are given."""

    height = 1.0  # of the encoder's output, or of each of its two channels

    def __init__(self, *, log_mel=0.0, encoder=0.0, logits=0.0, tokens=TOKENS, predicts=(5, 6, 7, 0), bad_length=None):
        self.manifest = SimpleNamespace(decoding=IDS, graphs={})
        self.off = {"log_mel": log_mel, "encoder": encoder, "logits": logits}
        self.tokens = tokens
        self.predicts = predicts
        self.bad_length = bad_length

    def log_mel(self, samples):
        assert samples.dtype == np.float32
        return np.full((1, 2, 3), 1 + self.off["log_mel"] + (len(samples) == self.bad_length), np.float32)

    def encode(self, clips, *, hidden):
        assert (len(clips), hidden) == (1, True)
        return SimpleNamespace(hidden=np.full((1, 4, 2), np.add(self.height, self.off["encoder"]), np.float32))

    def transcribe(self, samples, options):
        assert any(samples is clip.samples for clip in CLIPS)
        assert options.language == "en"  # not to be detected
        assert options.stop_loops is False  # the reference decodes through loops
        return SimpleNamespace(tokens=self.tokens)

    def forced_logits(self, encoded, prompt, tokens):
        assert encoded.hidden.shape == (1, 4, 2)
        assert prompt == (1, 2)
        assert tokens == TOKENS
        logits = np.zeros((4, 8), np.float32)
        logits[range(4), self.predicts] = 1
        return logits + np.float32(self.off["logits"])


class FakeReference(Fake):
    def __init__(self, checkpoint):
        assert checkpoint is CHECKPOINT
        super().__init__()

    def encode(self, mel):
        assert mel.shape == (1, 2, 3)
        return super().encode([mel], hidden=True).hidden

    def greedy(self, hidden, language, prompt):
        assert (hidden.shape, language, prompt) == ((1, 4, 2), "en", (1, 2))
        return TOKENS

    def logits(self, hidden, prompt, tokens):
        return self.forced_logits(SimpleNamespace(hidden=hidden), prompt, tokens)


def fake_log_mel(samples, n_mels):
    assert samples.dtype == np.float32
    return np.ones((n_mels, 3), np.float32)


@pytest.fixture
def fp32(monkeypatch):
    """A function: verify a fake FP32 artifact."""
    monkeypatch.setattr(verify, "Reference", FakeReference)
    monkeypatch.setattr(verify, "reference_log_mel", fake_log_mel)
    seen = []
    yield lambda artifact, limits=LIMITS: verify_fp32(
        artifact, CHECKPOINT, CLIPS, limits, lambda *done: seen.append(done)
    )
    assert seen == [(1, 2), (2, 2)] * (len(seen) // 2)


def compressed(artifact, least=0.9, progress=lambda done, of: None):
    return verify_compressed(artifact, Fake(), CLIPS, least, progress)


def test_an_exact_fp32_artifact_passes(fp32):
    assert fp32(Fake()) == {
        "token_agreement": 1.0,
        "sqnr_db": {"encoder": None, "decoder": None},
        "max_abs_error": {"log_mel": 0, "encoder": 0, "logits": 0},
        "greedy_tokens_equal": {"n": 2, "of": 2},
        "gate": None,
        "against": "transformers",
    }


@pytest.mark.parametrize("part", LIMITS)
@pytest.mark.parametrize("factor", [0.9, 1.5, np.nan, np.inf, -1.5])
def test_an_fp32_artifact_is_held_to_every_limit(fp32, part, factor):
    artifact = Fake(**{part: factor * LIMITS[part]})
    if factor == 0.9:
        assert fp32(artifact)["max_abs_error"][part] == pytest.approx(0.9 * LIMITS[part], rel=0.01)
        return
    with np.errstate(invalid="ignore"), pytest.raises(GateError, match=part.replace("_", ".")) as caught:
        fp32(artifact)
    assert caught.value.exit_code == 3
    assert caught.value.place == ("verify" if np.isfinite(factor) or part != "encoder" else "one")


def test_a_difference_as_large_as_the_limit_passes(fp32):
    limits = dict.fromkeys(LIMITS, 2**-10)
    assert fp32(Fake(log_mel=2**-10, encoder=2**-10, logits=2**-10), limits)["max_abs_error"] == limits
    with pytest.raises(GateError, match=r"logits is 1\.22e-03 off the reference implementation, the limit is 9\.8e-04"):
        fp32(Fake(logits=1.25 * 2**-10), limits)


@pytest.mark.parametrize("length", [0, 79, 480_000, 480_001])
def test_the_log_mel_is_compared_at_lengths_where_framing_may_fail(fp32, length):
    with pytest.raises(GateError, match="log_mel is 1"):
        fp32(Fake(bad_length=length))


@pytest.mark.parametrize(("height", "within"), [(0.1, 1), (1, 1), (20, 20)])
@pytest.mark.parametrize("share", [0.9, 1.1])
def test_the_encoder_is_judged_by_the_range_of_each_channel_but_not_below_1(fp32, monkeypatch, height, within, share):
    monkeypatch.setattr(Fake, "height", height)
    error = share * within * LIMITS["encoder"]
    if share < 1:
        assert fp32(Fake(encoder=error))["max_abs_error"]["encoder"] == pytest.approx(error, rel=0.01)
        return
    with pytest.raises(GateError, match=r"encoder is 2\.75e-04 off .*range, the limit is 2\.5e-04"):
        fp32(Fake(encoder=error))


def test_the_log_mel_is_compared_on_the_same_noise_every_time(fp32, monkeypatch):
    heard = []
    monkeypatch.setattr(verify, "reference_log_mel", lambda samples, n_mels: heard.append(samples) or np.ones((2, 3)))
    for _ in range(2):
        fp32(Fake())
    first, again = (np.concatenate(half) for half in (heard[: len(heard) // 2], heard[len(heard) // 2 :]))
    assert np.array_equal(first, again)
    assert 0.1 < np.abs(first).max() < 1  # as audio is


def test_a_large_channel_excuses_no_error_in_a_small_one(fp32, monkeypatch):
    monkeypatch.setattr(Fake, "height", [1, 20])
    assert fp32(Fake(encoder=[0, 19 * LIMITS["encoder"]]))
    with pytest.raises(GateError, match="encoder is 1"):
        fp32(Fake(encoder=[5 * LIMITS["encoder"], 0]))


def test_an_fp32_artifact_whose_text_differs_is_refused(fp32):
    with pytest.raises(GateError, match="0 of 2 clips") as caught:
        fp32(Fake(tokens=(5, 6)))
    assert caught.value.place == "verify"


def test_an_exact_compressed_artifact_passes():
    seen = []
    assert compressed(Fake(), least=1, progress=lambda *done: seen.append(done)) == {
        "token_agreement": 1.0,
        "sqnr_db": {"encoder": None, "decoder": None},
        "max_abs_error": {"log_mel": None, "encoder": 0, "logits": 0},
        "greedy_tokens_equal": {"n": 2, "of": 2},
        "gate": {"token_agreement": 1, "passed": True},
        "against": "fp32",
    }
    assert seen == [(1, 2), (2, 2)]


def test_noise_is_told_in_decibels():
    found = compressed(Fake(encoder=0.1, logits=0.01))
    assert found["sqnr_db"]["encoder"] == pytest.approx(20, abs=1e-3)  # 0.1 on 1
    assert found["sqnr_db"]["decoder"] == pytest.approx(10 * np.log10(4 / (32 * 1e-4)), abs=1e-3)
    assert found["max_abs_error"] == {"log_mel": None, "encoder": pytest.approx(0.1), "logits": pytest.approx(0.01)}


@pytest.mark.parametrize(("predicts", "agreement"), [((5, 6, 7, 0), 1.0), ((5, 6, 7, 3), 0.75), ((4, 6, 1, 3), 0.25)])
def test_agreement_is_a_share_of_positions_with_the_end_of_text(predicts, agreement):
    artifact = Fake(predicts=predicts, tokens=(5,))
    found = compressed(artifact, least=agreement)  # the gate itself is enough
    assert found["token_agreement"] == agreement
    assert found["gate"] == {"token_agreement": agreement, "passed": True}
    assert found["greedy_tokens_equal"] == {"n": 0, "of": 2}
    if agreement < 1:
        with pytest.raises(GateError, match=f"{agreement:.3f}.*asks for {agreement + 0.01:.3f}") as caught:
            compressed(artifact, least=agreement + 0.01)
        assert caught.value.place == "gate.token_agreement"
        assert caught.value.remedy


@pytest.mark.parametrize("part", ["encoder", "logits"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_outputs_that_are_not_finite_are_refused_whatever_the_gate(part, value):
    with pytest.raises(GateError, match="not finite") as caught:
        compressed(Fake(**{part: value}), least=0)
    assert caught.value.place == "one"


@pytest.fixture
def graph(tmp_path):
    """A function: write a graph of one node."""

    def graph(operator, domain=""):
        ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
        node = helper.make_node(operator, ["x"], ["y"], domain=domain)
        opsets = [helper.make_opsetid(one, 17) for one in {"", domain}]
        model = helper.make_model(helper.make_graph([node], "g", ends[:1], ends[1:]), opset_imports=opsets)
        model.ir_version = 8
        onnx.save(model, tmp_path / "one.onnx")
        return tmp_path / "one.onnx"

    return graph


def test_a_graph_that_is_not_valid_is_refused(graph):
    with pytest.raises(GateError, match="not valid ONNX") as caught:
        verify_loads({"encoder": graph("NoSuchOperator")}, "cpu")
    assert caught.value.place == "one.onnx"


def test_a_valid_graph_that_does_not_load_is_refused(graph):
    path = graph("Unknown", domain="elsewhere")  # which the checker lets pass
    with pytest.raises(UnsafeInputError, match="does not load") as caught:
        verify_loads({"encoder": path}, "cpu")
    assert caught.value.place == str(path)


def test_graphs_are_opened_as_they_were_written_where_they_will_run(graph, monkeypatch):
    path = graph("Relu")
    verify_loads({"log_mel": path, "encoder": path}, "cpu")
    opened = []
    monkeypatch.setattr(verify, "open_session", lambda *given, optimise=True: opened.append((*given, optimise)))
    verify_loads({"log_mel": path, "encoder": path, "decoder": path}, "cuda")
    assert opened == [(path, "cpu", False), (path, "cuda", False), (path, "cuda", False)]


def test_the_parity_set_is_read_in_the_order_of_its_ids(tmp_path):
    utterances = []
    for i, (name, language) in enumerate([("a", "en"), ("b", "de"), ("c", "en")]):
        soundfile.write(tmp_path / f"{name}.wav", np.full(1_600, i / 4), 16_000, subtype="FLOAT")
        utterances.append(Utterance(name, tmp_path / f"{name}.wav", "text", None, language, None))
    suite = Suite("demo", "en", False, "CC0", "here", None, tuple(utterances))
    clips = parity_clips(suite, ["c", "b"])
    assert [(clip.id, clip.language) for clip in clips] == [("c", "en"), ("b", "de")]
    assert [(clip.samples.size, clip.samples.max()) for clip in clips] == [(1_600, 0.5), (1_600, 0.25)]
    with pytest.raises(SuiteError, match="needs 'd'") as caught:
        parity_clips(suite, ["c", "d", "e"])
    assert caught.value.place == "demo"
