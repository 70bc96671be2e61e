"""A desk that notes what was signalled, outcomes, lines that are written down, and a clock that is set by hand."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone

import numpy as np
import pytest

from diffad_runtime.errors import InputError
from diffad_runtime.line.job import Job, LineState, Outcome, Phase, Request
from diffad_runtime.line.outputs import Signal
from diffad_runtime.line.outputs.lines import Lines
from diffad_runtime.result import ErrorCode, Result, Verdict


@dataclass
class Desk:
    """Takes no triggers: outputs have none."""

    phase: Phase = Phase.READY
    beat: int = 0
    beat_s: float = 1.0
    signalled_jobs: list[tuple[int, float]] = field(default_factory=list)

    def trigger(self, request: Request) -> Job:  # noqa: ARG002
        raise AssertionError("outputs trigger nothing")

    def prepare(self, recipe: str | int) -> None:  # noqa: ARG002
        raise AssertionError("outputs choose nothing")

    def recipes(self) -> tuple[tuple[str, int | None], ...]:
        return ()

    def state(self) -> LineState:
        return LineState(
            phase=self.phase, heartbeat=self.beat, beat_s=self.beat_s, open=0, recipe="", recipe_index=None,
            counts={}, duplicates=0, faults=(), model_id="", model_version=1, bundle_digest="", last_job=0, run_id="r",
        )  # fmt: skip

    def signalled(self, outcome: Outcome, channel: str) -> None:
        assert channel == "outputs"
        self.signalled_jobs.append((outcome.job.number, time.monotonic()))


class NotedLines(Lines):
    """Notes what is driven when; fails when it is told to."""

    def __init__(self) -> None:
        self.levels: dict[Signal, bool] = {}
        self.notes: list[tuple[float, dict[Signal, bool]]] = []
        self.broken = self.gone = False
        self.opened = self.closed = 0

    def open(self) -> None:
        if self.gone:
            raise InputError("no such chip", mend="Plug it in")
        self.opened += 1
        self.levels = {}

    def set(self, levels: Mapping[Signal, bool]) -> None:
        if self.broken:
            raise OSError(5, "Input/output error")
        self.levels.update(levels)
        self.notes.append((time.monotonic(), dict(levels)))

    def close(self) -> None:
        self.closed += 1

    def rising(self, signal: Signal) -> list[float]:
        return [at for at, levels in self.notes if levels.get(signal)]


@pytest.fixture
def outcome() -> Callable[[int, Verdict], Outcome]:
    """outcome(number, verdict) of a part."""

    def make(number: int, verdict: Verdict) -> Outcome:
        none = np.zeros((0, 0), np.uint8)
        result = Result(
            frame_id=number, t_capture=datetime.now(timezone.utc), score=0.0, verdict=verdict, mask=none,
            anomaly_map=none.astype(np.float32), latency_ms={}, bundle_digest="", variant="", backend="",
            image_threshold=0.0, pixel_threshold=0.0,
            code=ErrorCode.LATE if verdict is Verdict.ERROR else ErrorCode.NONE,
        )  # fmt: skip
        return Outcome(Job(number, f"j{number}", f"p{number}", Request("mqtt"), 0.0), result, time.monotonic())

    return make


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def noted() -> NotedLines:
    return NotedLines()
