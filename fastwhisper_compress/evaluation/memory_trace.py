"""Memory by phase: what importing, loading, encoding and decoding each take at most, and how memory goes up and down.

On Linux peaks are exact: at every change of phase the kernel's high-water mark of the resident set is read and reset, which
costs some 50 microseconds, four times a batch. (What rises and falls again within those few microseconds escapes.)
Elsewhere a thread looks every 10 ms, and the trace says so.
"""

from __future__ import annotations

import threading
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from fastwhisper_compress.evaluation.allocators import malloc_statistics, torch_memory
from fastwhisper_compress.evaluation.memory_probe import (
    CLEAR_REFS,
    ProcessMemory,
    VideoMemory,
    peak_resident_bytes,
)
from fastwhisper_compress.evaluation.memory_timeline import MOST_IN_DETAIL, Point, Timeline, thin, with_peak

EXACT, SAMPLED = "kernel high-water mark", "sampled every 10 ms"
_SAMPLE_S = 0.01  # where sampling is all there is
_DETAIL_S = 0.02  # for the curve alone
_ROOM = 4 * MOST_IN_DETAIL  # samples of one phase that are held before they are thinned
_DETAIL_BATCHES = 9  # the untimed first one and eight more


@dataclass(frozen=True)
class PhaseMemory:
    """All visits of one phase.

    Attributes:
        end_rss_bytes: Resident when the last of them ended, of which ``anon_bytes`` and ``file_bytes`` are the parts
            that the process wrote, and the mapped files (weights, libraries).
    """

    phase: str
    entries: int = 0
    seconds: float = 0.0
    peak_rss_bytes: int = 0
    end_rss_bytes: int = 0
    anon_bytes: int | None = None
    file_bytes: int | None = None
    peak_vram_bytes: int | None = None


class MemoryTrace:
    """Called with the name of what begins; starts in the phase ``imports``.

    One thread may call it. A phase that an exception left goes on until the next one begins.

    Attributes:
        method: How the peaks of resident memory were found; those of a card are always sampled, every 20 ms.
        peak_rss_bytes: Peak resident set size of the process up to the end of the last phase that ended.
        video: GPU memory to watch too; set it before anything lies there.
    """

    def __init__(self, video: VideoMemory | None = None, *, clear_refs: Path = CLEAR_REFS) -> None:
        self.video = video
        self.peak_rss_bytes = peak_resident_bytes()  # before the mark is reset for the first time
        self._phases = {"imports": PhaseMemory("imports", peak_rss_bytes=self.peak_rss_bytes)}
        self._process = ProcessMemory(clear_refs)
        self.method = EXACT if self._process.resets else SAMPLED
        self._start = time.perf_counter()
        self._timeline = Timeline()
        self._lock = threading.Lock()
        self._stop = False
        self._begin("imports", self._look(self._process.rss_bytes(), 0))
        self._sampler = threading.Thread(target=self._sample, name="memory-trace", daemon=True)
        self._sampler.start()

    def __call__(self, phase: str) -> None:
        """End the phase that goes on and begin another."""
        with self._lock:
            end = self._end()
            if phase == "idle" and self._entries("encode") >= _DETAIL_BATCHES and self._timeline.detail_s is None:
                self._timeline.detail_s = end.t_s
            self._begin(phase, end)

    def begin_load(self, backend: str) -> None:
        """Import what runs the model, which would count as memory of the model otherwise, and begin the phase ``load``."""
        from fastwhisper_compress.runtime.session import import_onnxruntime

        import_onnxruntime()
        if backend == "openvino":
            from fastwhisper_compress.runtime.openvino_encoder import import_openvino

            import_openvino()
        self("load")

    def finish(self) -> dict[str, Any]:
        """End the last phase and return everything, as JSON."""
        self._stop = True
        self._sampler.join()
        end = self._end()
        self._timeline.extend([end])
        self._process.close()
        points = self._timeline.points
        return {
            "method": self.method,
            "phases": [asdict(phase) for phase in self._phases.values()],
            "timeline": [[round(point.t_s, 4), point.rss_bytes, point.phase] for point in points],
            "timeline_vram_bytes": [point.vram_bytes for point in points] if end.vram_bytes is not None else None,
            "detail_s": end.t_s if self._timeline.detail_s is None else self._timeline.detail_s,
            "fragmentation": {
                "kept_since_load_bytes": self._kept(),
                "malloc": malloc_statistics(),
                "torch": torch_memory(),
            },
        }

    def _begin(self, phase: str, at: Point) -> None:
        known = self._phases.setdefault(phase, PhaseMemory(phase))
        self._phases[phase] = replace(known, entries=known.entries + 1)
        self._phase = phase
        self._points = [at._replace(phase=list(self._phases).index(phase))]
        if self.method == EXACT:
            self._process.reset_peak()

    def _end(self) -> Point:
        now = self._process.look()
        begin = self._points[0]
        end = self._look(now.rss_bytes, begin.phase)
        seen = max(point.rss_bytes for point in (*self._points, end))
        peak = max(seen, now.peak_bytes) if self.method == EXACT else seen
        known = self._phases[self._phase]
        vram = [one.vram_bytes for one in (*self._points, end) if one.vram_bytes is not None]
        self._phases[self._phase] = replace(
            known,
            seconds=known.seconds + end.t_s - begin.t_s,
            peak_rss_bytes=max(known.peak_rss_bytes, peak),
            end_rss_bytes=now.rss_bytes,
            anon_bytes=now.anon_bytes,
            file_bytes=now.file_bytes,
            peak_vram_bytes=max([*vram, known.peak_vram_bytes or 0]) if vram else None,
        )
        self.peak_rss_bytes = max(self.peak_rss_bytes, peak, now.peak_bytes)
        self._timeline.extend(with_peak(self._points, end.t_s, peak))
        return end

    def _look(self, rss_bytes: int, phase: int) -> Point:
        """Return this moment as a point of the timeline."""
        vram = self.video.sample() if self.video else None
        return Point(time.perf_counter() - self._start, rss_bytes, phase, vram)

    def _sample(self) -> None:
        """Look again and again: all the time where peaks come from it, else for as long as the curve is detailed."""
        every_s = _DETAIL_S if self.method == EXACT else _SAMPLE_S
        while not self._stop:
            time.sleep(every_s)  # waiting for an event costs several times as much
            with self._lock:
                # The kernel keeps no mark of a card's memory: there, looking goes on.
                if self.method == EXACT and self._timeline.detail_s is not None and self.video is None:
                    return
                self._points.append(self._look(self._process.rss_bytes(), self._points[0].phase))
                if len(self._points) > _ROOM:
                    self._points = [self._points[0], *thin(self._points[1:], MOST_IN_DETAIL)]

    def _entries(self, phase: str) -> int:
        return self._phases[phase].entries if phase in self._phases else 0

    def _kept(self) -> int | None:
        """Return by how much the memory that the process wrote grew after loading: buffers and arenas kept for reuse."""
        first, last = self._phases.get("load"), self._phases[self._phase]
        if first is None or first.anon_bytes is None or last.anon_bytes is None:
            return None
        return last.anon_bytes - first.anon_bytes
