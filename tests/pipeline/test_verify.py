"""Parity: what is measured, and that nothing wrong gets through, NaN least of all."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from fastwhisper_compress.errors import GateError
from fastwhisper_compress.pipeline import verify
from fastwhisper_compress.pipeline.verify import Clip, verify_compressed, verify_fp32, verify_loads
from fastwhisper_compress.runtime.manifest import Decoding

LIMITS = {"log_mel": 5e-5, "encoder": 2.5e-4, "logits": 1e-3}
IDS = Decoding(
    sot=1, eot=0, sot_prev=3, no_timestamps=2, timestamp_begin=4, no_speech=None, transcribe=None, translate=None,
    languages={}, suppress=(), begin_suppress=(), alignment_heads=(), max_length=9,
)  # fmt: skip
CLIPS = [Clip("one", np.ones(4, np.float32), "en"), Clip("two", np.ones(8, np.float32), "en")]
TOKENS = (5, 6, 7)


class Fake:
    """Both an artifact and the reference, exact unless something is put in the way."""

    height = 1.0  # of the encoder's output

    def __init__(self, *, log_mel=0.0, encoder=0.0, logits=0.0, tokens=TOKENS, predicts=(5, 6, 7, 0)):
        self.manifest = SimpleNamespace(decoding=IDS, graphs={})
        self.off = {"log_mel": log_mel, "encoder": encoder, "logits": logits}
        self.tokens = tokens
        self.predicts = predicts

    def log_mel(self, samples):
        return np.full((1, 2, 3), 1 + self.off["log_mel"], np.float32)

    def encode(self, clips, *, hidden):
        assert (len(clips), hidden) == (1, True)
        return SimpleNamespace(hidden=np.full((1, 4, 2), self.height + self.off["encoder"], np.float32))

    def transcribe(self, samples, options):
        assert options.stop_loops is False  # the reference decodes through loops
        return SimpleNamespace(tokens=self.tokens)

    def forced_logits(self, encoded, prompt, tokens):
        assert prompt == (1, 2)
        assert tokens == TOKENS
        logits = np.zeros((4, 8), np.float32)
        logits[range(4), self.predicts] = 1
        return logits + np.float32(self.off["logits"])


class FakeReference(Fake):
    def __init__(self, checkpoint):
        super().__init__()

    def encode(self, mel):
        return super().encode([mel], hidden=True).hidden

    def greedy(self, hidden, language, prompt):
        return TOKENS

    def logits(self, hidden, prompt, tokens):
        return self.forced_logits(hidden, prompt, tokens)


@pytest.fixture
def fp32(monkeypatch):
    """A function: verify a fake FP32 artifact."""
    monkeypatch.setattr(verify, "Reference", FakeReference)
    monkeypatch.setattr(verify, "reference_log_mel", lambda samples, n_mels: np.ones((2, 3), np.float32))
    checkpoint = SimpleNamespace(dims=SimpleNamespace(n_mels=2))
    seen = []
    yield lambda artifact: verify_fp32(artifact, checkpoint, CLIPS, LIMITS, lambda *done: seen.append(done))
    assert seen in ([], [(1, 2), (2, 2)])


def compressed(artifact, least=0.9):
    return verify_compressed(artifact, Fake(), CLIPS, least, lambda done, of: None)


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


def test_an_fp32_artifact_whose_text_differs_is_refused(fp32):
    with pytest.raises(GateError, match="0 of 2 clips"):
        fp32(Fake(tokens=(5, 6)))


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


def test_a_graph_that_is_not_valid_is_refused(tmp_path):
    import onnx
    from onnx import TensorProto, helper

    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("NoSuchOperator", ["x"], ["y"])], "g", [value], [])
    path = tmp_path / "bad.onnx"
    onnx.save(helper.make_model(graph), path)
    with pytest.raises(GateError, match="not valid ONNX") as caught:
        verify_loads({"encoder": path}, "cpu")
    assert caught.value.place == "bad.onnx"
