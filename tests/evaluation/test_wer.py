from __future__ import annotations

import random
import subprocess
import sys

import jiwer
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastwhisper_compress.errors import BackendError
from fastwhisper_compress.evaluation import wer
from fastwhisper_compress.evaluation.wer import Counts, alignment, error_rate, has_repetition_loop, normalise, score

words = st.lists(st.sampled_from(["anna", "bert", "carl", "dora", "emil", "7", "zwölf"]), max_size=12).map(" ".join)


@pytest.mark.parametrize("language", ["en", "de", "zh"])
@settings(max_examples=60, deadline=None)
@given(pairs=st.lists(st.tuples(words, words), min_size=1, max_size=8))
def test_sums_and_rate_are_those_of_jiwer_on_the_whole_corpus(pairs, language):
    counts = score(pairs, language)
    references, hypotheses = zip(*((normalise(r, language), normalise(h, language)) for r, h in pairs), strict=True)
    process = jiwer.process_characters if language == "zh" else jiwer.process_words
    whole = process(list(references), list(hypotheses))
    total = wer.total(counts)
    assert (total.hits, total.substitutions, total.deletions, total.insertions) == (
        whole.hits,
        whole.substitutions,
        whole.deletions,
        whole.insertions,
    )
    if total.n_ref_words:
        assert error_rate(total) == pytest.approx(whole.cer if language == "zh" else whole.wer)


@pytest.mark.parametrize("language", ["en", "ja"])
@settings(max_examples=40, deadline=None)
@given(pairs=st.lists(st.tuples(words, words), min_size=1, max_size=5))
def test_counts_of_an_utterance_do_not_depend_on_its_company(pairs, language):
    assert score(pairs, language) == [score([pair], language)[0] for pair in pairs]


def test_english_normaliser_reads_numbers_contractions_and_spelling():
    assert normalise("Mr. Neill won't pay twenty-five dollars for colour [noise]!", "en") == (
        "mister neill will not pay $25 for color"
    )
    assert score([("It's twenty two colours", "it is 22 colors")], "en") == [Counts(hits=4)]


def test_other_languages_get_the_basic_normaliser():
    assert normalise("Zweiundzwanzig, Straße!", "de") == "zweiundzwanzig straße"
    assert normalise("I won't", "de") == "i won t"


@pytest.mark.parametrize("language", ["zh", "ja", "th", "yue", "lo", "my", "km"])
def test_languages_without_spaces_are_scored_by_character(language):
    assert wer.metric_for(language) == "cer"


def test_spaces_do_not_count_in_a_character_error_rate():
    assert score([("今天 天气 很好。", "今天天气真好")], "zh") == [Counts(hits=5, substitutions=1)]
    assert wer.metric_for("de") == wer.metric_for("en") == "wer"


def test_an_empty_reference_keeps_its_row_and_counts_insertions():
    counts = score([("[music]", "thank you for watching"), ("", ""), ("hello there", "hello there")], "en")
    assert counts == [Counts(insertions=4), Counts(), Counts(hits=2)]
    assert error_rate(wer.total(counts)) == 2.0  # more insertions than words: above one, as jiwer has it


def test_an_empty_hypothesis_is_all_deletions():
    assert score([("three words here", "")], "en") == [Counts(deletions=3)]


def test_a_corpus_without_reference_words_has_no_rate():
    assert error_rate(Counts(insertions=3)) != error_rate(Counts(insertions=3))
    assert score([], "en") == []


def test_alignment_shows_normalised_words_in_order():
    assert alignment("The cat sat down, mister Smith", "the bat sat Mr. Smith again") == [
        ("equal", ["the"], ["the"]),
        ("substitute", ["cat"], ["bat"]),
        ("equal", ["sat"], ["sat"]),
        ("delete", ["down"], []),
        ("equal", ["mister", "smith"], ["mister", "smith"]),
        ("insert", [], ["again"]),
    ]
    assert alignment("你好", "你们好", "zh") == [
        ("equal", ["你"], ["你"]),
        ("insert", [], ["们"]),
        ("equal", ["好"], ["好"]),
    ]
    assert alignment("colour", "color") == alignment("color", "colour") == [("equal", ["color"], ["color"])]
    assert alignment("", "") == []


PROSE = (
    "He hoped there would be stew for dinner, turnips and carrots and bruised potatoes and fat mutton pieces to be "
    "ladled out in thick, peppered, flour fattened sauce. Stuff it into you, his belly counselled him. After early "
    "nightfall the yellow lamps would light up here and there the squalid quarter of the brothels."
)


@pytest.mark.parametrize(
    ("text", "reference", "language", "expected"),
    [
        ("and so and so and so and so and so", "and so we went", "en", True),
        ("no no no no no no no no", "no it is not", "en", True),
        ("no no no", "no no no", "en", False),
        ("very very very very big", "very big", "en", False),
        ("no no no no no no no no", "no no no no no no no no", "en", False),
        ("he went to the old house by the sea " * 4, "he went", "en", True),
        (PROSE, PROSE, "en", False),
        ("", "", "en", False),
        ("no no no no no no no", "no", "en", False),
        ("well no no no no no no no", "well no", "en", False),
        ("well no no no no no no no no", "well no", "en", True),
        ("no no no no um no no no no", "no", "en", True),
        ("no no no no no no no no", "no no no no um no no no no", "en", False),
        ("谢谢" * 6, "谢谢大家", "zh", True),
        ("好" * 7, "好", "zh", False),
        ("好" * 8, "好", "zh", True),
        ("好" * 8, "好" * 8, "zh", False),
        ("今天天气很好我们一起去公园散步吧", "今天天气很好", "zh", False),
    ],
)
def test_repetition_loops(text, reference, language, expected):
    assert has_repetition_loop(text, reference, language) is expected


def test_a_text_is_english_unless_it_is_said_to_be_another():
    text = "no no no no um no no no no"  # only in English is "um" no word
    assert has_repetition_loop(text, "no") is True
    assert has_repetition_loop(text, "no", "de") is False


def test_a_loop_of_long_units_is_seen_by_compression():
    unit = PROSE[:190]
    assert has_repetition_loop(f"{unit} {unit} {unit} {unit}"[:700], PROSE, "en")


@pytest.mark.parametrize(("length", "looped"), [(32, True), (33, False)])
def test_units_of_a_loop_are_as_long_as_is_said(length, looped):
    rng = random.Random(1)
    text = [f"{rng.getrandbits(128):x}" for _ in range(500)]  # nearly incompressible, so the loop itself must be seen
    assert has_repetition_loop(" ".join(text + 3 * text[-length:]), "", "de") is looped
    assert has_repetition_loop(" ".join(text), "", "de") is False


def test_scoring_imports_neither_torch_nor_the_whisper_package():
    code = (
        "import sys\n"
        "from fastwhisper_compress.evaluation.wer import score\n"
        "assert score([('twenty two', '22')], 'en')[0].errors == 0\n"
        "print([name for name in ('torch', 'whisper', 'transformers', 'numba') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.fixture
def unloaded():
    """The normalisers as before their first use; those that were loaded are put back."""

    def drop():
        wer._normalizer.cache_clear()
        return {name: sys.modules.pop(name) for name in [*sys.modules] if name.startswith(wer._NORMALIZERS)}

    before = drop()
    yield
    drop()
    sys.modules.update(before)


@pytest.fixture
def only(monkeypatch, unloaded):
    """A function: import the package named whisper from these folders alone."""

    def only(*folders):
        monkeypatch.setattr(sys, "path", [str(folder) for folder in folders])
        monkeypatch.delitem(sys.modules, "whisper", raising=False)

    return only


def write(path, text=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.usefixtures("unloaded")
def test_the_normalisers_are_loaded_at_first_use():
    assert normalise("Twenty-two colours", "en") == "22 colors"
    assert normalise("Zwei Straßen!", "de") == "zwei straßen"


def test_the_normalisers_may_lie_in_any_folder_of_the_package(tmp_path, only):
    fake = "class EnglishTextNormalizer:\n    def __call__(self, text):\n        return f'{text} of {__name__}'\n"
    (tmp_path / "first" / "whisper").mkdir(parents=True)
    write(tmp_path / "second" / "whisper" / "normalizers" / "__init__.py", fake)
    only(tmp_path / "first", tmp_path / "second")
    assert normalise("text", "en") == f"text of {wer._NORMALIZERS}"


def test_normalisers_that_fail_to_load_fail_again(tmp_path, only):
    write(tmp_path / "whisper" / "__init__.py")
    write(tmp_path / "whisper" / "normalizers" / "__init__.py", "raise RuntimeError('broken')")
    only(tmp_path)
    for _ in range(2):  # not half loaded
        with pytest.raises(RuntimeError, match="broken"):
            normalise("text", "en")


@pytest.mark.parametrize(
    ("file", "place"), [("whisper/__init__.py", "whisper"), ("whisper.py", None), ("other.py", None)]
)
def test_another_package_named_whisper_is_recognised(tmp_path, only, file, place):
    write(tmp_path / file)
    only(tmp_path)
    with pytest.raises(BackendError, match="Whisper text normalisers are missing") as caught:
        normalise("text", "en")
    assert caught.value.exit_code == 4
    assert caught.value.place == (str(tmp_path / place) if place else "openai-whisper")
    assert "pip install openai-whisper" in caught.value.remedy
