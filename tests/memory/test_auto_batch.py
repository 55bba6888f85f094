"""The batch that `auto` stands for: the largest that fits, with something left, and told with its reason."""

from __future__ import annotations

import pytest

from fastwhisper_compress.checkpoint.known import KNOWN
from fastwhisper_compress.memory.auto_batch import MOST_CLIPS, SHARE, choose_batch
from fastwhisper_compress.memory.estimate import estimate
from fastwhisper_compress.memory.layout import lay_out
from fastwhisper_compress.memory.runtime import Running
from fastwhisper_compress.memory.working_set import Workload
from fastwhisper_compress.recipe import load_recipe

LARGE = KNOWN["openai/whisper-large-v3"]
FP32, INT8 = (lay_out(load_recipe(name), LARGE) for name in ("fp32", "int8_dynamic"))


def needed(layout, batch):
    return estimate(layout, Workload(batch), Running(2)).peak


@pytest.mark.parametrize("free_mb", [7_000, 10_000, 12_345, 16_000, 19_999])
def test_it_is_the_largest_that_leaves_a_margin(free_mb):
    found = choose_batch([INT8], free_mb * 1_000_000, Running(2))
    assert 1 <= found.batch_size <= MOST_CLIPS
    assert found.needed_bytes == needed(INT8, found.batch_size) <= SHARE * found.free_bytes
    assert found.batch_size == MOST_CLIPS or found.more_bytes > SHARE * found.free_bytes
    assert f"batch size {found.batch_size} (auto)" in str(found)
    assert f"{free_mb:,} MB" in str(found)


def test_more_than_enough_is_not_used():
    found = choose_batch([INT8], 10**13, Running(2))
    assert (found.batch_size, found.more_bytes) == (MOST_CLIPS, None)
    assert "tries no more" in str(found)


def test_where_not_one_fits_one_is_tried_and_the_reason_told():
    found = choose_batch([INT8], 10**9, Running(2))
    assert found.batch_size == 1
    assert "more than 80 % of the 1,000 MB" in str(found)


def test_of_several_artifacts_the_largest_decides():
    free = 14 * 10**9
    alone = [choose_batch([one], free, Running(2)).batch_size for one in (FP32, INT8)]
    assert choose_batch([INT8, FP32], free, Running(2)).batch_size == min(alone) < max(alone)
