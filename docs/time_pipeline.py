"""What the streaming run costs beside its two graphs, and whether it grows.

    python docs/time_pipeline.py MODEL.diffad [--rounds 12] [--frames 120] [--trace 10000] [--clip CLIP.mp4]

Times in turn, round by round, on 1080p pictures of the synthetic line, frames a second from the first to the last:

    bare       the same two graphs back to back on frames that are small already: no resize, no mask, no verdict
    run        run_stream over a source that hands out a fresh copy of each 1080p frame, without sinks
    results    the same, with a JSON line for every frame
    one judge  as run, with one frame under judgement at a time
    clip       run_stream over a video file, where one is given: decoding shares the cores with the graphs

Each is given as the median of its ratio to the bare loop of the same round. --trace runs so many frames more and
compares Python's allocations (tracemalloc) and the process's memory early and at the end. The last line is JSON.
"""

import argparse
import gc
import json
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import psutil

from diffad_runtime.geometry import to_input
from diffad_runtime.inspector import Inspector
from diffad_runtime.pipeline import run_stream
from diffad_runtime.result import Image
from diffad_runtime.sinks import JsonlSink, Sink
from diffad_runtime.sources import Shot, Source, open_source
from diffad_runtime.synthetic import LineConfig, SyntheticLine


class Memory(Source):
    """Hands out copies of a few pictures, as fast as they are taken."""

    def __init__(self, pictures: list[Image], count: int) -> None:
        super().__init__("memory://", live=False, fps_hint=None)
        self._pictures, self._count = pictures, count

    def _grab(self) -> Shot | None:
        if self._next_id == self._count:
            return None
        return Shot(self._pictures[self._next_id % len(self._pictures)].copy())

    def _release(self) -> None:
        pass


def bare(inspector: Inspector, small: list[Image], frames: int) -> float:
    """Frames a second of the graphs alone."""
    start = time.perf_counter()
    for number in range(frames):
        inspector.engine.infer(small[number % len(small)])
    return frames / (time.perf_counter() - start)


def trace(inspector: Inspector, pictures: list[Image], frames: int) -> dict[str, float]:
    """KiB that Python holds, and MiB of the process, after a tenth of the frames and at the end."""
    process = psutil.Process()
    seen: list[tuple[float, float]] = []

    def look() -> None:
        gc.collect()
        seen.append((tracemalloc.get_traced_memory()[0] / 1024, process.memory_info().rss / (1 << 20)))

    tracemalloc.start()
    with tempfile.TemporaryDirectory() as folder:
        for count in (frames // 10, frames - frames // 10):
            run_stream(inspector, Memory(pictures, count), [JsonlSink(Path(folder) / "results.jsonl")])
            look()
    tracemalloc.stop()
    (early_kib, early_mib), (late_kib, late_mib) = seen
    return {
        "frames": frames,
        "python_kib_early": early_kib,
        "python_kib_late": late_kib,
        "bytes_per_frame": 1024 * (late_kib - early_kib) / (frames - frames // 10),
        "rss_mib_early": early_mib,
        "rss_mib_late": late_mib,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--frames", type=int, default=120)
    parser.add_argument("--trace", type=int, default=0)
    parser.add_argument("--clip", default="")
    parser.add_argument("--defects", type=float, default=0.05, help="share of defective parts among the pictures")
    given = parser.parse_args()
    line = SyntheticLine(LineConfig(size=512, defects=given.defects))
    pictures = [np.asarray(cv2.resize(line.frame(i).image, (1920, 1080)), np.uint8) for i in range(20)]
    with Inspector.open(given.model) as inspector, tempfile.TemporaryDirectory() as folder:
        small = [to_input(picture, inspector.engine.input_size) for picture in pictures]
        results = Path(folder) / "results.jsonl"

        def streamed(make: Callable[[], Source], sinks: Callable[[], list[Sink]], judges: int = 2) -> float:
            return run_stream(inspector, make(), sinks(), judges=judges).frames_per_second

        def memory() -> Source:
            return Memory(pictures, given.frames)

        contestants: dict[str, Callable[[], float]] = {
            "bare": lambda: bare(inspector, small, given.frames),
            "run": lambda: streamed(memory, list),
            "results": lambda: streamed(memory, lambda: [JsonlSink(results)]),
            "one judge": lambda: streamed(memory, list, 1),
        }
        if given.clip:
            contestants["clip"] = lambda: streamed(lambda: open_source(given.clip), list)
        rates: dict[str, list[float]] = {name: [] for name in contestants}
        for round_ in range(-1, given.rounds):
            for name, contestant in contestants.items():
                rate = contestant()
                if round_ >= 0:
                    rates[name].append(rate)
        report: dict[str, object] = {}
        print(f"{'':10s} {'frames/s':>9s} {'ratio to bare':>14s} {'p05':>7s} {'p95':>7s}")
        for name, found in rates.items():
            ratios = np.array(found) / np.array(rates["bare"])
            low, middle, high = np.quantile(ratios, [0.05, 0.5, 0.95])
            report[name] = {"frames_per_second": float(np.median(found)), "ratio": float(middle)}
            print(f"{name:10s} {np.median(found):9.1f} {middle:14.3f} {low:7.3f} {high:7.3f}")
        if given.trace:
            report["trace"] = trace(inspector, pictures, given.trace)
            print("  ".join(f"{name} {value:.1f}" for name, value in report["trace"].items()))  # type: ignore[attr-defined]
    print(json.dumps(report))


if __name__ == "__main__":
    main()
