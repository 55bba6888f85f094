"""Does a 95 % interval hold the truth in 95 % of cases? Simulated data sets with a known difference give the answer."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pytest

from fastwhisper_compress.errors import UsageError
from fastwhisper_compress.evaluation.stats import paired_delta
from fastwhisper_compress.evaluation.wer import Counts

if TYPE_CHECKING:
    from collections.abc import Callable

# ---------------------------------------------------------------------------------------------- simulated error counts


def lengths(rng, n):
    return 3 + rng.negative_binomial(3, 0.16, n)  # words per utterance: mean 19, long tail


def signed(rng, n, share, losses, size):
    """`share` of utterances change, `losses` of these for the worse, by `size` errors."""
    return (rng.random(n) < share) * np.where(rng.random(n) < losses, 1, -1) * size


def small_changes(rng, n):
    return signed(rng, n, 0.25, 0.6, rng.geometric(0.6, n)), lengths(rng, n)


def equal_models(rng, n):
    return signed(rng, n, 0.2, 0.5, np.minimum(1 + np.floor(rng.lognormal(0, 0.8, n)), 60)), lengths(rng, n)


def lognormal_losses(rng, n):
    return signed(rng, n, 0.2, 0.7, np.minimum(1 + np.floor(rng.lognormal(0, 1, n)), 100)), lengths(rng, n)


def clustered_losses(rng, n):
    """Words are lost together: a hit utterance loses a share of all its words."""
    words = lengths(rng, n)
    lost = np.maximum(1, np.round(words * rng.beta(0.8, 3, n)))
    won = rng.geometric(0.7, n)
    return (rng.random(n) < 0.15) * np.where(rng.random(n) < 0.7, lost, -won), words


def loops(rng, n):
    difference, words = small_changes(rng, n)
    return difference + (rng.random(n) < 0.04) * rng.integers(10, 40, n), words


POPULATIONS = [small_changes, equal_models, lognormal_losses, clustered_losses, loops]


@cache
def truth(population):
    if population is equal_models:
        return 0.0
    difference, words = population(np.random.default_rng(99), 2_000_000)
    return 100 * difference.sum() / words.sum()


def pair(difference, words):
    """Counts of two models whose errors differ by `difference`."""
    baseline = [Counts(int(w), 0, 0, int(max(0, -d))) for d, w in zip(difference, words, strict=True)]
    candidate = [Counts(int(w), 0, 0, int(max(0, d))) for d, w in zip(difference, words, strict=True)]
    return baseline, candidate


def coverage(population, *, replicas, n, seed):
    """Share of data sets whose interval holds the truth."""
    rng, true = np.random.default_rng(seed), truth(population)
    held = 0
    for _ in range(replicas):
        result = paired_delta(*pair(*population(rng, n)), n_resamples=599)
        held += result["ci95_pp"][0] <= true <= result["ci95_pp"][1]
    return held / replicas


@pytest.mark.parametrize("population", POPULATIONS, ids=lambda population: population.__name__)
def test_interval_holds_the_truth_as_often_as_it_says(population):
    assert 0.93 <= coverage(population, replicas=700, n=150, seed=1) <= 0.97


@pytest.mark.slow
@pytest.mark.parametrize("n", [150, 500])
@pytest.mark.parametrize("population", POPULATIONS, ids=lambda population: population.__name__)
def test_coverage_with_many_replicas(population, n):
    assert 0.93 <= coverage(population, replicas=3_000, n=n, seed=2) <= 0.97


def test_equal_models_are_called_different_in_five_percent():
    rng = np.random.default_rng(3)
    verdicts = [paired_delta(*pair(*equal_models(rng, 150)), n_resamples=599)["statement"] for _ in range(1_000)]
    called = sum(text.endswith((": worse", ": better")) for text in verdicts)
    assert 30 <= called <= 70


# ------------------------------------------------------------------------------------------------------- by speaker


def with_speakers(rng, sizes):
    """Differences and lengths where some speakers suffer more than others; named speakers of unequal size."""
    names, differences, words = [], [], []
    for speaker, size in enumerate(sizes):
        share = min(0.9, 0.1 + rng.gamma(0.8, 0.2))
        change = signed(rng, size, share, rng.beta(6, 4), rng.geometric(0.55, size))
        names += [f"speaker {speaker}"] * size
        differences.append(change)
        words.append(lengths(rng, size))
    return np.concatenate(differences), np.concatenate(words), names


@cache
def truth_over_speakers():
    difference, words, _ = with_speakers(np.random.default_rng(98), (100,) * 10_000)
    return 100 * difference.sum() / words.sum()


@pytest.mark.parametrize("sizes", [(15,) * 5, (38, 27, *(10,) * 6), (12,) * 25], ids=["5", "8 unequal", "25"])
def test_interval_by_speaker_holds_the_truth_for_new_speakers(sizes):
    rng, true = np.random.default_rng(4), truth_over_speakers()
    by_speaker = by_utterance = 0
    replicas = 500
    for _ in range(replicas):
        difference, words, names = with_speakers(rng, sizes)
        result = paired_delta(*pair(difference, words), names, n_resamples=199)
        by_speaker += result["ci95_by_speaker_pp"][0] <= true <= result["ci95_by_speaker_pp"][1]
        by_utterance += result["ci95_pp"][0] <= true <= result["ci95_pp"][1]
    assert 0.93 <= by_speaker / replicas <= 0.97
    assert by_utterance < by_speaker  # utterances of one speaker hang together: ignoring it is too sure of itself


def test_one_speaker_or_missing_names_give_no_interval_by_speaker():
    difference, words = small_changes(np.random.default_rng(5), 30)
    one = paired_delta(*pair(difference, words), ["a"] * 30)
    assert (one["n_speakers"], one["ci95_by_speaker_pp"]) == (1, None)
    missing = paired_delta(*pair(difference, words), ["a", None] * 15)
    assert (missing["n_speakers"], missing["ci95_by_speaker_pp"]) == (None, None)
    assert paired_delta(*pair(difference, words))["n_speakers"] is None


def test_few_speakers_give_a_wide_interval():
    difference, words = small_changes(np.random.default_rng(6), 60)
    two = paired_delta(*pair(difference, words), ["a"] * 30 + ["b"] * 30)
    low, high = two["ci95_by_speaker_pp"]
    reach = np.diff([100 * difference[s].sum() / words[s].sum() for s in (slice(30), slice(30, None))])
    assert high - low > 5 * abs(reach[0])
    assert two["n_speakers"] == 2


def test_interval_by_speaker_leaves_out_one_speaker_at_a_time():
    # a, b and c lose 3 of 10, 1 of 20 and 2 of 70 words: 6 % together; 3 of 90, 5 of 80, 4 of 30 without one of them.
    baseline, candidate = pair([2, 0, 1, 1, 2], [4, 70, 6, 20, 0])
    result = paired_delta(baseline, candidate, ["a", "c", "a", "b", "c"])
    error = np.sqrt(2 / 3 * ((3 / 90 - 0.06) ** 2 + (5 / 80 - 0.06) ** 2 + (4 / 30 - 0.06) ** 2))
    reach = 4.302653 * error  # Student's t with two degrees of freedom
    assert result["ci95_by_speaker_pp"] == pytest.approx([100 * (0.06 - reach), 100 * (0.06 + reach)], rel=1e-6)
    assert result["n_speakers"] == 3


# --------------------------------------------------------------------------------------------------- the point itself


def test_delta_is_the_difference_of_the_corpus_rates_in_percentage_points():
    baseline = [Counts(8, 1, 1, 0), Counts(90, 5, 5, 2)]
    candidate = [Counts(7, 2, 1, 3), Counts(91, 5, 4, 0)]
    result = paired_delta(baseline, candidate)
    assert result["wer_delta_pp"] == pytest.approx(100 * (6 + 9 - 2 - 12) / 110)
    assert result["share_no_worse"] == 0.5
    assert result["insertions_delta"] == 1
    assert (result["unit"], result["n_units"]) == ("utterance", 2)


def test_share_no_worse_counts_the_equal_but_not_the_slightly_worse():
    assert paired_delta(*pair([-1, 0, 0, 1, 2], [10] * 5))["share_no_worse"] == pytest.approx(0.6)


def test_the_same_seed_gives_the_same_interval_and_another_seed_a_near_one():
    counts = pair(*lognormal_losses(np.random.default_rng(7), 150))
    first, again, other = (paired_delta(*counts, seed=seed)["ci95_pp"] for seed in (0, 0, 1))
    assert first == again == paired_delta(*counts)["ci95_pp"]
    assert other == pytest.approx(first, abs=0.15)


def test_as_many_resamples_are_drawn_as_asked():
    counts = pair(*lognormal_losses(np.random.default_rng(7), 150))
    few, many = (paired_delta(*counts, n_resamples=n)["ci95_pp"] for n in (99, 9_999))
    assert few != many


def test_interval_does_not_depend_on_the_size_of_the_batches(monkeypatch: pytest.MonkeyPatch):
    counts = pair(*lognormal_losses(np.random.default_rng(8), 150))
    whole = paired_delta(*counts, n_resamples=999)["ci95_pp"]
    monkeypatch.setattr("fastwhisper_compress.evaluation.stats._BATCH_ELEMENTS", 150 * 10)
    assert paired_delta(*counts, n_resamples=999)["ci95_pp"] == pytest.approx(whole, abs=0.3)


def bca_by_hand(difference, words):
    """The bias-corrected and accelerated bootstrap of the ratio, from its definition, in percentage points."""
    from scipy.stats import norm

    ratio = difference.sum() / words.sum()
    drawn = np.random.default_rng(10).integers(len(words), size=(50_000, len(words)))
    errors, lengths = difference[drawn].sum(axis=1), words[drawn].sum(axis=1)
    found = np.where(lengths > 0, errors / np.maximum(lengths, 1), 0)
    without = (difference.sum() - difference) / (words.sum() - words)
    skew = without.mean() - without
    acceleration = (skew**3).sum() / (6 * (skew**2).sum() ** 1.5)
    bias = norm.ppf(((found < ratio).mean() + (found <= ratio).mean()) / 2)
    z = bias + norm.ppf([0.025, 0.975])
    return 100 * np.quantile(found, norm.cdf(bias + z / (1 - acceleration * z)))


def student_by_hand(difference, words):
    from scipy.stats import t

    n, ratio = len(words), difference.sum() / words.sum()
    without = (difference.sum() - difference) / (words.sum() - words)
    reach = t.ppf(0.975, n - 1) * np.sqrt((n - 1) / n * ((without - ratio) ** 2).sum())
    return 100 * np.array([ratio - reach, ratio + reach])


@pytest.mark.parametrize(
    ("difference", "words"),
    [
        ([0, 0, 1, 3, 0, 0, 6, 0, 2, 0] * 4, [4, 9, 12, 20, 31, 7, 15, 8, 11, 2] * 4),
        ([0, 0, -1, -3, 0, 0, -6, 0, -2, 0] * 4, [4, 9, 12, 20, 31, 7, 15, 8, 11, 2] * 4),
        ([1, 2, 3, 4, 5, 6, 7, 8, 9, 11] * 2, [10, 20, 30, 40, 50, 60, 70, 80, 90, 100] * 2),
        ([0, 0, 0, 0, 0, 1, 0, 0], [1, 1, 1, 1, 0, 0, 0, 0]),
    ],
    ids=["losses", "gains", "errors that grow with the words", "references of one word or none"],
)
def test_interval_is_the_envelope_of_both_methods_computed_by_hand(difference, words):
    found = np.array(paired_delta(*pair(difference, words))["ci95_pp"])
    difference, words = np.array(difference, float), np.array(words, float)
    both = np.stack([bca_by_hand(difference, words), student_by_hand(difference, words)])
    expected = np.array([both[:, 0].min(), both[:, 1].max()])
    assert found == pytest.approx(expected, abs=0.06 * np.diff(expected)[0])


def test_interval_is_never_narrower_than_either_of_its_two_parts():
    from scipy.stats import t

    difference, words = clustered_losses(np.random.default_rng(9), 150)
    low, high = paired_delta(*pair(difference, words))["ci95_pp"]
    ratio = difference.sum() / words.sum()
    residual = difference - ratio * words
    error = np.sqrt(150 / 149 * (residual**2).sum()) / words.sum()
    reach = t.ppf(0.975, 149) * error
    assert low <= 100 * (ratio - 0.97 * reach)
    assert high > 100 * (ratio + 1.05 * reach)  # the long tail is on this side


# ------------------------------------------------------------------------------------------------------ no variation


def test_identical_transcripts_are_no_difference_seen_and_not_certainty():
    counts = [Counts(9, 1, 0, 0)] * 150
    result = paired_delta(counts, counts, ["a"] * 75 + ["b"] * 75, n_transcripts_differ=0)
    assert result["identical"] is True
    assert result["ci95_pp"] is None
    assert result["ci95_by_speaker_pp"] is None
    assert result["wer_delta_pp"] == 0
    assert result["statement"].startswith("no difference seen in 150 utterances: all transcripts are identical")
    assert "fewer than 2.0 % of speech may be unseen" in result["statement"]


def test_equal_counts_of_unknown_transcripts_are_taken_for_identical():
    counts = [Counts(9, 1, 0, 0)] * 40
    result = paired_delta(counts, counts, unit="utterance or window")
    assert result["identical"] is True
    assert result["statement"].startswith("no difference seen in 40 utterances or windows; ")
    assert "fewer than 7.2 % of speech" in result["statement"]
    assert paired_delta(*pair([1, 0], [9, 9]))["identical"] is False


def test_equal_counts_of_different_transcripts_are_not_called_identical():
    counts = [Counts(9, 1, 0, 0)] * 40
    result = paired_delta(counts, counts, n_transcripts_differ=3)
    assert result["identical"] is False
    assert "3 transcripts differ, none in its number of errors" in result["statement"]


def test_one_utterance_gives_a_point_without_an_interval():
    result = paired_delta([Counts(9, 1, 0, 0)], [Counts(8, 2, 0, 0)])
    assert result["wer_delta_pp"] == pytest.approx(10)
    assert result["ci95_pp"] is None
    assert "too little variation" in result["statement"]


def test_the_same_change_everywhere_has_no_variation_to_measure():
    result = paired_delta([Counts(10, 0, 0, 0)] * 20, [Counts(9, 1, 0, 0)] * 20)
    assert result["ci95_pp"] is None
    assert result["wer_delta_pp"] == pytest.approx(10)


def test_two_utterances_give_a_wide_interval():
    result = paired_delta([Counts(10, 0, 0, 0)] * 2, [Counts(10, 0, 0, 0), Counts(8, 2, 0, 0)])
    low, high = result["ci95_pp"]
    assert low < 0
    assert high > 10
    assert np.isfinite([low, high]).all()


def test_all_words_in_one_utterance_give_a_point_without_an_interval():
    result = paired_delta([Counts(10), Counts(0)], [Counts(9, 1), Counts(0, 0, 0, 2)])
    assert result["wer_delta_pp"] == pytest.approx(30)
    assert result["ci95_pp"] is None


@pytest.mark.filterwarnings("ignore:Degrees of freedom:RuntimeWarning")
def test_the_t_interval_is_left_where_bca_has_no_answer():
    difference, words = np.array([0, 0, 0, 1, 2, 5, 17]), np.array([3, 5, 7, 11, 13, 17, 19])
    with np.errstate(invalid="ignore"):
        found = paired_delta(*pair(difference, words), n_resamples=1)["ci95_pp"]  # one falls on one side
    assert found == pytest.approx(list(student_by_hand(difference, words)))


def test_an_empty_reference_counts_its_insertions_and_breaks_nothing():
    baseline = [Counts(0, 0, 0, 0), Counts(5, 0, 0, 0), Counts(9, 1, 0, 0)]
    candidate = [Counts(0, 0, 0, 12), Counts(5, 0, 0, 0), Counts(9, 1, 0, 0)]
    result = paired_delta(baseline, candidate)
    assert result["wer_delta_pp"] == pytest.approx(100 * 12 / 15)
    assert result["insertions_delta"] == 12
    assert np.isfinite(result["ci95_pp"]).all()


def test_no_reference_words_at_all_is_refused():
    with pytest.raises(UsageError, match="no reference has a word"):
        paired_delta([Counts()], [Counts(insertions=1)])


def test_lists_of_different_length_are_a_bug_of_the_caller():
    with pytest.raises(ValueError, match="zip"):
        paired_delta([Counts(1)], [Counts(1), Counts(1)])


@dataclass(frozen=True)
class Case:
    difference: Callable[[int], int]
    verdict: str
    words: int = 15


@pytest.mark.parametrize(
    "case",
    [
        Case(lambda i: i % 3, ": worse"),
        Case(lambda i: -(i % 3), ": better"),
        Case(lambda i: (-1) ** i * (i % 5), "are both compatible with these data"),
        Case(lambda i: i % 3, ": worse", words=150),
        Case(lambda i: (-1) ** i * (i % 5), "are both compatible with these data", words=1500),
    ],
    ids=["worse", "better", "open", "worse by less than a point", "open by less than a point"],
)
def test_verdict_in_the_statement(case):
    difference = [case.difference(i) for i in range(120)]
    statement = paired_delta(*pair(difference, [case.words] * 120), metric="cer")["statement"]
    assert statement.startswith("CER ")
    assert "95 % interval" in statement
    assert statement.endswith(case.verdict)


def test_verdict_heeds_the_wider_interval_by_speaker():
    # A loss in every utterance of one speaker and none of the others: sure by utterance, open by speaker.
    difference = [2] * 30 + [0] * 90
    names = [f"s{i // 30}" for i in range(120)]
    result = paired_delta(*pair(difference, [15] * 120), names)
    assert result["ci95_pp"][0] > 0 > result["ci95_by_speaker_pp"][0]
    assert result["statement"].endswith("are both compatible with these data")
    assert "over 4 speakers" in result["statement"]


@pytest.mark.parametrize("sign", [1, -1])
def test_an_interval_that_touches_zero_proves_nothing(sign):
    # Enough resamples lose as often as they win for BCa to end in 0; the t interval is just off it.
    difference = [sign] * 12 + [-sign] * 4 + [0] * 4
    result = paired_delta(*pair(difference, [10] * 20))
    assert 0 in result["ci95_pp"]
    assert min(sign * student_by_hand(np.array(difference), np.array([10] * 20))) > 0
    assert result["statement"].endswith("are both compatible with these data")


@pytest.mark.parametrize("names", [None, [f"s{i // 30}" for i in range(120)]], ids=["no speakers", "speakers"])
def test_the_statement_repeats_the_figures(names):
    difference = [5] * 30 + [-1, 0, 0] * 30
    result = paired_delta(*pair(difference, [15] * 120), names)
    assert result["statement"].startswith("WER ")
    expected = [result["wer_delta_pp"], 120, 95, *result["ci95_pp"]]
    expected += [*result["ci95_by_speaker_pp"], 4, result["ci95_by_speaker_pp"][1]] if names else []
    figures = [float(one) for one in re.findall(r"[+-]?\d+(?:\.\d+)?", result["statement"])]
    assert figures == pytest.approx(expected, abs=0.0051)
