from __future__ import annotations

import json

import pytest

from fastwhisper_compress.errors import SuiteError, UsageError
from fastwhisper_compress.evaluation import suite as suite_module
from fastwhisper_compress.evaluation.suite import list_suites, load_suite

ROW = {"audio_filepath": "a.wav", "text": "hello"}


def rows(n):
    return [{"audio_filepath": f"{i}.wav", "text": f"text {i}", "id": f"u{i}"} for i in range(n)]


def test_a_plain_nemo_manifest(manifest, tmp_path):
    row = {"audio_filepath": "clips/a.wav", "text": "hello", "duration": 2, "lang": "de-DE", "speaker": 7, "extra": 1}
    suite = load_suite(str(manifest([row | {"license": "CC0-1.0"}], name="mine.jsonl")))
    (one,) = suite.utterances
    assert (one.id, one.audio, one.text) == ("clips/a.wav", tmp_path / "clips" / "a.wav", "hello")
    assert (one.duration_s, one.language, one.speaker) == (2.0, "de", "7")
    assert (suite.name, suite.language, suite.license, suite.synthetic) == ("mine", "de", "CC0-1.0", False)
    assert (suite.revision, suite.limit, suite.source) == (None, None, "mine.jsonl")


def test_absolute_audio_paths_stand_as_they_are(manifest, tmp_path):
    elsewhere = tmp_path / "elsewhere" / "b.wav"
    suite = load_suite(str(manifest([{"audio_filepath": str(elsewhere), "text": ""}])))
    assert suite.utterances[0].audio == elsewhere


def test_language_defaults_to_english_and_blank_lines_and_a_byte_order_mark_are_no_error(tmp_path):
    (tmp_path / "a.wav").touch()
    path = tmp_path / "m.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(ROW).encode() + b"\r\n\r\n")
    assert load_suite(str(path)).language == "en"


def test_a_line_separator_inside_a_text_does_not_end_the_row(tmp_path):
    (tmp_path / "a.wav").touch()
    path = tmp_path / "m.jsonl"
    path.write_text(json.dumps(ROW | {"text": "one\u2028two"}, ensure_ascii=False), encoding="utf-8")
    assert load_suite(str(path)).utterances[0].text == "one\u2028two"


def test_a_missing_clip_is_kept_to_be_counted_as_failed(manifest):
    path = manifest(rows(2))
    (path.parent / "0.wav").unlink()
    assert [one.id for one in load_suite(str(path)).utterances] == ["u0", "u1"]


@pytest.mark.parametrize(
    ("lines", "line", "message"),
    [
        ([ROW, "{not json"], 2, "not JSON"),
        (["[1, 2]"], 1, "not a JSON object"),
        (["[" * 100_000], 1, "not JSON"),
        ([{"text": "x"}], 1, "audio_filepath is missing"),
        ([{"audio_filepath": " ", "text": "x"}], 1, "audio_filepath is missing"),
        ([ROW, {"audio_filepath": "b.wav"}], 2, "text is missing"),
        ([{"audio_filepath": "a.wav", "text": 5}], 1, "text must be text, not 5"),
        ([ROW | {"duration": "long"}], 1, "duration must be a number"),
        (['{"audio_filepath": "a.wav", "text": "x", "duration": NaN}'], 1, "duration must be a number"),
        ([ROW | {"duration": True}], 1, "duration must be a number"),
        ([ROW | {"offset": 3.5}], 1, "nonzero offset"),
        ([ROW | {"id": "x"}, ROW, ROW | {"id": "x"}], 3, "'x' was already used in line 1"),
        ([ROW | {"language": "en"}, ROW | {"id": "b", "language": "de"}], 2, "language 'de' in a suite of 'en'"),
    ],
)
def test_a_bad_row_is_named_with_its_line(tmp_path, lines, line, message):
    (tmp_path / "a.wav").touch()
    path = tmp_path / "bad.jsonl"
    path.write_text("\n".join(one if isinstance(one, str) else json.dumps(one) for one in lines))
    with pytest.raises(SuiteError, match=message) as caught:
        load_suite(str(path))
    assert caught.value.place == f"{path}:{line}"
    assert caught.value.remedy
    assert caught.value.exit_code == 2


def test_whole_manifests_that_cannot_be_used(tmp_path, manifest):
    empty = tmp_path / "empty.jsonl"
    empty.write_text("\n\n")
    with pytest.raises(SuiteError, match="holds no utterances"):
        load_suite(str(empty))
    with pytest.raises(SuiteError, match="no such manifest"):
        load_suite(str(tmp_path / "missing.jsonl"))
    with pytest.raises(SuiteError, match="none of its 3 audio files exists"):
        load_suite(str(manifest(rows(3), audio=False)))
    latin = tmp_path / "latin.jsonl"
    latin.write_bytes('{"text": "Straße"}'.encode("latin-1"))
    with pytest.raises(SuiteError, match="not UTF-8"):
        load_suite(str(latin))
    folder = tmp_path / "folder.jsonl"
    folder.mkdir()
    with pytest.raises(SuiteError, match="cannot be read"):
        load_suite(str(folder))


def test_limit_keeps_the_first_rows_and_is_recorded(manifest):
    path = str(manifest(rows(5)))
    limited = load_suite(path, limit=2)
    assert [one.id for one in limited.utterances] == ["u0", "u1"]
    assert limited.limit == 2
    assert limited.digest != load_suite(path).digest
    with pytest.raises(UsageError, match="limit of 0") as caught:
        load_suite(path, limit=0)
    assert caught.value.place == "--limit"


def test_digest_knows_contents_and_not_places(manifest, tmp_path):
    digest = load_suite(str(manifest(rows(2)))).digest
    assert digest.startswith("sha256:")
    assert load_suite(str(manifest(rows(2), name="renamed.jsonl"))).digest == digest
    changed = rows(2)
    changed[1]["text"] = "another text"
    assert load_suite(str(manifest(changed))).digest != digest
    path = manifest(rows(2))
    (tmp_path / "1.wav").write_text("another recording")
    assert load_suite(str(path)).digest != digest
    (tmp_path / "1.wav").unlink()
    assert load_suite(str(path)).digest != digest


# ------------------------------------------------------------------------------------------------------ suite files

YAML = """\
version: 1
name: mine
kind: manifest
language: no
synthetic: true
license: CC0-1.0
source: me
manifest: data/rows.jsonl
"""


@pytest.fixture
def yaml_suite(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.wav").touch()
    (tmp_path / "data" / "rows.jsonl").write_text(json.dumps(ROW))

    def write(text=YAML):
        path = tmp_path / "mine.yaml"
        path.write_text(text)
        return str(path)

    return write


def test_a_suite_file_names_language_licence_and_origin(yaml_suite):
    suite = load_suite(yaml_suite())
    assert (suite.name, suite.language, suite.synthetic) == ("mine", "no", True)  # Norwegian, not False
    assert (suite.license, suite.source, suite.utterances[0].language) == ("CC0-1.0", "me", "no")


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("license:", "licence:", 6, "unknown key 'licence'; did you mean 'license'"),
        ("kind: manifest", "kind: csv", 3, "unknown kind 'csv'"),
        ("kind: manifest\n", "", None, "kind is missing"),
        ("kind: manifest", "kind: [a]", 3, "unknown kind"),
        ("synthetic: true", "synthetic: maybe", 5, "synthetic must be true or false, not 'maybe'"),
        ("source: me\n", "", None, "missing: source"),
        ("version: 1", "version: 2", 1, "version 2 is unknown"),
        ("version: 1", "version: true", 1, "version must be a whole number"),
        ("name: mine", "name: [", 9, "not YAML"),
        ("name: mine", "name: mine\nname: other", 3, "not YAML"),
        ("source: me", "source: me\nnormaliser: english", 8, "normaliser 'english' for language 'no'"),
        ("manifest: data", "repo: data", 8, "unknown key 'repo'"),
        (YAML, "- a\n- b\n", None, "not a mapping"),
        (YAML, "", None, "not a mapping"),
        (YAML, f"{YAML}# {'x' * 16_384}", None, "larger than 16 KiB"),
        (YAML, "[" * 16_000, None, "cannot be read"),
    ],
)
def test_a_bad_suite_file_is_named_with_its_line(yaml_suite, old, new, line, message):
    path = yaml_suite(YAML.replace(old, new))
    with pytest.raises(SuiteError, match=message.replace("[", r"\[")) as caught:
        load_suite(path)
    assert caught.value.remedy
    if line is None:
        assert caught.value.place == path
    elif "not YAML" not in message:
        assert caught.value.place == f"{path}:{line}"
    else:
        assert caught.value.place.startswith(f"{path}:")


def test_a_row_in_another_language_than_the_suite_file_is_refused(yaml_suite, tmp_path):
    (tmp_path / "data" / "rows.jsonl").write_text(json.dumps(ROW | {"language": "sv"}))
    with pytest.raises(SuiteError, match="language 'sv' in a suite of 'no'"):
        load_suite(yaml_suite())


def test_a_missing_suite_file(tmp_path):
    with pytest.raises(SuiteError, match="no such suite file"):
        load_suite(str(tmp_path / "none.yaml"))


def test_an_unknown_name_lists_the_shipped_suites_and_the_nearest():
    with pytest.raises(SuiteError, match="did you mean 'librispeech_clean'") as caught:
        load_suite("librispeech_claen")
    assert all(name in caught.value.remedy for name in list_suites())


def test_shipped_suite_files_all_pass_the_checks():
    for name in list_suites():
        assert suite_module._read_yaml(suite_module._find(name))["name"] == name
    assert {"demo", "librispeech_clean", "librispeech_other"} <= set(list_suites())
