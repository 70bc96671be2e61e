"""What a candidate that was not timed would take: a line through two that were, over their multiply-adds.

In one precision, milliseconds = fixed + slope x GMACs. Extractor, score and mask are in `fixed`. Wide layers reach a
larger share of the peak than narrow ones, and every level has a score of its own that is not counted, so what lies
between or beyond the two takes longer than the line says: it errs towards timing too much.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from diffad_export.search.candidates import Candidate

FAR = 2.0
"""Estimated at more than so many budgets, a candidate is not even timed."""


@dataclass(frozen=True, slots=True)
class Line:
    """Latency over operations."""

    fixed_ms: float
    ms_per_gmac: float

    def at(self, gmacs: float) -> float:
        """Milliseconds."""
        return self.fixed_ms + self.ms_per_gmac * gmacs


def line_through(first: tuple[float, float], second: tuple[float, float]) -> Line:
    """Through two of (GMACs, ms); never falling: noise must not make the larger one the faster."""
    (x0, y0), (x1, y1) = sorted((first, second))
    slope = max(0.0, (y1 - y0) / (x1 - x0)) if x1 > x0 else 0.0
    return Line(y0 - slope * x0, slope)


def anchors(candidates: Sequence[Candidate], gmacs: Mapping[Candidate, float]) -> list[Candidate]:
    """Of each precision the two that the line goes through: the cheapest, and the widest of as few steps.

    With one width only, the second is the one with the next more steps.
    """
    found: list[Candidate] = []
    for precision in dict.fromkeys(one.precision for one in candidates):
        own = sorted((one for one in candidates if one.precision == precision), key=lambda one: gmacs[one])
        cheapest = own[0]
        as_few = [one for one in own if one.shape.steps == cheapest.shape.steps]
        found += list(dict.fromkeys((cheapest, as_few[-1] if len(as_few) > 1 else own[min(1, len(own) - 1)])))
    return found


def estimates(
    candidates: Sequence[Candidate], gmacs: Mapping[Candidate, float], timed: Mapping[Candidate, float]
) -> dict[Candidate, float]:
    """Milliseconds of every candidate whose precision has two different timings.

    Args:
        timed: medians of the anchors.
    """
    found: dict[Candidate, float] = {}
    for precision in dict.fromkeys(one.precision for one in candidates):
        known = sorted((gmacs[one], ms) for one, ms in timed.items() if one.precision == precision)
        if len(known) > 1:
            line = line_through(known[0], known[-1])
            found |= {one: line.at(gmacs[one]) for one in candidates if one.precision == precision}
    return found
