"""When which fault comes: from a seed, without end, or from a list that a user wrote.

Pure: numbers in, faults out, no clock and no camera. Times are seconds of the stream: pictures taken over pictures a
second. They stand still while no camera is open, so that no fault is missed because the stream was down at its time,
and the same seed hits the same pictures.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile

import numpy as np

from diffad_runtime.chaos.kinds import FAULTS, FaultKind
from diffad_runtime.errors import SourceError

_JITTER = 0.25


@dataclass(frozen=True, slots=True)
class ScriptedFault:
    """One fault as planned.

    Attributes:
        number: from 0, in order.
        kind: of it.
        at_s: when it begins, seconds of the stream.
        length_s: how long it lasts, 0 for one that happens at once.
        amount: how strong, see kinds.FAULTS.
    """

    number: int
    kind: FaultKind
    at_s: float
    length_s: float
    amount: float


def seeded(kinds: Sequence[FaultKind], *, seed: int, every_s: float, length_s: float) -> Iterator[ScriptedFault]:
    """Faults without end. Every kind comes once before any comes again, in an order drawn anew each round.

    Args:
        kinds: to choose from; empty gives no fault at all.
        seed: same seed, same faults.
        every_s: from the end of one to the start of the next, give or take a quarter; also before the first.
        length_s: the shortest that a lasting one lasts; up to a quarter longer.
    """
    at = 0.0
    number = 0
    while kinds:
        rng = np.random.default_rng([seed, number])
        for index in rng.permutation(len(kinds)):
            kind = kinds[int(index)]
            at += every_s * float(rng.uniform(1 - _JITTER, 1 + _JITTER))
            stretch = float(rng.uniform(1, 1 + _JITTER))
            length = length_s * stretch if FAULTS[kind].lasting else 0.0
            yield ScriptedFault(number, kind, at, length, FAULTS[kind].amount)
            at += length
            number += 1


def until(faults: Iterator[ScriptedFault], seconds: float) -> list[ScriptedFault]:
    """Those that begin before `seconds` of the stream."""
    return list(takewhile(lambda fault: fault.at_s < seconds, faults))


def check_order(faults: Sequence[ScriptedFault]) -> None:
    """See that a list written by hand is in order and that no fault begins before the one before it is over.

    Raises:
        SourceError: names the first that does.
    """
    for before, after in pairwise(faults):
        if after.at_s < before.at_s + before.length_s or after.at_s <= before.at_s:
            span = f"{before.at_s:g} s to {before.at_s + before.length_s:g} s"
            raise SourceError(
                f"chaos script: fault {after.number + 1} ({after.kind.value}) begins at {after.at_s:g} s, before fault "
                f"{before.number + 1} ({before.kind.value}, {span}) is over",
                mend="Put them in order, one at a time",
            )
