"""Recipes and suites that are made to grow, to hang or to mean something else; the plainer traps are in tests/recipe."""

from __future__ import annotations

import time

import pytest

from fastwhisper_compress.errors import SuiteError
from fastwhisper_compress.evaluation.suite import load_suite
from fastwhisper_compress.recipe import load_recipe

HEAD = "version: 1\nname: x\n"
PASSES = "passes:\n- pass: fuse\n"


def laughs(levels, width):
    lines = ["k0: &a0 [lol, lol]"] + [f"k{i}: &a{i} [{', '.join([f'*a{i - 1}'] * width)}]" for i in range(1, levels)]
    return "\n".join(lines) + "\n"


# name -> (bytes or text, what the error says)
REFUSED = {
    "an anchor that holds itself": (HEAD + "passes: &a [*a]\n", "mine.yaml:3:9: an anchor"),
    "a merge of an anchor": ("a: &a {name: x}\n<<: *a\nversion: 1\n", "mine.yaml:1:4: an anchor"),
    "a merge key": (HEAD + PASSES + "  <<: {targets: ['*']}\n", "mine.yaml:5:3"),
    "500 keys": (HEAD + "".join(f"k{i}: 1\n" for i in range(500)), "unknown key"),
    "deep flow": (HEAD + "passes: " + "[" * 5_000 + "]" * 5_000, "deeper than 12 levels"),
    "deep mappings": (HEAD + "passes: " + "{a: " * 3_000, "deeper than 12 levels"),
    "deep blocks": ("".join(f"{' ' * i}a:\n" for i in range(150)), "deeper than 12 levels"),
    "python/object/new": (HEAD + "model: !!python/object/new:os.system [id]\n", "mine.yaml:3:8: the tag"),
    "python/name as a key": ("!!python/name:os.system : 1\n" + HEAD, "mine.yaml:1:1: the tag"),
    "a tag by another name": ("%TAG ! tag:yaml.org,2002:python/\n---\n" + HEAD + "model: !object x\n", "the tag"),
    "a verbatim tag": (HEAD + "model: !<tag:yaml.org,2002:python/none> x\n", "the tag"),
    "binary": (HEAD + "model: !!binary aGk=\n", "the tag"),
    "a set": (HEAD + "passes: !!set {a, b}\n", "the tag"),
    "a timestamp for a number": (HEAD + PASSES + "seed: 2001-12-14t21:59:43.10-05:00\n", "mine.yaml:5:7"),
    "sixties for a number": (HEAD + PASSES + "seed: 1:30\n", "mine.yaml:5:7"),
    "not a number": (HEAD + PASSES + "gate:\n  token_agreement: .nan\n", "mine.yaml:6:20"),
    "infinite": (HEAD + PASSES + "gate:\n  token_agreement: .inf\n", "mine.yaml:6:20"),
    "an infinite whole number": (HEAD + PASSES + "seed: .inf\n", "mine.yaml:5:7"),
    "a number of 9,000 digits": (HEAD + PASSES + "seed: " + "9" * 9_000 + "\n", "mine.yaml:5:7"),
    "an exponent of 300 digits": (HEAD + PASSES + "seed: 1e" + "9" * 300 + "\n", "mine.yaml:5:7"),
    "text of 15,000 letters": (HEAD.replace("x", "x" * 15_000) + PASSES, "mine.yaml:2:7"),
    "a key of 12,000 letters": (HEAD + PASSES + "? " + "k" * 12_000 + "\n: 1\n", "unknown key"),
    "a key that is null": (HEAD + PASSES + "~: 1\n", "mine.yaml:5:1: unknown key"),
    "a key that is a number": (HEAD + PASSES + "0x10: 1\n", "mine.yaml:5:1: unknown key"),
    "keys equal after escapes": (HEAD + PASSES + '"n\\x61me": y\n', "mine.yaml:5:1: the key 'name' stands twice"),
    "a document behind the end": (HEAD + PASSES + "...\n" + HEAD, "mine.yaml:6:1"),
    "UTF-32": ((HEAD + PASSES).encode("utf-32"), "UTF-8"),
    "control characters": (HEAD + "model: \x1b[2J\n", "not valid YAML"),
    "half a character": (HEAD.encode() + b"model: \xed\xa0\x80\n", "not UTF-8"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_trap_is_refused_with_its_place(cli, tmp_path, name):
    content, words = REFUSED[name]
    path = tmp_path / "here" / "mine.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    start = time.process_time()
    done = cli("validate", "mine.yaml", "--model", "tiny.en")
    assert time.process_time() - start < 10
    done.refused(2, words)
    assert len(done.err) < 10_000


@pytest.mark.parametrize(
    ("line", "key", "value"),
    [
        ("description: no", "description", "no"),
        ("description: 1e-3x", "description", "1e-3x"),
        ("seed: 0o17", "seed", 15),
        ("seed: 017", "seed", 17),
        ("seed: 0x1F", "seed", 31),
        ("description: '2001-12-14'", "description", "2001-12-14"),
        ("description: 12:30:45", "description", "12:30:45"),
        ("description: 'NULL'", "description", "NULL"),
        ("gate: {token_agreement: 1e-3}", "gate", 1e-3),
    ],
)
def test_a_scalar_is_what_it_says(tmp_path, line, key, value):
    path = tmp_path / "mine.yaml"
    path.write_bytes(("\ufeff" + HEAD + PASSES + line + "\n").encode())
    found = getattr(load_recipe(path).recipe, key)
    found = found.token_agreement if key == "gate" else found
    assert found == value
    assert type(found) is type(value)


SUITE = "version: 1\nname: x\nkind: manifest\nlanguage: en\nlicense: x\nsource: x\n"
SUITES = {
    "aliases that explode": laughs(30, 9) + SUITE + "manifest: *a29\n",
    "a kind that explodes": laughs(30, 9) + "kind: *a29\n",
    "a value that explodes": laughs(30, 9).replace("k", "n") + SUITE.replace("license: x", "license: *a29"),
    "an anchor that holds itself": "kind: &a [*a]\n",
    "python": SUITE + "manifest: !!python/object/apply:os.system [id]\n",
    "deep": SUITE + "manifest: " + "[" * 300 + "]" * 300 + "\n",
    "a key twice": SUITE + "name: y\nmanifest: x.jsonl\n",
    "NUL": SUITE + 'manifest: "a\\0b"\n',
    "a manifest of a name too long": SUITE + "manifest: " + "x" * 5000 + "\n",
}


@pytest.mark.parametrize("name", SUITES)
def test_a_suite_that_is_a_trap_is_refused(tmp_path, name):
    path = tmp_path / "suite.yaml"
    path.write_text(SUITES[name])
    with pytest.raises(SuiteError) as caught:
        load_suite(str(path))
    assert caught.value.place
    assert caught.value.remedy
    assert len(str(caught.value)) < 6_000
