"""Batches shrink when memory runs out; whatever fails and when, each clip is heard once and in order."""

from __future__ import annotations

import itertools
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_whisper import speech_like

from fastwhisper_compress.errors import AudioError, OutOfMemoryError, UsageError
from fastwhisper_compress.runtime.batching import Clip, Heard, transcribe_all
from fastwhisper_compress.runtime.options import Options

SAYINGS = [
    MemoryError(),
    RuntimeError("std::bad_alloc"),
    RuntimeError("Failed to allocate memory for requested buffer of size 1000"),
    RuntimeError("CUDA failure 2: out of memory"),
    OutOfMemoryError("none left"),
]


class Fake:
    """Hears in a clip its first sample; ``fails`` says of (call, batch size) what that call raises."""

    def __init__(self, fails=lambda call, size: None):
        self.fails, self.sizes, self.freed, self.held = fails, [], 0, []

    def check(self, samples):
        if not samples.size:
            raise AudioError("nothing in it")

    def free_memory(self):
        self.freed += 1
        assert all(buffer() is None for buffer in self.held), "the failed attempt's buffers are still there"

    def transcribe_batch(self, clips, options):
        self.sizes.append(len(clips))
        buffer = np.zeros(10)
        self.held.append(weakref.ref(buffer))
        if error := self.fails(len(self.sizes), len(clips)):
            raise error
        return [(int(samples[0]), options.language) for samples in clips]


def clip(number, language="en"):
    return Clip(np.full(10 + number, number, np.float32), Options(language=language))


def run(model, clips, size):
    shrunk = []
    found = list(transcribe_all(model, iter(clips), size, on_shrink=lambda *step: shrunk.append(step)))
    return [one.transcript[0] if isinstance(one, Heard) else one for one in found], shrunk


@pytest.mark.parametrize("saying", SAYINGS, ids=str)
@pytest.mark.parametrize("nth", range(1, 6))
def test_any_call_may_fail(saying, nth):
    model = Fake(lambda call, size: saying if call == nth else None)
    found, shrunk = run(model, map(clip, range(18)), 4)
    assert found == list(range(18))
    failed = 2 if nth == 5 else 4  # the fifth batch holds the last two
    assert (shrunk, model.freed) == ([(failed, failed // 2)], 1)
    assert max(model.sizes[nth:], default=0) <= failed // 2


def test_the_batch_is_halved_down_to_one_and_stays_so():
    model = Fake(lambda call, size: MemoryError() if size > 1 else None)
    found, shrunk = run(model, map(clip, range(10)), 8)
    assert found == list(range(10))
    assert shrunk == [(8, 4), (4, 2), (2, 1)]
    assert model.sizes == [8, 4, 2] + [1] * 10


def test_one_clip_that_does_not_fit_ends_the_run():
    model = Fake(lambda call, size: RuntimeError("requested buffer of size 77: Failed to allocate memory"))
    shrunk = []
    with pytest.raises(OutOfMemoryError) as caught:
        list(transcribe_all(model, map(clip, range(8)), 8, on_shrink=lambda *step: shrunk.append(step)))
    assert shrunk == [(8, 4), (4, 2), (2, 1)]
    assert model.sizes == [8, 4, 2, 1]
    assert caught.value.requested_bytes == 77


@given(
    n_clips=st.integers(0, 20),
    size=st.integers(1, 9),
    fails=st.lists(st.booleans(), max_size=30),
    bad=st.sets(st.integers(0, 19)),
    german=st.sets(st.integers(0, 19)),
)
def test_nothing_is_lost_doubled_or_moved(n_clips, size, fails, bad, german):
    def fail(call, batch):
        return MemoryError() if batch > 1 and call <= len(fails) and fails[call - 1] else None

    def source():
        for number in range(n_clips):
            if number in bad:
                yield AudioError(str(number)) if number % 2 else Clip(np.zeros(0, np.float32))
            else:
                yield clip(number, "de" if number in german else "en")

    model = Fake(fail)
    shrunk = []
    found = list(transcribe_all(model, source(), size, on_shrink=lambda *step: shrunk.append(step)))
    assert len(found) == n_clips
    for number, one in enumerate(found):
        if number in bad:
            assert isinstance(one, AudioError)
        else:
            assert one.transcript == (number, "de" if number in german else "en")
            assert one.wall_s >= 0
    assert all(after == before // 2 for before, after in shrunk)
    assert all(later[0] <= earlier[1] for earlier, later in itertools.pairwise(shrunk))
    assert max(model.sizes, default=0) <= size


def test_time_is_shared_out_by_length(monkeypatch):
    times = iter((10.0, 13.0))
    monkeypatch.setattr("time.perf_counter", lambda: next(times))
    clips = [Clip(np.ones(length, np.float32)) for length in (100, 200)]
    shares = [one.wall_s for one in transcribe_all(Fake(), clips, 2, on_shrink=None)]
    assert shares == pytest.approx([1.0, 2.0])


@pytest.mark.parametrize("error", [UsageError("no such language"), RuntimeError("a bug")])
def test_another_error_is_not_tried_again(error):
    model = Fake(lambda call, size: error)
    with pytest.raises(type(error)):
        run(model, map(clip, range(4)), 4)
    assert model.sizes == [4]


def test_clips_are_read_when_they_are_needed():
    read = []

    def source():
        for number in range(6):
            read.append(number)
            yield clip(number)

    heard = transcribe_all(Fake(), source(), 2, on_shrink=None)
    next(heard)
    assert read == [0, 1]


class Failing:
    """A session that says no at the n-th run."""

    def __init__(self, session, error, nth):
        self.session, self.error, self.left = session, error, nth

    def __getattr__(self, name):
        return getattr(self.session, name)

    def run_with_iobinding(self, *args):
        self.left -= 1
        if not self.left:
            raise self.error
        return self.session.run_with_iobinding(*args)


@pytest.mark.parametrize("part", ["encoder", "decoder"])
@pytest.mark.parametrize("nth", [1, 2, 3, 4])
def test_a_session_that_fails_at_any_run_costs_no_clip(english, monkeypatch, part, nth):
    clips = [Clip(speech_like(0.3 + 0.1 * seed, seed)) for seed in range(5)]
    expected = [english.transcribe(one.samples).tokens for one in clips]
    owner = english._encoding._encoder if part == "encoder" else english._decoder
    error = RuntimeError("Failed to allocate memory for requested buffer of size 5")
    monkeypatch.setattr(owner, "_session", Failing(owner._session, error, nth))
    shrunk = []
    found = list(transcribe_all(english, clips, 4, on_shrink=lambda *step: shrunk.append(step)))
    assert [one.transcript.tokens for one in found] == expected
    assert shrunk == [(4, 2)]
