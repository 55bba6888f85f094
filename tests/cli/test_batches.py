"""How many clips at a time: chosen by the program, and measured for several."""

from __future__ import annotations


def test_auto_says_on_stderr_what_it_came_to_and_records_it(cli, artifact, repository):
    measured = cli("eval", artifact, "--limit", 3, "--batch-size", "auto", "--json")
    chosen = measured.json["auto_batch"]
    assert chosen["batch_size"] == measured.json["eval"]["batch_size"] == 16
    assert f"batch size 16 (auto): needs about {chosen['needed_bytes'] / 1e6:,.0f} MB of 80 %" in measured.err
    assert cli("eval", artifact, "--limit", 3, "--json").json["auto_batch"] is None

    clip = repository / "eval" / "demo" / "news-02.opus"
    heard = cli("transcribe", artifact, clip, "--batch-size", "auto")
    assert "batch size 16 (auto)" in heard.err
    assert heard.out == cli("transcribe", artifact, clip).out
