"""Window by window: where the next begins, what is tried again, and how little is held."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from fastwhisper_compress.errors import UsageError
from fastwhisper_compress.runtime.options import Options
from fastwhisper_compress.runtime.segments import segments_of
from fastwhisper_compress.runtime.transcript import Transcript
from fastwhisper_compress.transcription.sequential import transcribe_sequentially

BEGIN = 300
RATE = 16_000


class Fake:
    """Answers with given tokens (or a transcript's other fields) in turn; samples count up, so that it sees where it is."""

    def __init__(self, *answers):
        self.manifest = SimpleNamespace(decoding=SimpleNamespace(timestamp_begin=BEGIN, max_length=40))
        self.answers, self.asked = list(answers), []

    def transcribe(self, samples, options):
        self.asked.append((round(float(samples[0]), 2), samples.size / RATE, options))
        fields = self.answers.pop(0)
        fields = fields if isinstance(fields, dict) else {"tokens": fields}
        defaults = {"looped": False, "ended": True, "mean_logprob": -0.2, "language": "de", "no_speech_prob": 0.1}
        tokens = fields.get("tokens", (BEGIN, 65, BEGIN + 1500))
        text = bytes(token for token in tokens if token < BEGIN).decode()
        found = defaults | {"tokens": tokens, "text": text, "temperature": options.temperature} | fields
        segments = segments_of(tokens, BEGIN, samples.size / RATE, lambda tokens: bytes(tokens).decode())
        return Transcript(**found, segments=segments)


def blocks(seconds, pulled=None):
    """Samples that say their time in seconds, a second at a time."""
    for second in range(seconds):
        if pulled is not None:
            pulled.append(second)
        yield (second + np.arange(RATE) / RATE).astype(np.float32)


def at(seconds):
    return BEGIN + round(seconds * 50)


def heard(model, seconds, options=Options(), **how):  # noqa: B008 - it is frozen
    found = transcribe_sequentially(model, blocks(seconds), options, **how)
    return [(one.start_s, one.end_s, one.text) for one in found]


def test_the_next_window_begins_where_the_text_was_understood_to():
    model = Fake(
        (at(0), 65, at(10), at(12), 66, at(20), at(20), 67),  # the last is unfinished
        (at(1), 68, at(5), at(5), 69, at(29)),  # understood to its end
        (at(0), 70),
    )
    found = heard(model, 52, start_s=100.0)
    assert found == [(100, 110, "A"), (112, 120, "B"), (121, 125, "D"), (125, 149, "E"), (150, 152, "F")]
    assert [(start, length) for start, length, _ in model.asked] == [(0, 30), (20, 30), (50, 2)]
    assert all(options.timestamps and options.no_speech for _, _, options in model.asked)


def test_the_language_stays_and_the_text_is_the_context_of_the_next():
    first = (at(0), 65, at(10), at(12), 66, at(30))
    model = Fake(first, (at(0), 67, at(20)))
    heard(model, 50, Options(previous=(1, 2)))
    (_, _, before), (_, _, after) = model.asked
    assert (before.language, after.language) == (None, "de")
    assert (before.previous, after.previous) == ((1, 2), (1, 2, *first))
    model = Fake(first, (at(0), 67, at(20)))
    heard(model, 50, condition_on_previous=False)
    assert model.asked[1][2].previous == ()


@pytest.mark.parametrize(
    "bad",
    [{"mean_logprob": -1.1}, {"looped": True}, {"tokens": (at(0), *b"no no " * 40, at(30)), "mean_logprob": -0.1}],
)
def test_a_bad_text_is_sampled_at_higher_and_higher_temperatures(bad):
    model = Fake(bad, bad, {}, (at(0), 66, at(5)))
    assert [text for _, _, text in heard(model, 40)] == ["A", "B"]
    assert [options.temperature for _, _, options in model.asked] == [0.0, 0.2, 0.4, 0.0]
    assert model.asked[-1][2].previous
    model = Fake(*[bad] * 6, (at(0), 66, at(5)))
    heard(model, 40)
    assert [options.temperature for _, _, options in model.asked] == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 0.0]
    assert model.asked[-1][2].previous == ()  # what was drawn so freely is no context


def test_silence_is_passed_over_unless_the_text_is_probable():
    silent = {"no_speech_prob": 0.9, "mean_logprob": -1.5}
    model = Fake(silent, (at(0), 66, at(5)))
    assert heard(model, 40) == [(30, 35, "B")]
    assert len(model.asked) == 2
    assert heard(Fake({"no_speech_prob": 0.9}), 30) == [(0, 30, "A")]


def test_no_more_is_read_than_a_window_holds():
    pulled, model = [], Fake(*[(at(0), 65, at(30))] * 4)
    found = transcribe_sequentially(model, blocks(100, pulled))
    for windows in range(1, 4):
        next(found)
        assert len(pulled) == 30 * windows


@pytest.mark.parametrize("samples", [[], [np.zeros(0, np.float32)], [np.zeros(100, np.float32)]])
def test_no_audio_is_no_segments(samples):
    assert list(transcribe_sequentially(Fake(), samples)) == []


def test_a_prefix_is_refused():
    with pytest.raises(UsageError, match="prefix"):
        next(transcribe_sequentially(Fake(), blocks(1), Options(prefix=(1,))))
