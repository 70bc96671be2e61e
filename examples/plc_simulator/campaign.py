"""Many parts, with faults on the way, and what must hold whatever happens: every part has exactly one verdict.

Knows which fault is put in where, and what each part may be told. Does not know protocols.

    double     the trigger is sent twice, at once, or again after the verdict: still one part, one verdict
    lost ack   the PLC forgets to acknowledge a result (Modbus): the next one must come all the same
    recipe     a recipe that there is not: ERROR, code RECIPE
    late       a deadline that cannot be kept: ERROR, code NO_PICTURE or LATE
    drop       the connection breaks just after a trigger
"""

import random
import time
from dataclasses import dataclass, field

from plc import Plc, Told

NO_PICTURE, LATE, RECIPE = 10, 11, 20
SPARE_S = 20.0
"""A verdict must have been heard so long after the last trigger, lost acknowledgements and all."""

SHADOW_S = 1.0


@dataclass(frozen=True, slots=True)
class Rates:
    """Share of parts with each fault, and parts a second."""

    double: float = 0.02
    lost_ack: float = 0.005
    recipe: float = 0.02
    late: float = 0.02
    drop: float = 0.001
    per_second: float = 20.0

    def pick(self, rng: random.Random, plc: Plc) -> str:
        """At most one fault for a part, "" for none."""
        point = rng.random()
        for name, share, fits in (
            ("double", self.double, True),
            ("lost ack", self.lost_ack, plc.acknowledges),
            ("recipe", self.recipe, plc.deadlines),
            ("late", self.late, plc.deadlines),
            ("drop", self.drop, True),
        ):
            point -= share if fits else 0
            if point < 0:
                return name
        return ""


@dataclass(slots=True)
class Part:
    """One part: what was done to it, and when its trigger was sent (monotonic clock)."""

    job: str
    fault: str
    sent: float


@dataclass(slots=True)
class Book:
    """What a campaign came to.

    Attributes:
        parts: asked for, in order.
        told: {job: verdicts heard}.
        broken: one line for each part that was not told exactly one verdict, or the wrong one.
    """

    parts: list[Part]
    told: dict[str, list[Told]]
    broken: list[str] = field(default_factory=list)

    def latencies_ms(self) -> dict[str, float]:
        """{job: trigger sent to verdict heard}, of parts without a fault that did not queue behind one.

        A lost acknowledgement holds up the results after it until its time is over, and a broken connection until it
        is back: parts sent within SHADOW_S of those are left out.
        """
        found, clear = dict[str, float](), 0.0
        for part in self.parts:
            if part.fault in {"lost ack", "drop"}:
                clear = part.sent + SHADOW_S
            elif not part.fault and part.sent >= clear and part.job in self.told:
                found[part.job] = 1e3 * (self.told[part.job][0].at - part.sent)
        return found


def run(plc: Plc, count: int, rates: Rates, seed: int, say=lambda _line: None) -> Book:  # type: ignore[no-untyped-def]
    """Send `count` parts at an even pace, with faults, and hold what was heard against what must be."""
    rng, parts = random.Random(seed), list[Part]()
    tag, pace = f"{plc.name}{rng.randrange(16**6):06x}", 1 / rates.per_second
    due = time.monotonic()
    for number in range(count):
        job, fault = f"{tag}-{number}", rates.pick(rng, plc)
        time.sleep(max(0.0, due - time.monotonic()))
        due = max(due + pace, time.monotonic())
        plc.forget_ack = fault == "lost ack"
        sent = plc.ask(
            job,
            recipe="no such recipe" if fault == "recipe" else None,
            deadline_ms=0.01 if fault == "late" else None,
        )
        parts.append(Part(job, fault, sent))
        if fault == "double":
            if rng.random() < 0.5:  # the part is through already; a PLC that did not hear asks again
                plc.heard.wait(job, 1)
            plc.ask(job)
        elif fault == "drop":
            plc.drop()
            due = time.monotonic() + pace
        if number % 500 == 499:
            say(f"{plc.name}: {number + 1} parts")
    until = time.monotonic() + SPARE_S
    for part in parts:
        plc.heard.wait(part.job, max(0.0, until - time.monotonic()))
    time.sleep(0.3)  # whatever is told too often
    with plc.heard.changed:
        book = Book(parts, {job: list(told) for job, told in plc.heard.verdicts.items()})
    book.broken += [line for part in parts if (line := fault_of(part, book.told.get(part.job, [])))]
    known = {part.job for part in parts}
    book.broken += [f"{job}: nobody asked for it" for job in book.told if job not in known]
    return book


def fault_of(part: Part, told: list[Told]) -> str:
    """What is wrong with what a part was told, "" where nothing is."""
    what = f"{part.job} ({part.fault or 'no fault'})"
    if not told:
        return f"{what}: no verdict"
    first = told[0]
    heard = f"{first.verdict} with code {first.code}"
    wrong = {
        f"verdicts {', '.join(one.verdict for one in told)}": any(
            (other.verdict, other.code) != (first.verdict, first.code) for other in told
        ),
        f"told {len(told)} times, though nobody asked again": len(told) > 1 and part.fault not in {"double", "drop"},
        f"{heard}, but reject is {first.reject}": first.reject != (first.verdict != "OK"),
        f"{heard}, expected ERROR with {RECIPE}": part.fault == "recipe"
        and (first.verdict, first.code) != ("ERROR", RECIPE),
        f"{heard}, expected ERROR with {NO_PICTURE} or {LATE}": part.fault == "late"
        and (first.verdict != "ERROR" or first.code not in {NO_PICTURE, LATE}),
        heard: first.verdict not in {"OK", "NG", "ERROR"},
    }
    return next((f"{what}: {words}" for words, holds in wrong.items() if holds), "")
