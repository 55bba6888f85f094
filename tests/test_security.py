"""SECURITY.md promises nothing that no test holds."""

from __future__ import annotations

import re

import pytest


@pytest.fixture
def promises(repository):
    """Rows of its tables: what is promised, and the tests that hold it."""
    lines = (repository / "SECURITY.md").read_text(encoding="utf-8").splitlines()
    cells = [
        line.strip("| ").rsplit(" | ", 1) for line in lines if line.startswith("|") and not line.startswith("| :--")
    ]
    return [(what, re.findall(r"`([^`]+)`", tests)) for what, tests in cells if tests != "test"]


def test_every_promise_names_tests_that_exist(promises, repository):
    assert len(promises) > 15
    assert [what for what, tests in promises if not tests] == []
    missing = {name for _, tests in promises for name in tests if not (repository / name).is_file()}
    assert missing == set()


def test_every_named_test_holds_tests(promises, repository):
    for name in {name for _, tests in promises for name in tests}:
        assert "\ndef test_" in (repository / name).read_text(encoding="utf-8"), name
