"""Graphs timed as they would run on this machine: frame in to mask out, all contestants in interleaved rounds.

Knows inspectors, rounds and medians. Does not know what is searched. The frames are noise and the pixel threshold lies
in the middle of the maps, so that the mask is made at its most expensive.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from diffad_calibration.precision.variants import Graphs
from diffad_export.provenance import processor
from diffad_runtime.engines.onnxruntime import usable_cores
from diffad_runtime.inspector import Inspector
from diffad_runtime.manifest import ImageScore
from diffad_runtime.result import Image
from diffad_runtime.rules import DecisionRules

WARM_UP_ROUNDS = 5
DIFFERENT_FRAMES = 4  # enough that no cache holds the frame of the round before

BUSY = 0.05

Name = TypeVar("Name")
_SCHEDULER = Path("/proc/thread-self/schedstat")
OnRound = Callable[[int, int], None]


class Timing(BaseModel):
    """Milliseconds of one frame, frame in to mask out.

    Attributes:
        around: median of everything but the reconstructor.
        waited: share of the time that this thread was ready to run while others had the core; above BUSY the figures
            say little.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    p50: float = Field(gt=0)
    p95: float = Field(gt=0)
    around: float = Field(ge=0)
    rounds: int = Field(ge=1)
    waited: float = Field(default=0.0, ge=0)


@dataclass(frozen=True, slots=True)
class Track:
    """What is timed on.

    Attributes:
        size: S of the graphs.
        frame_size: (H, W); None: (S, S), so that nothing is resized.
        pixels: of the image score.
    """

    size: int
    frame_size: tuple[int, int] | None
    pixels: int

    def named(self) -> str:
        """Machine, engine and frames: timings under the same name can be compared."""
        height, width = self.frame_size or (self.size, self.size)
        return f"{machine()}, frames of {width} x {height}"


def machine() -> str:
    """Processor, threads that an engine would use, and engine, as in "AMD EPYC, 2 threads, onnxruntime 1.23.0"."""
    threads = usable_cores()
    return f"{processor()}, {threads} thread{'s' if threads > 1 else ''}, onnxruntime {version('onnxruntime')}"


def race(contestants: Mapping[Name, Graphs], track: Track, rounds: int, on_round: OnRound) -> dict[Name, Timing]:
    """Time all contestants; round r gives one frame to each in turn, so that a slow moment slows all alike.

    Args:
        contestants: all of them are held in memory at once.
        rounds: frames for each, after a warm-up.
        on_round: called with (done, all) after each round.
    """
    rules = DecisionRules(pixel_threshold=0.0, image_threshold=0.0, image_score=ImageScore(pixels=track.pixels))
    frames = _noise(track.frame_size or (track.size, track.size))
    totals: dict[Name, list[float]] = {name: [] for name in contestants}
    around: dict[Name, list[float]] = {name: [] for name in contestants}
    waited: dict[Name, float] = dict.fromkeys(contestants, 0.0)
    with ExitStack() as stack:
        inspectors = {
            name: stack.enter_context(Inspector(graphs.engine(str(name), track.size), rules))
            for name, graphs in contestants.items()
        }
        for number in range(-WARM_UP_ROUNDS, rounds):
            frame = frames[number % len(frames)]
            for name, inspector in inspectors.items():
                ready, begin = waiting_ms(), time.perf_counter()
                stages = inspector.inspect(frame).latency_ms
                total = 1e3 * (time.perf_counter() - begin)
                if number >= 0:
                    waited[name] += waiting_ms() - ready
                    totals[name].append(total)
                    around[name].append(total - stages["reconstruct"])
            if number >= 0:
                on_round(number + 1, rounds)
    return {
        name: Timing(
            p50=float(np.median(times)),
            p95=float(np.percentile(times, 95)),
            around=float(np.median(around[name])),
            rounds=rounds,
            waited=waited[name] / sum(times),
        )
        for name, times in totals.items()
    }


def waiting_ms() -> float:
    """Milliseconds since its start that this thread was ready to run and had no core; 0 where Linux does not say."""
    try:
        return int(_SCHEDULER.read_text(encoding="ascii").split()[1]) / 1e6
    except (OSError, ValueError, IndexError):
        return 0.0


def _noise(frame_size: tuple[int, int]) -> list[Image]:
    generator = np.random.default_rng(0)
    return [generator.integers(0, 256, (*frame_size, 3), dtype=np.uint8) for _ in range(DIFFERENT_FRAMES)]
