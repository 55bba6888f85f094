from __future__ import annotations

import pytest
from report_builders import results_json

from fastwhisper_compress.report import Results, verdict
from fastwhisper_compress.report.judge import loss_text, marks


def build(**changes):
    return Results.from_json(results_json(**changes))


def mark_texts(results):
    return {mark.text for mark in marks(results)}


def test_the_verdict_is_one_sentence_with_the_numbers():
    text = verdict(build())
    assert text.endswith(".")
    assert "\n" not in text
    for part in (
        "10.29 % to 11.02 %",
        "+0.73 pp",
        "95 % interval +0.05 to +1.52 pp",
        "68.3 % less",
        "318.2 MB peak RSS (26.3 % less)",
        "1.50\N{MULTIPLICATION SIGN} the speed of FP32",
        "124 utterances",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("utterance", "speaker", "expected"),
    [
        ([-0.2, 0.9], None, "a loss of 1 pp or more is excluded"),
        ([-0.2, 1.0], None, "not excluded by the interval"),
        ([-0.2, 0.9], [-0.8, 1.4], "not excluded by the interval"),
        ([0.1, 0.9], None, "a loss is established, but one of 1 pp or more is excluded"),
        ([1.1, 2.9], None, "harmful loss of 1 pp or more is established"),
        ([1.1, 2.9], [0.4, 3.0], "not excluded by the interval"),
        ([-1.5, -0.1], None, "an improvement"),
        ([-1.5, -0.1], [-2.0, 0.3], "a loss of 1 pp or more is excluded"),
        (None, None, "no interval could be computed"),
        (None, [-0.2, 0.4], "a loss of 1 pp or more is excluded"),
    ],
)
def test_harm_is_judged_on_the_wider_interval(utterance, speaker, expected):
    results = build(
        delta__ci95_pp=utterance, delta__ci95_by_speaker_pp=speaker, delta__n_speakers=30 if speaker else None
    )
    assert expected in loss_text(results)
    assert expected in verdict(results)


@pytest.mark.parametrize(("upper", "marked"), [(0.99, False), (1.0, True), (3.0, True)])
def test_the_mark_of_an_open_loss(upper, marked):
    assert ("1 pp loss not excluded" in mark_texts(build(delta__ci95_pp=[-0.5, upper]))) is marked


def test_identical_transcripts_are_no_certainty():
    results = build(delta__identical=True, delta__wer_delta_pp=0.0, delta__ci95_pp=None)
    assert "no difference seen in 124 utterances, which is not proof of none" in verdict(results)
    assert "1 pp loss not excluded" not in mark_texts(results)


@pytest.mark.parametrize(
    ("ratio", "slower", "expected"),
    [
        (0.8, True, "slower than FP32 (0.80\N{MULTIPLICATION SIGN} its speed)"),
        (0.998, False, ", as fast as FP32; "),
        (1.3, False, "1.30\N{MULTIPLICATION SIGN} the speed"),
    ],
)
def test_speed_is_said_plainly(ratio, slower, expected):
    results = build(delta__rtfx_ratio=ratio)
    assert expected in verdict(results)
    assert ("slower than FP32" in mark_texts(results)) is slower


@pytest.mark.parametrize(("saved", "said"), [(-3.0, True), (0.0, True), (0.04, True), (0.2, False)])
def test_no_memory_saved_is_said_plainly(saved, said):
    results = build(delta__rss_saved_pct=saved)
    assert ("saves no memory at run time" in verdict(results)) is said
    assert ("saves no memory at run time" in mark_texts(results)) is said


def test_video_memory_is_judged_where_it_was_measured():
    results = build(baseline__memory__peak_vram_bytes=500_000_000, candidate__memory__peak_vram_bytes=500_000_000)
    assert "peak VRAM 500.0 MB to 500.0 MB (the same)" in verdict(results)
    assert "saves no video memory" in verdict(results)
    assert "VRAM" not in verdict(build())
    for after, said in ((250_000_000, "250.0 MB (50.0 % less)"), (0, "0 MB (100.0 % less)")):
        results = build(baseline__memory__peak_vram_bytes=500_000_000, candidate__memory__peak_vram_bytes=after)
        assert f", peak VRAM 500.0 MB to {said}" in verdict(results)
    assert "video" not in verdict(build(candidate__memory__peak_vram_bytes=500_000_000))


def test_limited_synthetic_failed_and_gate():
    results = build(
        comparable=False,
        not_comparable_because="--limit 10",
        suite__limit=10,
        candidate__eval__failed=[{"id": "a", "error": "cannot decode"}],
        candidate__verify__gate={"token_agreement": 0.99, "passed": False},
    )
    text = verdict(results)
    assert "limited and not comparable (--limit 10)" in text
    assert "synthetic" in text
    assert "1 audio file failed and counts as deletions" in text
    assert "fails its quality gate" in text
    assert {"not comparable", "synthetic speech", "failed audio", "gate failed"} <= mark_texts(results)


def test_a_run_that_is_not_comparable_for_no_reason_says_so():
    results = build(comparable=False, not_comparable_because=None)
    assert "limited and not comparable (reason not given)" in verdict(results)


def test_a_clean_run_has_no_marks():
    results = build(suite__synthetic=False, delta__ci95_pp=[-0.3, 0.5])
    assert marks(results) == ()
    assert "synthetic" not in verdict(results)
    assert results.candidate.verify.gate.passed
    assert "quality gate" not in verdict(results)


def test_characters_are_called_by_their_name():
    assert "CER 10.29 % to" in verdict(build(candidate__eval__metric="cer", baseline__eval__metric="cer"))


@pytest.mark.parametrize(
    ("before", "after", "marked"),
    [
        ("2026-08-14T09:00:00+00:00", "2026-08-14T10:00:00+00:00", False),
        ("2026-08-14T09:00:00+00:00", "2026-08-14T10:00:01+00:00", True),
        ("2026-08-14T10:00:01+00:00", "2026-08-14T09:00:00+00:00", True),
        ("2026-08-14T09:00:00+00:00", "2026-08-14T11:30:00+02:00", False),
        ("2026-08-14T09:00:00", "2026-08-14T09:30:00Z", False),
        (None, "2026-08-14T09:00:00+00:00", True),
        ("2026-08-14T09:00:00+00:00", None, True),
        ("yesterday", "2026-08-14T09:00:00+00:00", True),
    ],
)
def test_speeds_of_different_times_are_marked(before, after, marked):
    results = build(baseline__eval__measured_at=before, candidate__eval__measured_at=after)
    assert ("speeds measured at different times" in mark_texts(results)) is marked


@pytest.mark.parametrize("side", ["baseline", "candidate"])
def test_a_resumed_side_is_marked(side):
    assert "resumed run" in mark_texts(build(**{f"{side}__eval__resumed_rows": 3}))
    assert "resumed run" not in mark_texts(build())


@pytest.mark.parametrize(
    ("changes", "text", "tone"),
    [
        ({"candidate__verify__gate": {"token_agreement": 0.99, "passed": False}}, "gate failed", "bad"),
        ({"comparable": False, "not_comparable_because": "--limit 10"}, "not comparable", "bad"),
        ({"delta__ci95_pp": [-0.5, 1.0]}, "1 pp loss not excluded", "bad"),
        ({"delta__rss_saved_pct": 0.0}, "saves no memory at run time", "bad"),
        (
            {"baseline__memory__peak_vram_bytes": 1000, "candidate__memory__peak_vram_bytes": 1000},
            "saves no video memory",
            "bad",
        ),
        ({"delta__rtfx_ratio": 0.8}, "slower than FP32", "bad"),
        ({"candidate__eval__failed": [{"id": "a", "error": "cannot decode"}]}, "failed audio", "warn"),
        ({"baseline__eval__measured_at": None}, "speeds measured at different times", "warn"),
        ({"baseline__eval__resumed_rows": 1}, "resumed run", "warn"),
        ({"candidate__eval__resumed_rows": 1}, "resumed run", "warn"),
        ({"suite__synthetic": True}, "synthetic speech", "warn"),
    ],
)
def test_each_mark_has_its_tone(changes, text, tone):
    clean = {"suite__synthetic": False, "delta__ci95_pp": [-0.3, 0.5]}
    assert marks(build(**clean | changes)) == ((text, tone),)


def test_reasons_for_distrust_follow_the_sentence_one_by_one():
    failed = [{"id": name, "error": "cannot decode"} for name in "ab"]
    text = verdict(
        build(
            suite__synthetic=True,
            delta__rss_saved_pct=0.0,
            delta__ci95_pp=None,
            delta__ci95_by_speaker_pp=[-0.2, 0.4],
            delta__n_speakers=9,
            candidate__eval__failed=failed,
            candidate__verify__gate={"token_agreement": 0.99, "passed": False},
            baseline__memory__peak_vram_bytes=500_000_000,
            candidate__memory__peak_vram_bytes=501_000_000,
        )
    )
    _, *said = text.removesuffix(".").split("; ")
    assert said[1:] == [
        "it fails its quality gate",
        "it saves no memory at run time",
        "it saves no video memory",
        "2 audio files failed and count as deletions",
        "the speech is synthetic, so expect other error rates on real speech",
    ]
    assert said[0].startswith(
        "WER 10.29 % to 11.02 %, +0.73 pp (no 95 % interval, by speaker \N{MINUS SIGN}0.20 to +0.40 pp, "
    )
    assert "on disk (" in text
    assert "26.3 % less), peak VRAM" not in text
    assert "peak RSS" in text
    assert ", peak VRAM 500.0 MB to 501.0 MB (" in text


@pytest.mark.parametrize(("after", "said"), [(1_000_000, True), (999_600, True), (997_000, False), (0, False)])
def test_video_memory_is_judged_at_the_precision_that_is_printed(after, said):
    # 0.04 % less is printed as 0.0 %, 0.3 % is not.
    results = build(baseline__memory__peak_vram_bytes=1_000_000, candidate__memory__peak_vram_bytes=after)
    assert ("saves no video memory" in mark_texts(results)) is said


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        ([1.0, 2.9], "a harmful loss of 1 pp or more is established"),
        ([0.9, 2.9], "a harmful loss of 1 pp or more is not excluded by the interval"),
        ([0.0, 0.9], "a loss of 1 pp or more is excluded"),
        ([-1.0, 0.0], "a loss of 1 pp or more is excluded"),
        ([-1.0, -0.1], "an improvement on this suite"),
        (None, "no interval could be computed, so a harmful loss is not excluded"),
    ],
)
def test_what_the_interval_says_at_its_bounds(interval, expected):
    assert loss_text(build(delta__ci95_pp=interval)) == expected
