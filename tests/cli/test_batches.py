"""How many clips at a time: chosen by the program, and measured for several."""

from __future__ import annotations

from terminal import terminal


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


def test_a_sweep_over_batch_sizes_is_measured_and_reported(model, tmp_path):
    arguments = ("run", "fp32", "--model", model, "--limit", 4, "--out", "out", "--json")
    done = terminal(*arguments, "--batch-size", "auto", "--batch-sweep", "2,4", cwd=tmp_path)
    assert done.code == 0, done.err
    assert "batch size 16 (auto): needs about" in done.err
    assert done.json["auto_batch"]["batch_size"] == done.json["candidate"]["eval"]["batch_size"] == 16
    found = done.json["throughput"]
    assert [(one["batch_size"], one["batch_size_used"], one["texts_equal"]) for one in found["points"]] == [
        (1, 1, 4),
        (2, 2, 4),
        (4, 4, 4),
    ]
    assert all(one["rtfx"] > 0 and one["peak_rss_bytes"] > 0 for one in found["points"])
    assert "Throughput and memory by batch size" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_a_sweep_that_cannot_be_is_refused_before_anything_is_built(refused, model):
    refused(("run", "fp32", "--batch-sweep", "many"), 2, "--batch-sweep", "1,2,4,8,16")
    refused(("run", "fp32", "--model", model, "--limit", 3, "--batch-sweep", "4"), 2, "a batch of 4")
