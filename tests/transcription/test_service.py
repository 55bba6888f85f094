"""Many callers, one model: each gets its own answer, whatever becomes of the others."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_whisper import small_checkpoint, speech_like, uniform_plan, write_artifact

from fastwhisper_compress.errors import AudioError, ClosedError, OutOfMemoryError, QueueFullError, UsageError
from fastwhisper_compress.runtime import load_artifact
from fastwhisper_compress.runtime.options import Options
from fastwhisper_compress.transcription.service import BatchingService

NEVER_S = 3600.0  # a wait that no test lives to see
GERMAN = Options(language="de")


class Fake:
    """Hears in a clip its first sample; ``fails`` says of the numbers in a batch what that raises.

    Where it is ``gated``, every batch waits for one ``release``.
    """

    def __init__(self, fails=lambda numbers: None, *, gated=False):
        self.fails, self.batches, self.freed, self.busy = fails, [], 0, False
        self.gate = threading.Semaphore(0) if gated else None
        self.started = threading.Semaphore(0)

    def check(self, samples):
        if not samples.size:
            raise AudioError("nothing in it")

    def free_memory(self):
        self.freed += 1

    def release(self, n=1):
        self.gate.release(n)

    async def until_started(self):
        await asyncio.to_thread(self.started.acquire)

    def transcribe_batch(self, clips, options):
        assert not self.busy, "one call at a time"
        assert threading.current_thread() is not threading.main_thread()
        self.busy = True
        try:
            numbers = [int(samples[0]) for samples in clips]
            self.batches.append(numbers)
            self.started.release()
            if self.gate is not None:
                self.gate.acquire()
            if error := self.fails(numbers):
                raise error
            return [(number, options.language) for number in numbers]
        finally:
            self.busy = False


def clip(number):
    return np.full(10, number, np.float32)


def run(main):
    """Run a coroutine to its end; one that hangs fails the test."""

    async def bounded():
        async with asyncio.timeout(60):
            return await main

    return asyncio.run(bounded())


def ask(service, number, options=Options(), caller=None):  # noqa: B008 - frozen
    return asyncio.create_task(service.transcribe(clip(number), options, caller=caller))


async def outcomes(tasks):
    return await asyncio.gather(*tasks, return_exceptions=True)


async def settled(service, n):
    """Let requests come in until so many wait."""
    while service.n_waiting != n:  # noqa: ASYNC110 - the service has no event for this
        await asyncio.sleep(0)


@settings(max_examples=30)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.booleans()), max_size=30),
    st.integers(1, 5),
    st.lists(st.booleans(), max_size=10),
)
def test_each_caller_gets_its_own_answer(asked, max_batch, out_of_memory):
    flags = iter(out_of_memory)
    model = Fake(lambda numbers: MemoryError() if len(numbers) > 1 and next(flags, False) else None)

    async def main():
        async with BatchingService(model, max_batch=max_batch, max_wait_s=0) as service:
            return await outcomes(
                service.transcribe(
                    np.zeros(0, np.float32) if bad else clip(number), GERMAN if german else Options(), caller=caller
                )
                for number, (caller, german, bad) in enumerate(asked)
            )

    for number, ((_, german, bad), found) in enumerate(zip(asked, run(main()), strict=True)):
        if bad:
            assert isinstance(found, AudioError)
        else:
            assert found == (number, "de" if german else None)
    assert all(len(numbers) <= max_batch for numbers in model.batches)
    assert all(len({asked[number][1] for number in numbers}) == 1 for numbers in model.batches)


def test_a_full_batch_does_not_wait_and_a_lone_clip_not_for_ever():
    async def main():
        async with BatchingService(full := Fake(), max_batch=3, max_wait_s=NEVER_S) as service:
            await outcomes(ask(service, number) for number in range(6))
        async with BatchingService(lone := Fake(), max_batch=3, max_wait_s=0.001) as service:
            await service.transcribe(clip(7))
        return full.batches, lone.batches

    assert run(main()) == ([[0, 1, 2], [3, 4, 5]], [[7]])


def test_requests_gather_while_the_model_is_busy_and_the_loop_goes_on():
    model = Fake(gated=True)

    async def main():
        async with BatchingService(model, max_batch=8, max_wait_s=0) as service:
            tasks = [ask(service, 0)]
            await model.until_started()
            tasks += [ask(service, number) for number in range(1, 6)]
            await settled(service, 5)
            model.release(2)
            return await outcomes(tasks)

    assert [number for number, _ in run(main())] == list(range(6))
    assert model.batches == [[0], [1, 2, 3, 4, 5]]


def test_a_pile_of_clips_keeps_no_other_caller_waiting():
    model = Fake(gated=True)

    async def main():
        async with BatchingService(model, max_batch=4, max_wait_s=0) as service:
            tasks = [ask(service, number, caller="pile") for number in range(1000)]
            await model.until_started()
            tasks += [ask(service, 2000, caller="late"), ask(service, 2001, GERMAN, caller="other")]
            await settled(service, 998)
            model.release(10_000)
            await outcomes(tasks)

    run(main())
    assert 2000 in model.batches[1]
    assert [2001] in model.batches[:4]


def test_a_cancelled_request_leaves_the_queue_or_its_answer_is_dropped():
    model = Fake(gated=True)

    async def main():
        async with BatchingService(model, max_batch=2, max_wait_s=0) as service:
            first, second = ask(service, 0), ask(service, 1)
            await model.until_started()
            waiting = [ask(service, number) for number in (2, 3, 4)]
            await settled(service, 3)
            for task in (first, waiting[1]):
                task.cancel()
            await settled(service, 2)
            model.release(2)
            return await outcomes([first, second, *waiting])

    found = run(main())
    assert [isinstance(one, asyncio.CancelledError) for one in found] == [True, False, False, True, False]
    assert [one[0] for one in (found[1], found[2], found[4])] == [1, 2, 4]
    assert model.batches == [[0, 1], [2, 4]]


def test_only_the_clip_that_an_error_is_about_fails():
    model = Fake(lambda numbers: RuntimeError("a bug") if 2 in numbers else None)

    async def main():
        async with BatchingService(model, max_batch=5, max_wait_s=NEVER_S) as service:
            return await outcomes(ask(service, number) for number in range(5))

    found = run(main())
    assert str(found.pop(2)) == "a bug"
    assert [number for number, _ in found] == [0, 1, 3, 4]
    assert model.batches[0] == [0, 1, 2, 3, 4]


def test_options_that_the_model_refuses_fail_for_all_who_gave_them():
    model = Fake(lambda numbers: UsageError("no such language") if 0 in numbers or 1 in numbers else None)

    async def main():
        async with BatchingService(model, max_batch=2, max_wait_s=0) as service:
            asked = [ask(service, 0, GERMAN), ask(service, 1, GERMAN), ask(service, 2)]
            return await outcomes(asked)

    first, second, third = run(main())
    assert isinstance(first, UsageError)
    assert isinstance(second, UsageError)
    assert first is not second
    assert third == (2, None)


def test_when_memory_runs_out_later_batches_are_smaller_and_one_that_never_fits_fails_alone():
    def fails(numbers):
        return MemoryError() if len(numbers) > 2 or 5 in numbers else None

    model, shrunk = Fake(fails), []

    async def main():
        async with BatchingService(
            model, max_batch=8, max_wait_s=NEVER_S, on_shrink=lambda *step: shrunk.append(step)
        ) as service:
            first = await outcomes(ask(service, number) for number in range(10, 18))
            second = await outcomes(ask(service, number) for number in range(18, 22))
            alone = await outcomes(ask(service, number) for number in (5, 6))
            return first + second, alone, service.max_batch

    found, alone, most = run(main())
    assert [number for number, _ in found] == list(range(10, 22))
    assert shrunk == [(8, 4), (4, 2), (2, 1)]
    assert max(map(len, model.batches[3:])) == 2
    assert isinstance(alone[0], OutOfMemoryError)
    assert alone[1] == (6, None)
    assert most == 1


def test_leaving_the_block_drains_the_queue():
    model = Fake()

    async def main():
        async with BatchingService(model, max_batch=2, max_wait_s=NEVER_S) as service:
            tasks = [ask(service, number) for number in range(5)]
            await settled(service, 5)
        with pytest.raises(ClosedError):
            await service.transcribe(clip(9))
        return await outcomes(tasks)

    assert [number for number, _ in run(main())] == list(range(5))


@pytest.mark.parametrize("how", ["error", "close", "cancelled"])
def test_closing_otherwise_fails_what_has_not_begun_and_answers_the_rest(how):
    model = Fake(gated=True)
    tasks = []

    async def use(leaving):
        async with BatchingService(model, max_batch=1, max_wait_s=0) as service:
            tasks.extend(ask(service, number) for number in range(3))
            await model.until_started()
            await settled(service, 2)
            if how == "error":
                model.release()
                raise KeyError
            if how == "close":
                model.release()
                await service.close(drain=False)
            leaving.set()  # into a close that waits for the model, where it was told nothing yet

    async def main():
        leaving = asyncio.Event()
        user = asyncio.create_task(use(leaving))
        if how == "cancelled":
            await leaving.wait()
            user.cancel()
            await asyncio.sleep(0)
            model.release()
        with suppress(KeyError, asyncio.CancelledError):
            await user
        return await outcomes(tasks)

    first, *others = run(main())
    assert first == (0, None)
    assert all(isinstance(one, ClosedError) for one in others)
    assert model.batches == [[0]]


def test_a_full_queue_refuses_the_caller_that_fills_it_and_lets_others_in():
    model = Fake(gated=True)

    async def main():
        async with BatchingService(model, max_batch=1, max_wait_s=0, max_waiting=3) as service:
            tasks = [ask(service, 0)]
            await model.until_started()
            tasks += [ask(service, number) for number in (1, 2, 3)]
            await settled(service, 3)
            with pytest.raises(QueueFullError, match="3 requests"):
                await service.transcribe(clip(4))
            tasks.append(ask(service, 5, caller="another"))
            await settled(service, 4)
            model.release(9)
            return await outcomes(tasks)

    assert [number for number, _ in run(main())] == [0, 1, 2, 3, 5]


def test_numbers_and_uses_that_make_no_sense_are_refused():
    for wrong in ({"max_batch": 0}, {"max_wait_s": -1}, {"max_wait_s": float("nan")}, {"max_waiting": 0}):
        with pytest.raises(UsageError, match="less than"):
            BatchingService(Fake(), **wrong)

    async def main():
        service = BatchingService(Fake())
        with pytest.raises(ClosedError, match="not open"):
            await service.transcribe(clip(1))
        async with service:
            with pytest.raises(UsageError, match="opened before"):
                await service.__aenter__()

    run(main())


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    checkpoint = small_checkpoint(11)
    folder = tmp_path_factory.mktemp("artifacts") / "small"
    write_artifact(checkpoint, uniform_plan(checkpoint.dims), folder)
    return load_artifact(folder, threads=1)


def test_a_model_says_through_the_service_what_it_says_alone(model):
    clips = [speech_like(0.3 + 0.1 * seed, seed) for seed in range(6)]
    expected = [model.transcribe(samples).tokens for samples in clips]

    async def main():
        async with BatchingService(model, max_batch=4) as service:
            asked = [service.transcribe(samples, caller=i % 2) for i, samples in enumerate(clips)]
            return await outcomes([*asked, service.transcribe(np.zeros((2, 2), np.float32))])

    *found, wrong = run(main())
    assert [one.tokens for one in found] == expected
    assert isinstance(wrong, AudioError)
