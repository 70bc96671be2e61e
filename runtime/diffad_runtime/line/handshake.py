"""The handshake with a PLC that takes one result at a time. Pure: events and times in, the next state out.

Knows levels, numbers, outcomes and seconds as values. Does not know protocols, registers, threads or clocks.

    TriggerReady   ----.___________________________.----    low: not ready, or no room for one more outcome
    Trigger        ___.--.______________________________
    ResultsReady   ____________.-------.________.-------    one outcome; its values stand still while it is high
    ResultsAck     _________________.------.____________    its rising edge takes the outcome away

What an acknowledgement is: a rising edge of a level, or a change of a number to the one that is shown. A level that is
still high, or a number that is still written, from the outcome before acknowledges nothing. After an edge the next
outcome is shown when the level is low again, so that the PLC has seen ResultsReady fall; a level that never falls, and
an acknowledgement that never comes, hold up the next outcome for `ack_timeout_s` and no longer.
"""

from dataclasses import dataclass, replace
from typing import Final, Generic, TypeVar

from diffad_runtime.line.job import Outcome
from diffad_runtime.result import ErrorCode, Verdict

MOST_WAITING: Final = 16
"""Outcomes that are shown or wait to be. One more, and the oldest that waits is given up."""

NUMBERS: Final = 65535
"""Numbers of triggers and results are 1 to this; 0 is none."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Rules:
    """What both sides agreed on.

    Attributes:
        ack_timeout_s: an outcome that is not acknowledged for so long is withdrawn, and counted as lost.
        gap_s: ResultsReady stays low for at least so long between two outcomes.
        plc_watchdog_s: a PLC whose heartbeat stands still for so long is silent; None: it has none.
        most: outcomes shown and waiting, at least 2.
    """

    ack_timeout_s: float = 5.0
    gap_s: float = 0.0
    plc_watchdog_s: float | None = None
    most: int = MOST_WAITING


@dataclass(frozen=True, slots=True)
class Shown(Generic[T]):
    """The outcome that stands while ResultsReady is high: which, under what number, and since when."""

    outcome: T
    number: int
    since: float


@dataclass(frozen=True, slots=True)
class Counts:
    """Since the start.

    Attributes:
        shown, acknowledged: outcomes.
        lost: outcomes that were shown and never acknowledged.
        overflowed: outcomes that were never shown, there being no room: only a PLC that triggers early brings it there.
        early: triggers that came while TriggerReady was low.
        repeated: writes of the trigger number that was there already.
    """

    shown: int = 0
    acknowledged: int = 0
    lost: int = 0
    overflowed: int = 0
    early: int = 0
    repeated: int = 0


@dataclass(frozen=True, slots=True)
class Handshake(Generic[T]):
    """One channel's handshake at one moment.

    Attributes:
        rules: see above.
        number: of the outcome that was shown last; the first one gets the number after it.
        ready: the station would judge a part.
        open: jobs of this channel without a verdict.
        waiting: outcomes that were not shown yet, in the order of their verdicts.
        shown: the one that is.
        fell: when ResultsReady fell last, None before.
        releasing: it fell by an edge whose level is still high.
        trigger_high, ack_high: levels as they were last.
        trigger_number, ack_number: as they were written last; of triggers, the last that was not 0.
        beat, beat_at: the PLC's heartbeat, and when it moved last (or the start).
        silent: it has stood still for too long.
        counts: see above.
    """

    rules: Rules
    number: int = 0
    ready: bool = False
    open: int = 0
    waiting: tuple[T, ...] = ()
    shown: Shown[T] | None = None
    fell: float | None = None
    releasing: bool = False
    trigger_high: bool = False
    ack_high: bool = False
    trigger_number: int = 0
    ack_number: int = 0
    beat: int | None = None
    beat_at: float = 0.0
    silent: bool = False
    counts: Counts = Counts()

    @property
    def results_ready(self) -> bool:
        """An outcome is shown."""
        return self.shown is not None

    @property
    def kept(self) -> int:
        """Outcomes shown and waiting."""
        return len(self.waiting) + (self.shown is not None)

    @property
    def trigger_ready(self) -> bool:
        """A part triggered now would be judged, and its outcome would find room, whatever is still open."""
        return self.ready and self.open + self.kept < self.rules.most

    @property
    def next_due(self) -> float | None:
        """When `ticked` must be called, on the clock of the other times; None: not before something else happens."""
        due = []
        if self.shown is not None:
            due.append(self.shown.since + self.rules.ack_timeout_s)
        elif self.waiting:
            due.append(_may_show_at(self))
        if self.rules.plc_watchdog_s is not None and not self.silent:
            due.append(self.beat_at + self.rules.plc_watchdog_s)
        return min(due, default=None)


@dataclass(frozen=True, slots=True)
class Step(Generic[T]):
    """What an event led to.

    Attributes:
        handshake: the next state.
        job: a part was triggered; it must be told to the desk, or given back with `refused`.
        raised: the outcome that is shown from now on. No step both withdraws one outcome and shows another.
        lost: the outcome that was given up, shown or not.
    """

    handshake: Handshake[T]
    job: bool = False
    raised: T | None = None
    lost: T | None = None


def stationed(handshake: Handshake[T], ready: bool) -> Handshake[T]:
    """The station says whether it would judge a part."""
    return replace(handshake, ready=ready)


def trigger_level(handshake: Handshake[T], high: bool) -> Step[T]:
    """Trigger is at this level: a rising edge is a part, whatever TriggerReady says, as every part gets a verdict."""
    rising = high and not handshake.trigger_high
    after = replace(handshake, trigger_high=high)
    return _taken(after) if rising else Step(after)


def trigger_number(handshake: Handshake[T], number: int) -> Step[T]:
    """The trigger number was written: a change is a part. 0 is none, and the number before it stays the last."""
    if number in (0, handshake.trigger_number):
        repeated = handshake.counts.repeated + (number != 0)
        return Step(replace(handshake, counts=replace(handshake.counts, repeated=repeated)))
    return _taken(replace(handshake, trigger_number=number))


def refused(handshake: Handshake[T]) -> Handshake[T]:
    """The desk did not take the job: it gets no outcome."""
    return replace(handshake, open=max(0, handshake.open - 1))


def decided(handshake: Handshake[T], outcome: T, now: float, *, own: bool = True) -> Step[T]:
    """A verdict was reached; `own`: of a job that this channel triggered."""
    open_ = max(0, handshake.open - 1) if own else handshake.open
    step = _shown(replace(handshake, open=open_, waiting=(*handshake.waiting, outcome)), now)
    after = step.handshake
    if after.kept <= after.rules.most:
        return step
    counts = replace(after.counts, overflowed=after.counts.overflowed + 1)
    oldest, *rest = after.waiting
    return replace(step, handshake=replace(after, waiting=tuple(rest), counts=counts), lost=oldest)


def ack_level(handshake: Handshake[T], high: bool, now: float) -> Step[T]:
    """ResultsAck is at this level: a rising edge acknowledges what is shown."""
    rising = high and not handshake.ack_high
    after = replace(handshake, ack_high=high, releasing=handshake.releasing and high)
    if rising and after.shown is not None:
        return Step(replace(_acknowledged(after, now), releasing=True))
    return Step(after)


def ack_number(handshake: Handshake[T], number: int, now: float) -> Step[T]:
    """The number of an outcome was written: a change to the one that is shown acknowledges it."""
    changed = number != handshake.ack_number
    after = replace(handshake, ack_number=number)
    if changed and after.shown is not None and number == after.shown.number:
        return Step(_acknowledged(after, now))
    return Step(after)


def beaten(handshake: Handshake[T], beat: int, now: float) -> Handshake[T]:
    """The PLC's heartbeat was written; only a change is a sign of life."""
    if beat == handshake.beat:
        return handshake
    return replace(handshake, beat=beat, beat_at=now, silent=False)


def ticked(handshake: Handshake[T], now: float) -> Step[T]:
    """Time went by: withdraw what nobody acknowledged, show what may be shown, notice a PLC that is silent."""
    watchdog = handshake.rules.plc_watchdog_s
    if watchdog is not None and now >= handshake.beat_at + watchdog:
        handshake = replace(handshake, silent=True)
    shown = handshake.shown
    if shown is not None and now >= shown.since + handshake.rules.ack_timeout_s:
        counts = replace(handshake.counts, lost=handshake.counts.lost + 1)
        return Step(replace(handshake, shown=None, fell=now, releasing=False, counts=counts), lost=shown.outcome)
    return _shown(handshake, now)


def _taken(handshake: Handshake[T]) -> Step[T]:
    counts = replace(handshake.counts, early=handshake.counts.early + (not handshake.trigger_ready))
    return Step(replace(handshake, open=handshake.open + 1, counts=counts), job=True)


def _acknowledged(handshake: Handshake[T], now: float) -> Handshake[T]:
    counts = replace(handshake.counts, acknowledged=handshake.counts.acknowledged + 1)
    return replace(handshake, shown=None, fell=now, counts=counts)


def _may_show_at(handshake: Handshake[T]) -> float:
    if handshake.fell is None:
        return float("-inf")
    wait = handshake.rules.ack_timeout_s if handshake.releasing else 0.0
    return handshake.fell + max(wait, handshake.rules.gap_s)


def _shown(handshake: Handshake[T], now: float) -> Step[T]:
    if handshake.shown is not None or not handshake.waiting or now < _may_show_at(handshake):
        return Step(handshake)
    outcome, *rest = handshake.waiting
    shown = Shown(outcome, handshake.number % NUMBERS + 1, now)
    counts = replace(handshake.counts, shown=handshake.counts.shown + 1)
    after = replace(handshake, shown=shown, number=shown.number, waiting=tuple(rest), releasing=False, counts=counts)
    return Step(after, raised=outcome)


@dataclass(frozen=True, slots=True)
class Signals:
    """What a verdict does to the lines of an interface; all low: there is none.

    Attributes:
        ok: a good part.
        ng: an anomalous part, and one that nobody could judge: ERROR also raises NG.
        error: nobody could judge it.
        code: why not.
    """

    ok: bool = False
    ng: bool = False
    error: bool = False
    code: ErrorCode = ErrorCode.NONE


def signals(outcome: Outcome | None) -> Signals:
    """Of an outcome, or of none."""
    if outcome is None:
        return Signals()
    return Signals(
        ok=outcome.verdict is Verdict.OK,
        ng=outcome.reject,
        error=outcome.verdict is Verdict.ERROR,
        code=outcome.code,
    )
