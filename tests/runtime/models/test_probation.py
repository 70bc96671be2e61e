"""A trial's parts are counted as they are judged, and the trial ends by itself, whichever way."""

import threading
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import numpy as np
import pytest

from diffad_runtime.models import Action, Probation, TrialSettings, Watch
from diffad_runtime.models.state import Measured
from diffad_runtime.result import ErrorCode, Result, Verdict


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def part() -> Callable[..., Result]:
    def make(verdict: Verdict, digest: str, code: ErrorCode = ErrorCode.NONE, total: float = 10.0) -> Result:
        return Result(
            frame_id=0,
            t_capture=datetime.now(timezone.utc),
            score=0.0,
            verdict=verdict,
            mask=np.zeros((1, 1), np.uint8),
            anomaly_map=np.zeros((1, 1), np.float32),
            latency_ms={"total": total},
            bundle_digest=digest,
            variant="fp32",
            backend="fake",
            image_threshold=1.0,
            pixel_threshold=1.0,
            code=code,
        )

    return make


def test_commits_by_itself(device: Any, clock: Clock, part: Callable[..., Result]) -> None:
    device.has(1)
    device.install(2)
    found = device.active()
    watch, probation = Watch(found), Probation(found, TrialSettings(commit_parts=100, commit_s=60), clock=clock)
    for number in range(100):
        assert probation.tick() is None
        probation.count(part(Verdict.NG if number == 5 else Verdict.OK, found.digest, total=float(number + 1)))
    clock.now += 59.0
    assert probation.tick() is None
    clock.now += 1.0
    decision = probation.tick()
    assert decision is not None
    assert decision.action is Action.COMMIT
    assert device.versions == {"current": 2, "previous": 1}
    assert probation.tick() is None
    assert watch.wanted() is None
    device.install(3)
    reference = device.active().reference
    assert (reference.parts, reference.ng, reference.p99_ms) == (100, 1, 99.0)


def test_rolls_back_by_itself(device: Any, clock: Clock, part: Callable[..., Result]) -> None:
    device.has(1)
    device.install(2)
    found = device.active()
    watch, probation = Watch(found), Probation(found, clock=clock)
    for _ in range(3):
        assert probation.tick() is None
        probation.count(part(Verdict.ERROR, found.digest, ErrorCode.ENGINE))
    decision = probation.tick()
    assert decision is not None
    assert decision.action is Action.ROLL_BACK
    assert "3 times in a row" in decision.reason
    assert device.versions == {"current": 1}
    assert watch.wanted() == 1
    assert probation.tick() is None


def test_slow_against_the_generation_before(device: Any, clock: Clock, part: Callable[..., Result]) -> None:
    device.install(1)
    device.commit(measured=Measured(parts=300, ng=3, p99_ms=10.0))
    device.install(2)
    found = device.active()
    probation = Probation(found, clock=clock)
    for _ in range(10):
        probation.count(part(Verdict.OK, found.digest, total=20.0))  # at the limit, 1.5 x 10 + 5
    assert probation.observed().slow == 0
    for _ in range(10):
        probation.count(part(Verdict.OK, found.digest, total=20.1))
    assert probation.observed().slow == 10
    decision = probation.tick()
    assert decision is not None
    assert decision.action is Action.ROLL_BACK


def test_what_counts(device: Any, clock: Clock, part: Callable[..., Result]) -> None:
    device.has(1)
    device.install(2)
    found = device.active()
    probation = Probation(found, clock=clock)
    for code in ErrorCode:
        probation.count(part(Verdict.ERROR, found.digest, code))
    probation.count(part(Verdict.NG, "of another bundle"))
    seen = probation.observed()
    # LATE, RECIPE, ENGINE, BUSY, INTERNAL, and an ERROR without a code.
    assert (seen.judged, seen.ng, seen.errors, seen.failures) == (0, 0, 6, 1)
    probation.count(part(Verdict.OK, found.digest))
    probation.count(part(Verdict.NG, found.digest))
    seen = probation.observed()
    assert (seen.judged, seen.ng, seen.errors, seen.failures) == (2, 1, 6, 0)


def test_no_trial_no_counting(device: Any, clock: Clock, part: Callable[..., Result]) -> None:
    device.has(1)
    found = device.active()
    probation = Probation(found, clock=clock)
    for _ in range(10):
        probation.count(part(Verdict.ERROR, found.digest, ErrorCode.ENGINE))
    assert probation.observed().errors == 0
    assert probation.tick() is None
    assert device.versions == {"current": 1}


def test_forgets_starts_once_it_is_well(device: Any, clock: Clock, part: Callable[..., Result]) -> None:
    device.has(1)
    device.install(2)
    for _ in range(9):
        found = device.active()
        assert found.version == 2
        probation = Probation(found, TrialSettings(steady_parts=10), clock=clock)
        for _ in range(10):
            probation.count(part(Verdict.OK, found.digest))
        assert probation.tick() is None


def test_tries_again_where_the_disk_refuses(device: Any, clock: Clock, part: Callable[..., Result]) -> None:
    device.has(1)
    device.install(2)
    found = device.active()
    probation = Probation(found, TrialSettings(commit_parts=1, commit_s=0), clock=clock)
    probation.count(part(Verdict.OK, found.digest))
    (device.folder / "versions.json").rename(device.folder / "away")
    (device.folder / "versions.json").write_text("{")
    assert probation.tick() is None
    (device.folder / "away").replace(device.folder / "versions.json")
    assert probation.tick() is None  # not so soon
    clock.now += 31.0
    decision = probation.tick()
    assert decision is not None
    assert decision.action is Action.COMMIT
    assert device.versions == {"current": 2, "previous": 1}


def test_somebody_else_ended_it(device: Any, clock: Clock, part: Callable[..., Result]) -> None:
    device.has(1)
    device.install(2)
    found = device.active()
    probation = Probation(found, TrialSettings(commit_parts=1, commit_s=0), clock=clock)
    probation.count(part(Verdict.OK, found.digest))
    device.rollback()
    device.install(3)
    assert probation.tick() is None
    assert device.versions == {"trial": 3, "current": 1}


def test_counted_from_many_threads(device: Any, clock: Clock, part: Callable[..., Result]) -> None:
    device.has(1)
    device.install(2)
    found = device.active()
    probation = Probation(found, clock=clock)
    one = part(Verdict.NG, found.digest)
    threads = [threading.Thread(target=lambda: [probation.count(one) for _ in range(500)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (probation.observed().judged, probation.observed().ng) == (2000, 2000)
