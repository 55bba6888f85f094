"""What is kept of a measurement."""

from __future__ import annotations

import json

import pytest

from fastwhisper_compress.errors import HubUnavailableError, OutOfMemoryError, ResourceError
from fastwhisper_compress.evaluation.measure import Evaluation
from fastwhisper_compress.evaluation.suite import load_suite
from fastwhisper_compress.pipeline import evaluate as module
from fastwhisper_compress.pipeline.cache import entries
from fastwhisper_compress.pipeline.store import Store

SUITE = load_suite("demo", limit=1)


@pytest.fixture
def evaluated(tmp_path, monkeypatch):
    """A function: what measuring returns or raises -> the evaluation; it counts how often that was asked for."""
    (tmp_path / "artifact").mkdir()
    (tmp_path / "artifact" / "manifest.json").write_text(json.dumps({"files": []}))
    store = Store(tmp_path / "store")

    def evaluated_(outcome):
        def measure(artifact, suite, rows, **settings):
            evaluated_.asked += 1
            rows.parent.mkdir(parents=True, exist_ok=True)
            rows.write_text("")
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

        monkeypatch.setattr(module, "measure", measure)
        monkeypatch.setattr(module, "with_advice", lambda error, _: error)
        return module.evaluate(
            store, tmp_path / "artifact", SUITE, lambda *_: None, provider="cpu", threads=1, batch_size=4
        )

    evaluated_.asked, evaluated_.store = 0, store
    return evaluated_


def test_a_measurement_with_less_memory_than_asked_for_is_told_but_not_kept(evaluated):
    found = Evaluation(SUITE.digest, "en", 1, (), {"recoveries": [[4, 2]]})
    assert evaluated(found) is found
    assert evaluated(found) is found
    assert evaluated.asked == 2
    assert list((evaluated.store.root / "evaluation").iterdir()) == []


@pytest.mark.parametrize("error", [OutOfMemoryError, ResourceError, HubUnavailableError, MemoryError])
def test_what_may_go_well_next_time_is_not_kept(evaluated, error):
    for _ in range(2):
        with pytest.raises(ResourceError if error is MemoryError else error):
            evaluated(error("x"))
    assert evaluated.asked == 2
    assert entries(evaluated.store) == []
    unfinished = list((evaluated.store.root / "evaluation").iterdir())
    assert [path.suffix for path in unfinished] == [".unfinished"], "the rows that were heard"
