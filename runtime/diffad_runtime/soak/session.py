"""The soak itself: a station before a chaos camera, watched from outside.

Knows what is run together and what is looked at. Does not know what a fault is (chaos/) nor when a soak has passed
(report.py).
"""

import random
import resource
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from diffad_runtime.chaos import ChaosPlan, FaultKind, PlantedFault, Sign
from diffad_runtime.errors import InputError
from diffad_runtime.health.machine import threads
from diffad_runtime.inspector import Inspector
from diffad_runtime.result import Frame, Result, SourceState
from diffad_runtime.sinks.base import Sink
from diffad_runtime.snapshot import Snapshot
from diffad_runtime.soak.detection import Finding, Times, find
from diffad_runtime.soak.driver import Driver
from diffad_runtime.soak.growth import rise, slope
from diffad_runtime.soak.report import Planted, SoakReport
from diffad_runtime.sources.limits import Limits
from diffad_runtime.sources.supervised import SupervisedSource
from diffad_runtime.station import Station

_LOOK_S = 0.05
_PAGE = resource.getpagesize()
_COUNTERS: dict[Sign, Callable[[Snapshot], int]] = {
    Sign.FROZEN: lambda snapshot: snapshot.source.frozen,
    Sign.STALLS: lambda snapshot: snapshot.source.stalls,
    Sign.RECONNECTS: lambda snapshot: snapshot.source.reconnects,
    Sign.REJECTED: lambda snapshot: snapshot.source.rejected,
    Sign.ERROR: lambda snapshot: snapshot.verdicts["ERROR"],
}


@dataclass(frozen=True, slots=True)
class SoakPlan:
    """What is done.

    Attributes:
        seconds: how long.
        uri: of the chaos camera.
        limits: of its supervision.
        parts_per_second, deadline_ms: of the line; gaps are exponential.
        warm_up_s: not counted for memory; None: a third of the run, at most ten minutes. Heaps settle that long:
            between minutes 5 and 10 of two soaks the process grew by 2 to 3 MiB an hour, later by 0.6 to 1.7.
        grace_s: what noticing a fault may take beyond its threshold.
        setup_s: how long watching the picture may take until a changed colour or brightness shows.
        resume_s: how long after a fault the first part must be judged.
        rss_limit_mib_per_hour: most that memory may grow.
    """

    seconds: float
    uri: str
    limits: Limits = field(default_factory=Limits)
    parts_per_second: float = 8.0
    deadline_ms: float = 500.0
    warm_up_s: float | None = None
    grace_s: float = 2.0
    setup_s: float = 5.0
    resume_s: float = 5.0
    rss_limit_mib_per_hour: float = 1.0

    def threshold_s(self, kind: FaultKind) -> float:
        """How long a fault may last before whoever notices it has to."""
        if kind is FaultKind.FREEZE:
            return self.limits.frozen_s or 0.0
        if kind in {FaultKind.SILENCE, FaultKind.HANG}:
            return self.limits.stall_s
        setup = {FaultKind.GREY, FaultKind.SWAP, FaultKind.GAIN}
        return self.setup_s if kind in setup else 0.0


class ShakySink(Sink):
    """Breaks on some results and takes long over others: what a run must not mind."""

    def __init__(self, seed: int) -> None:
        self.name = "a sink that breaks on purpose"
        self._rng = random.Random(seed)

    def write(self, frame: Frame, result: Result) -> None:  # noqa: ARG002
        """Fail, dawdle, or nothing."""
        fate = self._rng.random()
        if fate < 0.05:
            raise OSError("planted: the disk is full")
        if fate < 0.1:
            time.sleep(0.5)

    def close(self) -> None:
        """Nothing is open."""


def soak(
    inspector: Inspector,
    plan: SoakPlan,
    sinks: Sequence[Sink] = (),
    *,
    setup: Sequence[Callable[[], tuple[str, ...]]] = (),
    on_look: Callable[[float, Snapshot], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> SoakReport:
    """Ask for parts before a camera that goes wrong, for as long as the plan says.

    Args:
        inspector: judges; stays open.
        plan: what is done.
        sinks: beside one that breaks on purpose; closed at the end.
        setup: who else watches the camera, as CameraHealth.faults does; usually one of the sinks.
        on_look: called a few times a second with the seconds so far and a snapshot.
        stop: says that the soak is to end early and report what it has.

    Raises:
        SourceError: a bad chaos URI.
        InputError: no time to run.
    """
    if not plan.seconds > 0:
        raise InputError(f"a soak of {plan.seconds} s does nothing", mend="Give more than 0")
    chaos = ChaosPlan.from_uri(plan.uri)
    source = SupervisedSource(plan.uri, chaos.open, limits=plan.limits)
    shaky = ShakySink(chaos.config.seed)
    station = Station(inspector, source, [shaky, *sinks])
    station.monitor.setup += setup
    driver = Driver(station, per_second=plan.parts_per_second, deadline_ms=plan.deadline_ms, seed=chaos.config.seed)
    watch = _Watch(plan, chaos, driver)
    start = time.monotonic()
    try:
        driver.start()
        while (elapsed := time.monotonic() - start) < plan.seconds and not (stop is not None and stop()):
            snapshot = station.monitor.snapshot()
            watch.look(elapsed, snapshot)
            if on_look is not None:
                on_look(elapsed, snapshot)
            time.sleep(_LOOK_S)
        chaos.calm()
        driver.stop()
    finally:
        driver.stop()
        last = station.monitor.snapshot()
        station.close()
    time.sleep(0.1)  # callbacks of the last parts
    return watch.report(time.monotonic() - start, last, driver, tuple(station.problems))


class _Watch:
    """Looks at the run from outside: when signs showed, and what the process holds."""

    def __init__(self, plan: SoakPlan, chaos: ChaosPlan, driver: Driver) -> None:
        self._plan, self._chaos, self._driver = plan, chaos, driver
        self._warm_up_s = min(600.0, plan.seconds / 3) if plan.warm_up_s is None else plan.warm_up_s
        self._every_s = max(1.0, plan.seconds / 400)
        self._noticed = {sign: Times() for sign in Sign}
        self._counted: dict[Sign, int] = {}
        self._samples: list[tuple[float, float, int, int]] = []
        self._findings: list[Finding] = []
        self._found: set[tuple[FaultKind, int]] = set()
        self._next_sample = self._warm_up_s
        self._next_search = 0.0

    def look(self, elapsed: float, snapshot: Snapshot) -> None:
        for sign, counter in _COUNTERS.items():
            count = counter(snapshot)
            if count > self._counted.get(sign, 0):
                self._noticed[sign].note(snapshot.now)
            self._counted[sign] = count
        if snapshot.source.state in {SourceState.CONNECTING, SourceState.FAILED}:  # it says that the camera is lost
            self._noticed[Sign.RECONNECTS].note(snapshot.now)
        if snapshot.setup_faults:
            self._noticed[Sign.SETUP].note(snapshot.now)
        if elapsed >= self._next_sample:
            self._next_sample = elapsed + self._every_s
            self._samples.append((elapsed, *_held()))
        if elapsed >= self._next_search:
            self._next_search = elapsed + 1.0
            self._search(snapshot.now)

    def _search(self, now: float) -> None:
        for fault in self._chaos.log():
            key = (fault.kind, fault.number)
            if fault.ended is None or key in self._found or now < self._settled(fault):
                continue
            self._found.add(key)
            threshold = self._plan.threshold_s(fault.kind)
            lasted = fault.ended - fault.started
            if fault.about.lasting and lasted < threshold:  # over before anybody had to notice
                continue
            self._findings.append(find(fault, self._noticed, self._driver.judged_at(), threshold, self._plan.grace_s))

    def _settled(self, fault: PlantedFault) -> float:
        """From when on all that can show has shown."""
        ended = fault.ended or fault.started
        return max(ended + self._plan.resume_s, fault.started + self._plan.threshold_s(fault.kind)) + 0.5

    def report(self, seconds: float, last: Snapshot, driver: Driver, problems: tuple[str, ...]) -> SoakReport:
        samples = self._samples or [(seconds, *_held())]
        times, rss, handles, count = zip(*samples, strict=True)
        source = last.source
        return SoakReport(
            seconds=seconds,
            warm_up_s=self._warm_up_s,
            parts=driver.report(),
            faults=self._planted(),
            frames=source.frames,
            dropped=last.dropped,
            reconnects=source.reconnects,
            stalls=source.stalls,
            frozen=source.frozen,
            rejected=source.rejected,
            rss_mib=(rss[0], rss[-1], max(rss)),
            rss_mib_per_hour=3600 * slope(times, rss),
            handles=(handles[0], handles[-1], max(handles)),
            threads=(count[0], count[-1], max(count)),
            handles_rise=rise(handles),
            threads_rise=rise(count),
            sinks={sink.name: (sink.written, sink.faults, sink.dropped) for sink in last.sinks},
            resume_limit_s=self._plan.resume_s,
            rss_limit_mib_per_hour=self._plan.rss_limit_mib_per_hour,
            problems=tuple(problem for problem in problems if "planted" not in problem),
        )

    def _planted(self) -> dict[str, Planted]:
        kinds: dict[str, list[Finding]] = {}
        for finding in self._findings:
            kinds.setdefault(finding.kind.value, []).append(finding)
        return {
            kind: Planted(
                planted=len(found),
                missed=sum(finding.missed for finding in found),
                worst_s=_most([finding.after_s for finding in found]) if found[0].allowed_s is not None else None,
                allowed_s=found[0].allowed_s,
                resumed_s=_most([finding.resumed_s for finding in found]),
            )
            for kind, found in sorted(kinds.items())
        }


def _most(times: list[float | None]) -> float | None:
    """The longest; None where one never came."""
    return max((time for time in times if time is not None), default=None) if None not in times else None


def _held() -> tuple[float, int, int]:
    """MiB resident, open files, threads."""
    resident = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * _PAGE / (1 << 20)
    return resident, sum(1 for _ in Path("/proc/self/fd").iterdir()) - 1, threads() or threading.active_count()
