"""How fast a bundle is on this machine: every variant in one interleaved run.

Knows rounds, warm-up and percentiles. Does not know how the stages work, nor what a good figure is.

Round r times one frame with each contestant in turn, so that a machine that slows down slows all of them. The frames
are noise: a bundle trained on parts finds them anomalous, so the mask stage is timed at its worst.
"""

import platform
import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from diffad_runtime.bundle import Bundle
from diffad_runtime.engines.choice import choose, suited
from diffad_runtime.engines.ondevice import OnDevice
from diffad_runtime.engines.select import open_engine
from diffad_runtime.errors import InputError
from diffad_runtime.inspector import Inspector
from diffad_runtime.latency import StageRecorders
from diffad_runtime.result import Image
from diffad_runtime.rules import DecisionRules

_DIFFERENT_FRAMES = 4  # enough that no cache holds the frame of the round before; 6 MB each at 1080p
_WARM_UP_ROUNDS = 5

Contestant = Callable[[Image], dict[str, float]]


@dataclass(frozen=True, slots=True)
class Timing:
    """One contestant. Milliseconds per frame, frame in to mask out.

    Attributes:
        backend, variant: who ran.
        frames_per_second: one frame after the other.
        stages: {stage: {"p50", "p95", "p99"}}, "total" among them.
    """

    backend: str
    variant: str
    frames_per_second: float
    stages: dict[str, dict[str, float]]

    def to_json(self, peak_rss_mb: float) -> dict[str, Any]:
        """The keys that every report has."""
        return {
            "frames_per_second": self.frames_per_second,
            "latency_ms": self.stages["total"],
            "stages": {name: times for name, times in self.stages.items() if name != "total"},
            "peak_rss_mb": peak_rss_mb,
            "backend": self.backend,
            "variant": self.variant,
        }


@dataclass(frozen=True, slots=True)
class BenchReport:
    """Result of `bench`.

    Attributes:
        default: name of the contestant that stands for the bundle.
        timings: contestants by name, in the order they ran.
        rounds: frames per contestant.
        frame_size: (H, W) of the frames.
        threads: worker threads of the engines, None: as many as the process may use.
        peak_rss_mb: of the whole process, all contestants together.
        machine: processor and system.
    """

    default: str
    timings: dict[str, Timing]
    rounds: int
    frame_size: tuple[int, int]
    threads: int | None
    peak_rss_mb: float
    machine: str

    def to_json(self) -> dict[str, Any]:
        """JSON values: the default variant's keys at the top, all contestants under "variants"."""
        return {
            **self.timings[self.default].to_json(self.peak_rss_mb),
            "variants": {name: timing.to_json(self.peak_rss_mb) for name, timing in self.timings.items()},
            "rounds": self.rounds,
            "frame_size": list(self.frame_size),
            "threads": self.threads,
            "machine": self.machine,
        }


def bench(
    bundle: Bundle,
    backend: str = "auto",
    variants: Sequence[str] | None = None,
    frames: int = 100,
    frame_size: tuple[int, int] | None = (1080, 1920),
    *,
    threads: int | None = None,
    device: OnDevice | None = None,
    extra: dict[str, Contestant] | None = None,
    on_round: Callable[[int, int], None] | None = None,
) -> BenchReport:
    """Time variants of a bundle, frame in to mask out, in interleaved rounds.

    Args:
        bundle: verified.
        backend: as `open_engine`.
        variants: None: all that this backend runs. Those named may be made for TensorRT and run on onnxruntime: their
            times then say little of TensorRT's. The first stands for the bundle unless its default is among them.
        frames: rounds, after a warm-up.
        frame_size: (H, W); None: the input size, so that nothing is resized.
        threads, device: as `open_engine`.
        extra: more contestants: name -> function of a uint8 (H, W, 3) frame that returns milliseconds per stage;
            without a stage "total", the sum counts.
        on_round: called with (done, all) after each round.

    Raises:
        InputError: nothing to time, or a name twice.
        EngineError: an engine cannot be made, or failed.
    """
    size = bundle.manifest.input_size
    height, width = frame_size or (size, size)
    if frames < 1 or height < 1 or width < 1:
        raise InputError(
            f"cannot time {frames} frames of {height} x {width}", mend="Give at least one frame, one pixel"
        )
    if variants is None:
        backend = choose(bundle, backend).backend
    names = list(variants) if variants is not None else suited(bundle, backend)
    extra = extra or {}
    if len({*names, *extra}) != len(names) + len(extra) or not names:
        raise InputError(f"expected different variants, at least one, got {[*names, *extra]}", mend="Name each once")
    inspectors: dict[str, Inspector] = {}
    recorders: dict[str, StageRecorders] = {name: StageRecorders() for name in (*names, *extra)}
    try:
        for name in names:
            engine = open_engine(bundle, backend, name, threads, foreign=True, device=device)
            inspectors[name] = Inspector(engine, DecisionRules.of(bundle.manifest), bundle_digest=bundle.digest)
        contestants = {name: _timed(inspector) for name, inspector in inspectors.items()} | extra
        pictures = _noise(height, width)
        for number in range(-_WARM_UP_ROUNDS, frames):
            picture = pictures[number % len(pictures)]
            for name, contestant in contestants.items():
                stages = contestant(picture)
                if number >= 0:
                    recorders[name].add({**stages, "total": stages.get("total", sum(stages.values()))})
            if number >= 0 and on_round is not None:
                on_round(number + 1, frames)
        backends = {name: inspector.engine.backend for name, inspector in inspectors.items()}
    finally:
        for inspector in inspectors.values():
            inspector.close()
    timings = {
        name: Timing(
            backend=backends.get(name, "extra"),
            variant=name,
            frames_per_second=1e3 * recorder["total"].count / recorder["total"].total_ms,
            stages=recorder.summary(),
        )
        for name, recorder in recorders.items()
    }
    default = bundle.manifest.default_variant
    return BenchReport(
        default=default if default in names else names[0],
        timings=timings,
        rounds=frames,
        frame_size=(height, width),
        threads=threads,
        peak_rss_mb=peak_rss_mb(),
        machine=f"{platform.processor() or platform.machine()}, {platform.system()} {platform.release()}",
    )


def peak_rss_mb() -> float:
    """Most memory (MiB) that this process held at any time."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20) if sys.platform == "darwin" else peak / 1024


def _timed(inspector: Inspector) -> Contestant:
    """What an inspector measures itself, and what the call costs beyond its stages in the total."""

    def judge(picture: Image) -> dict[str, float]:
        start = time.perf_counter()
        result = inspector.inspect(picture)
        return {**result.latency_ms, "total": 1e3 * (time.perf_counter() - start)}

    return judge


def _noise(height: int, width: int) -> list[Image]:
    generator = np.random.default_rng(0)
    return [generator.integers(0, 256, (height, width, 3), dtype=np.uint8) for _ in range(_DIFFERENT_FRAMES)]
