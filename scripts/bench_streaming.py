"""Measure streaming: errors beside offline transcription, how late words are committed, and memory over time.

    python scripts/bench_streaming.py ARTIFACT RECORDINGS.jsonl

The first recording of the manifest is transcribed offline (windows of speech, each once), live on a simulated clock that
counts the time the work takes but does not wait for the audio, live at the real pace for a minute, and, repeated to an
hour, as fast as it can be taken. Writes eval/baselines/streaming.json and .md.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from fastwhisper_compress.runtime import Transcriber
    from fastwhisper_compress.transcription.streaming import Committed

ROOT = Path(__file__).resolve().parent.parent
RATE = 16_000  # Hz
CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}


class Simulated:
    """A stream on a clock that goes on while the caller works, and jumps ahead when it waits."""

    def __init__(self, samples: np.ndarray, clock: Callable[[], float]) -> None:
        self._samples, self._clock = samples, clock
        self._taken = 0
        self._base_s, self._mark_s = 0.0, clock()

    def now(self) -> float:
        """Seconds since the stream began."""
        return self._base_s + self._clock() - self._mark_s

    def take(self, least: int, most: int) -> np.ndarray:
        """Return what has arrived by now."""
        wanted = min(least, self._samples.size - self._taken)
        now_s = max(self.now(), (self._taken + wanted) / RATE)
        n = min(most, min(int(now_s * RATE), self._samples.size) - self._taken)
        taken = self._samples[self._taken : self._taken + max(n, wanted)]
        self._taken += taken.size
        self._base_s, self._mark_s = now_s, self._clock()
        return taken


class Waiting:
    """A stream of which everything is there, again and again."""

    def __init__(self, samples: np.ndarray, seconds: float) -> None:
        self._samples, self._left, self._place = samples, round(seconds * RATE), 0

    def take(self, least: int, most: int) -> np.ndarray:
        """Return as much as is wanted."""
        del least
        taken = self._samples[self._place : self._place + min(most, self._left)]
        self._place = (self._place + taken.size) % self._samples.size
        self._left -= taken.size
        return taken


def main(argv: Sequence[str] | None = None) -> int:
    """Measure all that was asked for, and write the results."""
    parser = argparse.ArgumentParser(description="Measure streaming.")
    parser.add_argument("artifact", type=Path, help="the --out folder of a run")
    parser.add_argument("manifest", type=Path, help="JSON lines: audio_filepath, text, language")
    parser.add_argument("--threads", type=int, default=2, help="of the runtime (default: %(default)s)")
    parser.add_argument("--clock", choices=sorted(CLOCKS), default="wall", help="cpu on a shared machine")
    parser.add_argument("--paced-s", type=float, default=60, help="at the real pace (default: %(default)s)")
    parser.add_argument("--soak-s", type=float, default=3600, help="as fast as it goes (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=ROOT / "eval" / "baselines", help="folder (default: %(default)s)")
    args = parser.parse_args(argv)
    from fastwhisper_compress.evaluation.wer import error_rate, score, total
    from fastwhisper_compress.pipeline.provenance import cpu_name, package_versions
    from fastwhisper_compress.runtime import load_artifact
    from fastwhisper_compress.runtime.audio_blocks import open_audio

    row = json.loads(args.manifest.read_text(encoding="utf-8").splitlines()[0])
    language = row.get("language", "en")
    with open_audio(args.manifest.parent / row["audio_filepath"]) as blocks:
        samples = np.concatenate(list(blocks))
    model = load_artifact(args.artifact, threads=args.threads)
    results: dict[str, Any] = {
        "artifact": args.artifact.name,
        "recording": Path(row["audio_filepath"]).name,
        "duration_s": samples.size / RATE,
        "cpu": cpu_name(),
        "threads": args.threads,
        "clock": args.clock,
        "platform": platform.platform(),
        "versions": package_versions(("onnxruntime", "numpy")),
    }

    def errors(text: str) -> float:
        return error_rate(total(score([(row["text"], text)], language)))

    print("offline", file=sys.stderr)
    text = offline(model, samples, language)
    results["offline"] = {"wer": errors(text), "text": text}
    print("live", file=sys.stderr)
    results["live"] = live(model, samples, language, CLOCKS[args.clock])
    results["live"]["wer"] = errors(results["live"]["text"])
    if args.paced_s:
        print("paced", file=sys.stderr)
        results["paced"] = paced(model, samples[: round(args.paced_s * RATE)], language)
    if args.soak_s:
        print("soak", file=sys.stderr)
        results["soak"] = soak(model, samples, language, args.soak_s)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "streaming.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    (args.out / "streaming.md").write_text(page(results), encoding="utf-8")
    print(args.out / "streaming.md")
    return 0


def offline(model: Transcriber, samples: np.ndarray, language: str) -> str:
    """Return the text of all windows of speech."""
    from fastwhisper_compress.runtime.options import Options
    from fastwhisper_compress.transcription.vad import SpeechDetector
    from fastwhisper_compress.transcription.windows import speech_windows

    windows = speech_windows([samples], detector=SpeechDetector())
    return " ".join(model.transcribe(one.samples, Options(language=language)).text for one in windows)


def live(model: Transcriber, samples: np.ndarray, language: str, clock: Callable[[], float]) -> dict[str, Any]:
    """Transcribe on a simulated clock."""
    source = Simulated(samples, clock)
    return followed(streamed(model, source, language), source.now)


def paced(model: Transcriber, samples: np.ndarray, language: str) -> dict[str, Any]:
    """Transcribe what comes at the pace of speech."""
    from fastwhisper_compress.transcription.arriving import Arriving

    start_s = time.perf_counter()

    def blocks() -> Iterator[np.ndarray]:
        for place in range(0, samples.size, RATE // 10):
            block = samples[place : place + RATE // 10]
            time.sleep(max(0.0, start_s + (place + block.size) / RATE - time.perf_counter()))
            yield block

    with Arriving(blocks()) as source:
        return followed(streamed(model, source, language), lambda: time.perf_counter() - start_s)


def soak(model: Transcriber, samples: np.ndarray, language: str, seconds: float) -> dict[str, Any]:
    """Transcribe for long, and follow memory."""
    from fastwhisper_compress.evaluation.memory_probe import resident_bytes

    start_s = time.perf_counter()
    held = [(one.heard_s, resident_bytes()) for one in streamed(model, Waiting(samples, seconds), language)]
    first = max(rss for heard_s, rss in held if heard_s <= seconds / 6)
    return {
        "duration_s": seconds,
        "wall_s": time.perf_counter() - start_s,
        "peak_rss_bytes_of_first_sixth": first,
        "peak_rss_bytes": max(rss for _, rss in held),
        "rss_bytes_at_the_end": held[-1][1],
    }


def streamed(model: Transcriber, source: Any, language: str) -> Iterator[Committed]:
    """Transcribe a stream as the command line does."""
    from fastwhisper_compress.runtime.options import Options
    from fastwhisper_compress.transcription.streaming import transcribe_stream
    from fastwhisper_compress.transcription.vad import SpeechDetector

    return transcribe_stream(model, source, Options(language=language), detector=SpeechDetector())


def followed(stream: Iterator[Committed], now: Callable[[], float]) -> dict[str, Any]:
    """Return the text of a stream, and how long after its end each word was committed."""
    text, delays, steps = "", list[float](), 0
    for one in stream:
        at_s = now()
        text += one.text
        delays += [at_s - word.end_s for word in one.words]
        steps += 1
    return {
        "text": text.strip(),
        "words": len(delays),
        "transcripts": steps,
        "delay_s": {
            "median": statistics.median(delays),
            "p95": statistics.quantiles(delays, n=20)[-1],
            "largest": max(delays),
        },
    }


def page(results: dict[str, Any]) -> str:
    """Return the Markdown page."""
    offline_wer, live_wer = results["offline"]["wer"], results["live"]["wer"]
    clock = {"wall": "the time the work takes", "cpu": "the processor time of the work, all threads added up"}
    lines = [
        "# Streaming",
        "",
        f"{results['artifact']} on {results['recording']} ({results['duration_s']:.0f} s), {results['cpu']},",
        f"{results['threads']} threads. Made by `python scripts/bench_streaming.py ARTIFACT MANIFEST`. The delay of a word",
        f"runs from its end in the audio to its being committed; the simulated clock counts {clock[results['clock']]}.",
        "",
        "| | WER | delay, median | 95 % | largest | transcripts |",
        "| :-- | --: | --: | --: | --: | --: |",
        f"| offline | {offline_wer:.2%} | | | | |",
    ]
    for name, shown in (("live", "live, simulated clock"), ("paced", "live, real pace, first part")):
        if name in results:
            one = results[name]
            wer = f"{one['wer']:.2%} ({100 * (live_wer - offline_wer):+.2f} pp)" if "wer" in one else ""
            delay = one["delay_s"]
            lines.append(
                f"| {shown} | {wer} | {delay['median']:.2f} s | {delay['p95']:.2f} s | {delay['largest']:.2f} s "
                f"| {one['transcripts']} |"
            )
    if "soak" in results:
        one = results["soak"]
        lines.append("")
        lines.append(
            f"Memory over {one['duration_s'] / 60:.0f} minutes of the recording, repeated and taken as fast as it goes "
            f"({one['wall_s']:.0f} s): peak RSS {one['peak_rss_bytes_of_first_sixth'] / 1e6:.1f} MB in the first sixth, "
            f"{one['peak_rss_bytes'] / 1e6:.1f} MB in all, {one['rss_bytes_at_the_end'] / 1e6:.1f} MB at the end."
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
