"""Which lines are on at which time. Pure: verdicts, states and times in, levels out.

Knows pulses, latches and gaps as seconds. Does not know threads, clocks or hardware (adapter.py).

    pulse_ms = 50, gap_ms = 10       part 1 is OK, part 2 is OK 30 ms later, part 3 is ERROR 5 ms after that

    ms      0             30    40    50    60                     110
    OK     _.-------------._____.-----.______________________________    part 1 is cut by part 2, part 2 by part 3
    NG     __________________________________.---------------------._    part 3
    ERROR  __________________________________.---------------------._

A verdict that finds the lines at rest is put out at once. One that comes during a pulse ends it, but not before it
stood for gap_ms, and follows gap_ms after its end: whoever samples the lines faster than gap_ms sees an edge for each
part. Latched verdicts are the same with a pulse that has no end.
"""

from dataclasses import dataclass, replace
from typing import Final, Generic, TypeVar

from diffad_runtime.line.outputs.settings import Signal

MOST_WAITING: Final = 16
"""Verdicts that wait for the lines. One more, and the oldest is never put out: a line faster than 2 * gap_ms a part."""

STALE_BEATS: Final = 3

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Rules:
    """How long verdicts stand. pulse_s: None is latched; gap_s: more than 0."""

    pulse_s: float | None
    gap_s: float


@dataclass(frozen=True, slots=True)
class Verdict(Generic[T]):
    """One to be put out: what for, and which lines it turns on."""

    outcome: T
    on: frozenset[Signal]


@dataclass(frozen=True, slots=True)
class Pattern(Generic[T]):
    """All lines at one moment.

    Attributes:
        rules: see above.
        on: the verdict's lines that are on; empty between verdicts.
        since: when they changed last.
        waiting: verdicts that come after, in their order.
        ready: the station would judge a part, as it said last.
        beat: level of the heartbeat.
        stale_at: when the station will have been silent for too long; None: it is, or has said nothing yet.
        lost: verdicts that were never on the lines, since the start.
    """

    rules: Rules
    on: frozenset[Signal] = frozenset()
    since: float = float("-inf")
    waiting: tuple[Verdict[T], ...] = ()
    ready: bool = False
    beat: bool = False
    stale_at: float | None = None
    lost: int = 0

    @property
    def levels(self) -> dict[Signal, bool]:
        """Of every signal. READY needs a station that is heard of."""
        levels = {signal: signal in self.on for signal in (Signal.OK, Signal.NG, Signal.ERROR)}
        levels[Signal.READY] = self.ready and self.stale_at is not None
        levels[Signal.HEARTBEAT] = self.beat
        return levels

    @property
    def next_due(self) -> float | None:
        """When `ticked` must be called; None: not before something else happens."""
        due = [time for time in (self.stale_at, self._ends if self.on else None) if time is not None]
        if self.waiting and not self.on:
            due.append(self.since + self.rules.gap_s)
        return min(due, default=None)

    @property
    def _ends(self) -> float | None:
        """When the lines that are on go off."""
        pulse, gap = self.rules.pulse_s, self.rules.gap_s
        if self.waiting:
            return self.since + (gap if pulse is None else min(gap, pulse))
        return None if pulse is None else self.since + pulse


@dataclass(frozen=True, slots=True)
class Step(Generic[T]):
    """What an event led to: the next state, the verdict on the lines from now on, the one that never will be."""

    pattern: Pattern[T]
    raised: T | None = None
    lost: T | None = None


def decided(pattern: Pattern[T], outcome: T, on: frozenset[Signal], now: float) -> Step[T]:
    """A verdict was reached; `on`: of OK, NG and ERROR."""
    step = _advanced(replace(pattern, waiting=(*pattern.waiting, Verdict(outcome, on))), now)
    after = step.pattern
    if len(after.waiting) <= MOST_WAITING:
        return step
    oldest, *rest = after.waiting
    return replace(step, pattern=replace(after, waiting=tuple(rest), lost=after.lost + 1), lost=oldest.outcome)


def stationed(pattern: Pattern[T], ready: bool, heartbeat: int, beat_s: float, now: float) -> Pattern[T]:
    """The station said how it is: its heartbeat is one level at even beats and the other at odd ones."""
    return replace(pattern, ready=ready, beat=bool(heartbeat & 1), stale_at=now + STALE_BEATS * beat_s)


def ticked(pattern: Pattern[T], now: float) -> Step[T]:
    """Time went by."""
    if pattern.stale_at is not None and now >= pattern.stale_at:
        pattern = replace(pattern, stale_at=None)
    return _advanced(pattern, now)


def rested(pattern: Pattern[T]) -> Pattern[T]:
    """Verdicts are off, and those that wait are lost: whoever would hear of them late would mistake them."""
    return replace(pattern, on=frozenset(), waiting=(), lost=pattern.lost + len(pattern.waiting))


def stopped(pattern: Pattern[T]) -> Pattern[T]:
    """All off, for ever."""
    return replace(rested(pattern), ready=False, beat=False, stale_at=None)


def _advanced(pattern: Pattern[T], now: float) -> Step[T]:
    if pattern.on:
        ends = pattern._ends
        off = ends is not None and now >= ends
        return Step(replace(pattern, on=frozenset(), since=now) if off else pattern)
    if not pattern.waiting or now < pattern.since + pattern.rules.gap_s:
        return Step(pattern)
    first, *rest = pattern.waiting
    after = replace(pattern, on=first.on, since=now, waiting=tuple(rest))
    return Step(after, raised=first.outcome)
