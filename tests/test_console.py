"""What is shown while work goes on."""

from __future__ import annotations

from fastwhisper_compress import console


def test_details_that_change_are_no_new_step(capsys):
    with console.progress() as report:
        for done in range(100):
            report(f"distill | loss {done}", done, 100)
        report("emit", 0, 1)
    lines = capsys.readouterr().err.splitlines()
    assert lines[3] == "distill | loss 30 30/100"
    assert len(lines) == 11
