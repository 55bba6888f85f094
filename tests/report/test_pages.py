"""report.html, report.md and the card, looked at as a browser, a reader and an attacker would."""

from __future__ import annotations

import html
import itertools
import json
import re

import pytest
from report_builders import rendered, results_json, row, rows_pair, split_align, sweep
from report_reading import Page, check_safe, tables

from fastwhisper_compress.report.eval_tables import evaluation
from fastwhisper_compress.report.format import megabytes, number, percent
from fastwhisper_compress.report.model import Results

ATTACK = '"><script>alert(1)</script><img src=x onerror=alert(2)>|`x`**b**\u202egnp.exe\u202c\n# h\x00\ud800[a](javascript:b)'

EDGE_CASES = {
    "plain": {},
    "identical": {
        "delta__identical": True,
        "delta__wer_delta_pp": 0.0,
        "delta__ci95_pp": None,
        "delta__share_no_worse": 1.0,
    },
    "no interval": {"delta__ci95_pp": None},
    "offloaded": {
        "offload": {
            "mode": "phase",
            **{side: {"peak_rss_bytes": 1, "rtfx": 0.1} for side in ("plain", "offloaded")},
            "memory_ratio": 1.0,
            "time_ratio": 1.0,
            "tokens_identical": 0,
            "n_utterances": 1,
        }
    },
    "sweep": {"throughput": sweep()},
    "sweep that ran out of memory": {"throughput": sweep(failed="the measuring process was killed by signal 9")},
    "sweep on a GPU": {"throughput": sweep(video=True)},
    "speakers": {"delta__ci95_by_speaker_pp": [-0.6, 2.4], "delta__n_speakers": 40},
    "few speakers": {"delta__n_speakers": 1},
    "cer": {"candidate__eval__metric": "cer", "baseline__eval__metric": "cer", "suite__language": "ja"},
    "failed": {"candidate__eval__failed": [{"id": "u7", "error": "truncated FLAC"}]},
    "gpu": {
        "baseline__memory__peak_vram_bytes": 812_000_000,
        "candidate__memory__peak_vram_bytes": 431_000_000,
        "recipe__provider": "cuda",
    },
    "limited": {"comparable": False, "not_comparable_because": "--limit 5", "suite__limit": 5},
    "worse": {"delta__rtfx_ratio": 0.6, "candidate__memory__peak_rss_bytes": 500_000_000, "delta__ci95_pp": [2.0, 9.5]},
    "better": {"delta__wer_delta_pp": -3.0, "delta__ci95_pp": [-5.0, -1.0]},
    "point outside its interval": {"delta__wer_delta_pp": 2.0, "delta__ci95_pp": [0.1, 1.9]},
    "nothing measured": {
        "candidate__verify": {
            "token_agreement": None,
            "sqnr_db": {"encoder": None, "decoder": None},
            "max_abs_error": {"log_mel": None, "encoder": None, "logits": None},
            "greedy_tokens_equal": None,
            "gate": None,
        }
    },
    "bare": {
        "recipe__passes": [],
        "candidate__artifact__applied": [],
        "candidate__artifact__fusions": {},
        "baseline__artifact__fusions": {},
        "recipe__description": "",
        "timings_s": {},
    },
    "other precision": {"candidate__memory__weight_bytes_by_precision": {"fp32": 1_000_000, "nf4": 9_000_000}},
}


def page(out):
    return (out / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", EDGE_CASES)
def test_every_case_renders_whole_and_safe(tmp_path, name):
    rendered(tmp_path, **EDGE_CASES[name])
    check_safe(page(tmp_path))
    for file in ("report.md", "README.md"):
        text = (tmp_path / file).read_text(encoding="utf-8")
        assert "{{" not in text
        assert "None" not in text
        for table in tables(text):
            assert {len(cells) for cells in table} == {len(table[0])}
            assert set(table[1]) <= {":--", "--:"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "report.html", "report.md"]


def attack_changes():
    bad = [{"id": ATTACK, "error": ATTACK}]
    return {
        "recipe__name": ATTACK,
        "recipe__description": ATTACK,
        "recipe__overrides": [f"name={ATTACK}"],
        "recipe__passes": [{"pass": ATTACK, "targets": [ATTACK], "ignore": [ATTACK], ATTACK: ATTACK}],
        "model__id": ATTACK,
        "suite__name": ATTACK,
        "suite__license": ATTACK,
        "candidate__eval__failed": bad,
        "candidate__artifact__applied": [{"pass": ATTACK, "n_modules": 1, "note": ATTACK}],
        "candidate__artifact__fusions": {ATTACK: 1},
        "candidate__memory__weight_bytes_by_precision": {"fp32": 5, ATTACK: 90_000_000},
        "environment__cpu": ATTACK,
        "environment__versions": {ATTACK: ATTACK},
        "delta__statement": ATTACK,
        "timings_s": {ATTACK: 1.0},
        "not_comparable_because": ATTACK,
        "comparable": False,
    }


def test_hostile_strings_stay_text(tmp_path):
    rows = (
        [row(ATTACK, ATTACK, "fine", speaker=ATTACK)],
        [row(ATTACK, ATTACK, f"x {ATTACK}", (3, 0, 4), speaker=ATTACK)],
    )
    rendered(tmp_path, rows, **attack_changes())
    parsed = check_safe(page(tmp_path))
    assert "<script>alert(1)</script>" in parsed.text
    assert "⟨U+202E⟩gnp.exe" in parsed.text
    for file in ("report.md", "README.md"):
        text = (tmp_path / file).read_text(encoding="utf-8")
        outside = re.sub(r"(?ms)^(`{3,}).*?^\1$", "", text)
        assert "<" not in outside
        outside = re.sub(r"(?s)\A---\n.*?\n---\n", "", outside)  # the front matter is data, read by another test
        assert "`x`" not in outside
        assert "**b**" not in outside
        assert not re.search(r"(?<!\\)\]\(", outside)
        assert "\u202e" not in text
        assert "\n# h" not in text
        for table in tables(text):
            assert {len(cells) for cells in table} == {len(table[0])}


def test_the_front_matter_is_data(tmp_path):
    from ruamel.yaml import YAML

    rendered(tmp_path, **attack_changes())
    front = YAML(typ="safe").load((tmp_path / "README.md").read_text(encoding="utf-8").split("---\n")[1])
    assert set(front) == {"library_name", "pipeline_tag", "tags"}  # such a model id is no hub's
    assert front["tags"][:2] == ["whisper", "onnx"]


def test_the_card_names_its_base_model_and_how_to_load_it(tmp_path):
    rendered(tmp_path)
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert 'base_model: "openai/whisper-tiny.en"' in card
    assert "from fastwhisper_compress.runtime import load_artifact" in card
    assert "| Size on disk | 154.0 MB | 48.8 MB | 68.3 % less |" in card
    assert "| int8_dynamic |" in card


@pytest.mark.parametrize("file", ["report.html", "report.md"])
def test_numbers_are_those_of_the_results(tmp_path, file):
    results = rendered(tmp_path, delta__ci95_by_speaker_pp=[-0.41, 1.87], delta__n_speakers=31)
    text = (tmp_path / file).read_text(encoding="utf-8")
    text = (
        html.unescape(Page(text).text).replace("\xa0", " ")
        if file.endswith("html")
        else html.unescape(text).replace("\\", "")
    )
    for side in (results.baseline, results.candidate):
        expected = [
            percent(side.eval.wer),
            megabytes(side.artifact.size_on_disk_bytes),
            megabytes(side.memory.peak_rss_bytes),
            megabytes(side.memory.weight_bytes),
            megabytes(side.memory.rss_after_load_bytes),
            number(side.eval.rtfx, 1),
            number(side.eval.substitutions),
            number(side.eval.deletions),
            number(side.eval.insertions),
            f"{side.verify.sqnr_db.encoder:.1f} dB",
            f"{side.verify.max_abs_error.logits:.2g}",
            f"{side.verify.greedy_tokens_equal.n} of {side.verify.greedy_tokens_equal.of}",
        ]
        for value in expected:
            assert value in text
    for value in (
        "+0.73 pp",
        "+0.05 to +1.52 pp",
        "\N{MINUS SIGN}0.41 to +1.87 pp (31 speakers)",
        "91.9 % of 124",
        "1.50\N{MULTIPLICATION SIGN}",
        "98.2 %",
        "2,041",
    ):
        assert value in text
    for value in (
        results.model.digest,
        results.suite.digest,
        results.recipe.digest,
        results.environment.cpu,
        results.created,
    ):
        assert value in text
    for package, version in results.environment.versions.items():
        assert package in text
        assert version in text


def test_stored_and_computed_precision_stand_apart(tmp_path):
    rendered(tmp_path)
    (groups,) = [t for t in tables((tmp_path / "report.md").read_text(encoding="utf-8")) if t[0][:1] == ["Group"]]
    by_name = {cells[0]: cells for cells in groups[2:]}
    assert by_name["Encoder attention"][1:5] == ["16", "fp16", "fp32", "MatMul"]
    assert by_name["Encoder MLP"][2:5] == ["int8", "int8", "DynamicQuantizeMatMul"]
    assert by_name["Convolutions"][-1] == "kept"
    assert by_name["Token embedding"][-1] == "compressed"


@pytest.mark.parametrize("synthetic", [True, False])
def test_synthetic_speech_is_marked_wherever_its_figures_stand(tmp_path, synthetic):
    rendered(tmp_path, suite__synthetic=synthetic)
    text = page(tmp_path)
    captions = re.findall(r"<caption>(.*?)</caption>", text, re.DOTALL)
    measured = [c for c in captions if "paired by utterance" in c or "Errors, speed and memory" in c]
    assert len(measured) == 2
    assert all(("synthetic speech" in caption) is synthetic for caption in measured)
    cards = re.findall(r'<div class="card">\s*<dt>(.*?)</dt>', text, re.DOTALL)
    assert {card.split("<")[0] for card in cards if "synthetic" in card} == (
        {"WER", "Peak RSS", "RTFx"} if synthetic else set()
    )
    assert ("pp, synthetic speech" in text) is synthetic
    assert ("synthetic" in (tmp_path / "report.md").read_text(encoding="utf-8")) is synthetic
    assert ("synthetic" in (tmp_path / "README.md").read_text(encoding="utf-8")) is synthetic


def test_the_page_is_made_for_phones_darkness_paper_and_ears(tmp_path):
    rendered(tmp_path)
    text = page(tmp_path)
    parsed = Page(text)
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in text
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text
    assert ("html", {"lang": "en"}) in parsed.tags
    assert [tag for tag, _ in parsed.tags].count("h1") == 1
    n_tables = [tag for tag, _ in parsed.tags].count("table")
    assert n_tables == text.count("<caption>") == text.count('<div class="box" role="region" tabindex="0"')
    images = [attributes for _, attributes in parsed.tags if attributes.get("role") == "img"]
    assert len(images) == 3
    assert all(len(attributes["aria-label"]) > 40 for attributes in images)
    headings = [int(tag[1]) for tag, _ in parsed.tags if re.fullmatch("h[1-6]", tag)]
    assert all(deeper - higher <= 1 for higher, deeper in itertools.pairwise(headings))


def test_rendering_twice_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        rendered(tmp_path / name)
    for file in ("report.html", "report.md", "README.md"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_identical_rows_say_so(tmp_path):
    rows = rows_pair()[0]
    rendered(tmp_path, (rows, rows))
    assert "0 have more errors than under FP32, 0 fewer and 24 as many" in page(tmp_path)
    assert "<article" not in page(tmp_path)


def test_missed_and_inserted_words_are_marked(tmp_path):
    rendered(
        tmp_path,
        ([row("u", "one two three", "one two three")], [row("u", "one two three", "one too three four", (1, 0, 1))]),
    )
    assert "one <del>two</del> <ins>too</ins> three <ins>four</ins>" in page(tmp_path)
    assert "- Candidate: one ~~two~~ **too** three **four**" in (tmp_path / "report.md").read_text(encoding="utf-8")


def test_the_command_can_be_pasted(tmp_path):
    import shlex

    results = rendered(tmp_path, recipe__overrides=["passes.0.ignore=[a b]"], suite__limit=7, model__id="my models/x")
    command = re.search(r"<pre><code>(.*?)</code></pre>", page(tmp_path), re.DOTALL)
    words = shlex.split(html.unescape(command[1]))
    assert words[:5] == ["python", "-m", "fastwhisper_compress", "run", "int8_attn_fp16"]
    assert words[words.index("--model") + 1] == results.model.id
    assert words[words.index("-o") + 1] == "passes.0.ignore=[a b]"
    assert words[-2:] == ["--limit", "7"]


def test_files_of_the_user_are_placeholders_in_the_command(tmp_path):
    rendered(tmp_path / "own", recipe__shipped=False, suite__name="mine", suite__shipped=False)
    rendered(tmp_path / "shipped")
    for file in ("report.md", "README.md"):
        own = (tmp_path / "own" / file).read_text(encoding="utf-8")
        assert "run PATH/TO/int8_attn_fp16.yaml --model" in own
        assert "--suite PATH/TO/mine.jsonl --provider" in own
        shipped = (tmp_path / "shipped" / file).read_text(encoding="utf-8")
        assert "run int8_attn_fp16 --model" in shipped
        assert "--suite demo --provider" in shipped


def test_when_it_was_measured_and_what_was_resumed(tmp_path):
    def rows(out):
        text = (out / "report.md").read_text(encoding="utf-8")
        (found,) = [t for t in tables(text) if "Measured at, UTC" in {cells[0] for cells in t}]
        return text, {cells[0]: cells[1:3] for cells in found}

    rendered(tmp_path / "a", baseline__eval__measured_at=None)
    text, found = rows(tmp_path / "a")
    assert found["Measured at, UTC"] == ["\N{EN DASH}", "2026-08-14 09:30"]
    assert not any(name.startswith("Resumed") for name in found)
    assert "remaining utterances only" not in text
    rendered(tmp_path / "b", candidate__eval__resumed_rows=31)
    text, found = rows(tmp_path / "b")
    assert next(cells for name, cells in found.items() if name.startswith("Resumed")) == ["0", "31"]
    assert "Peak memory of a resumed run covers the remaining utterances only" in text


OFFLOAD = {
    "mode": "layers",
    "plain": {"peak_rss_bytes": 400_000_000, "rtfx": 10.0},
    "offloaded": {"peak_rss_bytes": 100_000_000, "rtfx": 8.0},
    "memory_ratio": 0.25,
    "time_ratio": 1.25,
    "tokens_identical": 9,
    "n_utterances": 10,
}


def test_the_price_of_offloading_is_told_where_there_is_one(tmp_path):
    rendered(tmp_path / "a")
    assert "What offloading costs" not in (tmp_path / "a" / "report.md").read_text(encoding="utf-8")
    rendered(tmp_path / "b", offload=OFFLOAD)
    (found,) = [
        t for t in tables((tmp_path / "b" / "report.md").read_text(encoding="utf-8")) if "Offload: layers" in t[0]
    ]
    assert [cells[1:] for cells in found if cells[0] == "Peak RSS"] == [
        ["400.0 MB", "100.0 MB", "0.25\N{MULTIPLICATION SIGN}"]
    ]
    assert [cells[1:] for cells in found if cells[0] == "RTFx"] == [["10.0", "8.0", "0.80\N{MULTIPLICATION SIGN}"]]
    assert any("9 of 10" in cells for cells in found)
    assert "What offloading costs and saves" in (tmp_path / "b" / "report.html").read_text(encoding="utf-8")


def test_saved_results_can_be_rendered_again(tmp_path):
    from fastwhisper_compress.report import Results, read_rows, render

    results = rendered(tmp_path / "a")
    results.save(tmp_path / "a" / "results.json")
    files = []
    for name, rows in zip(("baseline", "candidate"), rows_pair(), strict=True):
        files.append(tmp_path / f"{name}.jsonl")
        files[-1].write_text("".join(json.dumps(one) + "\n" for one in rows), encoding="utf-8")
    render(Results.load(tmp_path / "a"), *map(read_rows, files), tmp_path / "b", align=split_align)
    assert page(tmp_path / "a") == page(tmp_path / "b")


@pytest.mark.parametrize(
    ("used", "recoveries", "shown"), [(8, [], "batch 8"), (2, [[8, 4], [4, 2]], "batch 8, recovered to 2")]
)
def test_the_batch_is_shown_and_what_memory_made_of_it(used, recoveries, shown):
    changed = {"batch_size": 8, "batch_size_used": used, "recoveries": recoveries}
    results = Results.from_json(results_json(**{f"candidate__eval__{key}": value for key, value in changed.items()}))
    table = evaluation(results, "")
    assert ("Clips at a time", "batch 1", shown, "") in table.rows
    assert "Clips at a time" not in {row[0] for row in evaluation(Results.from_json(results_json()), "").rows}
