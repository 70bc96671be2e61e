"""Which picture belongs to which part, and what every part's one verdict is. Pure: events in, decisions out.

Knows triggers, captures, judgements and deadlines as numbers. Does not know threads, clocks, cameras or pixels
(station.py).

    WAITING --frame--> JUDGING --judgement--> DECIDED
       |                  |                      ^
       '---- deadline, a frame of a later part, an end of the source, close: ERROR

A frame shows the part that was triggered last before it was captured. So a part's window opens at its trigger and ends
at the next one: where the camera misses a part, that part is ERROR, and its neighbour's picture is never taken for it.
Every trigger is decided once, at its deadline at the latest, and what was decided stays.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum

from diffad_runtime.result import ErrorCode, Verdict

MOST_OPEN = 64
"""Parts between trigger and verdict; with more of them inspection is lost, and the next is ERROR at once."""


class Phase(Enum):
    """Of one part, see above."""

    WAITING = "waiting"
    JUDGING = "judging"
    DECIDED = "decided"


@dataclass(frozen=True, slots=True)
class Part:
    """One trigger.

    Attributes:
        number: counts triggers from 0.
        at: when its window opens, seconds on the monotonic clock.
        deadline: when it must be decided, same clock.
        phase: see above.
    """

    number: int
    at: float
    deadline: float
    phase: Phase = Phase.WAITING


@dataclass(frozen=True, slots=True)
class Seen:
    """A frame that was judged for no part: a trigger may come after its picture."""

    frame_id: int
    captured: float


@dataclass(frozen=True, slots=True)
class Parts:
    """All parts that still matter, oldest first; a decided one stays while an older one is open.

    Attributes:
        parts: in the order of their triggers.
        triggers: all that ever came.
        unclaimed: the newest frame, unless it is judged for a part.
    """

    parts: tuple[Part, ...] = ()
    triggers: int = 0
    unclaimed: Seen | None = None

    @property
    def open(self) -> tuple[Part, ...]:
        """Those without a verdict."""
        return tuple(part for part in self.parts if part.phase is not Phase.DECIDED)

    @property
    def next_deadline(self) -> float | None:
        """The earliest deadline of those without a verdict."""
        return min((part.deadline for part in self.open), default=None)


@dataclass(frozen=True, slots=True)
class Decision:
    """The one verdict of a trigger. `reason` and `code` say why it is ERROR, "" and NONE for OK and NG."""

    number: int
    verdict: Verdict
    reason: str
    code: ErrorCode = ErrorCode.NONE


@dataclass(frozen=True, slots=True)
class Step:
    """What an event changes.

    Attributes:
        parts: from now on.
        decisions: reached by this event.
        claim: (part number, frame id) where a frame is to be judged for a part now.
    """

    parts: Parts
    decisions: tuple[Decision, ...] = ()
    claim: tuple[int, int] | None = None


def triggered(parts: Parts, at: float, deadline: float) -> Step:
    """A part came. Its number is `parts.triggers`.

    Args:
        parts: so far.
        at: opens its window: the time of the trigger, less what a trigger may come late after its picture. No
            window opens before that of the part before.
        deadline: on the same clock.
    """
    number = parts.triggers
    if len(parts.open) >= MOST_OPEN:
        reason = f"{MOST_OPEN} parts are waiting for their verdicts already"
        decision = Decision(number, Verdict.ERROR, reason, ErrorCode.BUSY)
        return Step(replace(parts, triggers=number + 1), (decision,))
    if parts.parts:
        at = max(at, parts.parts[-1].at)
    grown = replace(parts, parts=(*parts.parts, Part(number, at, deadline)), triggers=number + 1)
    if parts.unclaimed is not None and parts.unclaimed.captured >= at:
        return captured(grown, parts.unclaimed.frame_id, parts.unclaimed.captured)
    return Step(grown)


def captured(parts: Parts, frame_id: int, at: float) -> Step:
    """A frame came, captured at `at`; frames come in the order of their capture."""
    parts = replace(parts, unclaimed=Seen(frame_id, at))
    owner = next((part for part in reversed(parts.parts) if part.at <= at), None)
    if owner is None:
        return Step(parts)
    # Whoever waits and is older than the owner will see no picture of its own any more.
    missed = {part.number for part in parts.parts if part.phase is Phase.WAITING and part.number < owner.number}
    reason = "no picture came before the next part's trigger"
    lost = tuple(Decision(number, Verdict.ERROR, reason, ErrorCode.NO_PICTURE) for number in missed)
    claim = (owner.number, frame_id) if owner.phase is Phase.WAITING else None
    phases = dict.fromkeys(missed, Phase.DECIDED)
    if claim:
        phases[owner.number] = Phase.JUDGING
        parts = replace(parts, unclaimed=None)
    return Step(_moved(parts, phases), tuple(sorted(lost, key=lambda decision: decision.number)), claim)


def judged(
    parts: Parts, number: int, verdict: Verdict, reason: str, now: float, code: ErrorCode = ErrorCode.NONE
) -> Step:
    """A part's frame was judged; too late, where it was decided meanwhile or its deadline is past."""
    part = next((part for part in parts.parts if part.number == number), None)
    if part is None or part.phase is not Phase.JUDGING:
        return Step(parts)
    if now > part.deadline:
        verdict, reason, code = Verdict.ERROR, _late(part, now), ErrorCode.LATE
    return Step(_moved(parts, {number: Phase.DECIDED}), (Decision(number, verdict, reason, code),))


def expired(parts: Parts, now: float, why_no_picture: str = "") -> Step:
    """Time has passed: whoever's deadline is at or before `now` is ERROR."""
    over = [part for part in parts.open if part.deadline <= now]
    return _all_error(
        parts,
        (
            (part, _late(part, now) + why_no_picture, ErrorCode.NO_PICTURE)
            if part.phase is Phase.WAITING
            else (part, _late(part, now), ErrorCode.LATE)
            for part in over
        ),
    )


def abandoned(parts: Parts, reason: str, code: ErrorCode = ErrorCode.CAMERA, *, waiting_only: bool = False) -> Step:
    """Nothing will come any more: all that are open are ERROR, or those that still wait for a picture."""
    chosen = [part for part in parts.open if part.phase is Phase.WAITING or not waiting_only]
    return _all_error(parts, ((part, reason, code) for part in chosen))


def _all_error(parts: Parts, reasons: Iterable[tuple[Part, str, ErrorCode]]) -> Step:
    decisions = tuple(Decision(part.number, Verdict.ERROR, reason, code) for part, reason, code in reasons)
    return Step(_moved(parts, {decision.number: Phase.DECIDED for decision in decisions}), decisions)


def _moved(parts: Parts, phases: dict[int, Phase]) -> Parts:
    """With new phases, and without decided parts at the front; the last stays: no window opens before its own."""
    moved = [replace(part, phase=phases.get(part.number, part.phase)) for part in parts.parts]
    first = next((index for index, part in enumerate(moved) if part.phase is not Phase.DECIDED), len(moved) - 1)
    return replace(parts, parts=tuple(moved[max(0, first) :]))


def _late(part: Part, now: float) -> str:
    what = "no picture came" if part.phase is Phase.WAITING else "the judgement was not ready"
    return f"{what} within {1e3 * (max(now, part.deadline) - part.at):.0f} ms"
