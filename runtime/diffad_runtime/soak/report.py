"""What a soak comes to, in numbers, and which of them are not as they have to be.

Knows the conditions. Does not know how anything was measured.
"""

from dataclasses import asdict, dataclass
from typing import Any

from diffad_runtime.soak.driver import Answered

LEAST_FOR_SLOPE_S = 900.0
"""Below a quarter of an hour after the warm-up a slope of memory says more of the allocator than of the program."""


@dataclass(frozen=True, slots=True)
class Planted:
    """All faults of one kind.

    Attributes:
        planted: how many are over, with time to show.
        missed: of these, not noticed in time.
        worst_s: the longest time until one showed, None where the kind has no signs.
        allowed_s: how long that may take.
        resumed_s: the longest from the end of one until a part was judged again.
    """

    planted: int
    missed: int
    worst_s: float | None
    allowed_s: float | None
    resumed_s: float | None


@dataclass(frozen=True, slots=True)
class SoakReport:
    """Attributes:
    seconds, warm_up_s: of the run; memory, handles and threads count from the end of the warm-up.
    parts: what was asked and answered.
    faults: {kind: Planted}.
    frames, dropped, reconnects, stalls, frozen, rejected: of the camera.
    rss_mib: (at the end of the warm-up, at the end, most).
    rss_mib_per_hour: robust slope.
    handles, threads: (at the end of the warm-up, at the end, most).
    handles_rise, threads_rise: highest of the last third over the highest of the first third.
    sinks: {name: (written, faults, dropped)}.
    resume_limit_s, rss_limit_mib_per_hour: what is asked for.
    problems: what threads said that did not end or sinks that broke beyond what was planted.
    """

    seconds: float
    warm_up_s: float
    parts: Answered
    faults: dict[str, Planted]
    frames: int
    dropped: int
    reconnects: int
    stalls: int
    frozen: int
    rejected: int
    rss_mib: tuple[float, float, float]
    rss_mib_per_hour: float
    handles: tuple[int, int, int]
    threads: tuple[int, int, int]
    handles_rise: float
    threads_rise: float
    sinks: dict[str, tuple[int, int, int]]
    resume_limit_s: float
    rss_limit_mib_per_hour: float
    problems: tuple[str, ...]

    @property
    def failures(self) -> tuple[str, ...]:
        """One line for each condition that does not hold; none: passed."""
        parts, lines = self.parts, []
        if parts.answered != parts.asked or parts.twice:
            lines.append(f"{parts.asked} parts were asked for, {parts.answered} answered, {parts.twice} twice")
        if parts.overdue:
            lines.append(f"{parts.overdue} answers came after their deadline, up to {parts.worst_overdue_ms:.1f} ms")
        if not parts.verdicts.get("OK") and not parts.verdicts.get("NG"):
            lines.append("no part at all was judged")
        for kind, planted in self.faults.items():
            if planted.missed:
                worst = "not at all" if planted.worst_s is None else f"after up to {planted.worst_s:.1f} s"
                lines.append(
                    f"{kind}: {planted.missed} of {planted.planted} not noticed within {planted.allowed_s:.1f} s "
                    f"({worst})"
                )
            if planted.planted and (planted.resumed_s is None or planted.resumed_s > self.resume_limit_s):
                after = "never" if planted.resumed_s is None else f"after {planted.resumed_s:.1f} s"
                lines.append(f"{kind}: parts were judged again {after}, expected within {self.resume_limit_s:.1f} s")
        long_enough = self.seconds - self.warm_up_s >= LEAST_FOR_SLOPE_S
        if long_enough and self.rss_mib_per_hour > self.rss_limit_mib_per_hour:
            lines.append(
                f"memory grows by {self.rss_mib_per_hour:.2f} MiB an hour, expected at most "
                f"{self.rss_limit_mib_per_hour:g}"
            )
        lines += [
            f"{what} rose by {rise:g} between the first and the last third"
            for what, rise in (("open files", self.handles_rise), ("threads", self.threads_rise))
            if rise > 2  # a reconnect under way at the wrong moment
        ]
        return (*lines, *self.problems)

    @property
    def passed(self) -> bool:
        """All conditions hold."""
        return not self.failures

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {**asdict(self), "failures": list(self.failures), "passed": self.passed}
