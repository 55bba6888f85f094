"""The encoder's window: what it holds of a clip, and when a shorter one is not trusted."""

from __future__ import annotations

import numpy as np
import pytest
from small_whisper import opened, small_checkpoint, speech_like, uniform_plan

from fastwhisper_compress.runtime.manifest import EncoderContext
from fastwhisper_compress.runtime.options import Options
from fastwhisper_compress.runtime.transcript import Transcript

CHECKPOINT = small_checkpoint(11)  # its full window is 1 s


@pytest.fixture(scope="module")
def elastic(tmp_path_factory):
    folder = tmp_path_factory.mktemp("elastic") / "artifact"
    return opened(CHECKPOINT, uniform_plan(CHECKPOINT.dims), folder, margin_s=0.2)


@pytest.mark.parametrize(("seconds", "frames"), [(0.3, 50), (0.305, 52), (0.001, 22), (0, 20), (0.79, 100), (1.0, 100)])
def test_the_window_is_the_clip_and_its_margin(elastic, seconds, frames):
    samples = speech_like(1.0)[: round(16_000 * seconds)]
    assert elastic._encoding.window(samples, 0.2) == frames
    cross = elastic.encode([samples], frames=frames).cross
    assert {value.shape()[2] for value in cross.values()} == {frames // 2}


def test_the_margin_is_zero_and_the_full_window_is_whispers(elastic):
    samples = speech_like(0.3)
    mel = elastic.log_mel(samples)
    window = elastic._encoding.windows([samples], 50)
    assert np.array_equal(window[:, :, :30], mel[:, :, :30])
    assert not window[:, :, 30:].any()
    assert mel[:, :, 30:50].any()  # silence has another value there
    assert np.array_equal(elastic._encoding.windows([samples], 100), mel)


def test_a_shorter_window_hears_the_same_clip(elastic):
    """The encoder sees less, but in the same places: its first outputs are near those of the full window."""
    samples = speech_like(0.5)
    full, short = (elastic.encode([samples], frames=n, hidden=True).hidden for n in (100, 70))
    assert short.shape[1] == 35
    assert np.corrcoef(full[:, :25].ravel(), short[:, :25].ravel())[0, 1] > 0.9
    assert not np.array_equal(full[:, :25], short[:, :25])


def transcript(text="words of a length that one may well say in two seconds", *, ended=True, logprob=-0.3):
    return Transcript(text, (), looped=False, ended=ended, mean_logprob=logprob, language="en")


def test_what_is_degenerate():
    assert not transcript().is_degenerate(2.0)
    assert transcript(ended=False).is_degenerate(2.0)
    assert transcript(logprob=-1.01).is_degenerate(2.0)
    assert transcript(logprob=float("nan")).is_degenerate(2.0)
    assert transcript("no no " * 40).is_degenerate(20.0)
    assert transcript("Chapter two.").is_degenerate(13.0)
    assert not transcript("Chapter two.").is_degenerate(1.0)
    assert not transcript("").is_degenerate(0.0)
    assert transcript("").is_degenerate(1.0)


def test_a_degenerate_clip_is_made_again_with_the_full_window(elastic):
    """A model of random weights never ends its text, so every first attempt is refused."""
    samples = speech_like(0.3)
    found = elastic.transcribe(samples, Options(stop_loops=False))
    elastic.encoder_context = EncoderContext()
    full = elastic.transcribe(samples, Options(stop_loops=False))
    elastic.encoder_context = elastic.manifest.encoder_context
    assert (found.redone, full.redone) == (True, False)
    assert (found.text, found.tokens) == (full.text, full.tokens)
    long = elastic.transcribe(speech_like(1.0), Options(stop_loops=False))
    assert not long.redone  # it had the full window at once
