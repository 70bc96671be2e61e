"""Who is chosen, who is dominated, and who is still worth a training: pure functions of latency and AUPRO.

Chosen is the most accurate candidate within the budget, and of all that are within TIE of it the fastest. One thing is
taken for granted: a student with fewer steps and channels than a trained one is not more accurate in the same
precision. So a few trainings tell about all. Knows no network and no file.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from diffad_export.search.candidates import Candidate, Shape

TIE = 0.001
"""Of AUPRO: differences below tell nothing on some hundred images."""


class Verdict(str, Enum):
    """What became of a candidate."""

    CHOSEN = "chosen"
    FRONT = "on the front"
    DOMINATED = "dominated"
    TOO_SLOW = "too slow"
    TOO_INACCURATE = "too inaccurate"
    FAILED = "failed gate"
    ESTIMATED_TOO_SLOW = "estimated too slow"
    NOT_TRAINED = "cannot be better"


@dataclass(frozen=True, slots=True)
class Row:
    """What is known of a candidate; None where nothing is.

    Attributes:
        gmacs: 1e9 multiply-adds of all its evaluations.
        estimate_ms: of its median.
        p50, p95: milliseconds of a frame, of students that nobody trained: these were timed side by side.
        confirmed: median of its trained graphs; beyond the budget, it overrules the other.
        waited: share of the time of its timings that others had the core.
        aupro: AUPRO@0.3 on good images with pasted defects, by the engine; torch_aupro: by torch.
        refused: why the gates of parity do not let it pass; "" where they do.
    """

    candidate: Candidate
    gmacs: float
    estimate_ms: float | None = None
    p50: float | None = None
    p95: float | None = None
    confirmed: float | None = None
    waited: float = 0.0
    aupro: float | None = None
    torch_aupro: float | None = None
    refused: str = ""

    @property
    def shape(self) -> Shape:
        """Steps and width."""
        return self.candidate.shape

    @property
    def trained(self) -> bool:
        """Whether its training is done, well or not."""
        return self.aupro is not None or bool(self.refused)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a candidate must keep.

    Attributes:
        budget_ms: of the median.
        max_drop: of AUPRO, below the teacher's, and below torch's of the same student.
        teacher: its AUPRO on the same images.
    """

    budget_ms: float
    max_drop: float
    teacher: float

    def fast(self, row: Row) -> bool:
        """Whether it was timed, and is within the budget, trained or not."""
        return row.p50 is not None and max(row.p50, row.confirmed or 0.0) <= self.budget_ms

    def accurate(self, row: Row) -> bool:
        """Whether it was measured, and lost no more than allowed against the teacher."""
        return row.aupro is not None and self.teacher - row.aupro <= self.max_drop

    def passed(self, row: Row) -> bool:
        """Whether its precision is close enough to torch: parity, decisions, and AUPRO."""
        return not row.refused and (
            row.aupro is None or row.torch_aupro is None or row.torch_aupro - row.aupro <= self.max_drop
        )

    def admits(self, row: Row) -> bool:
        """Whether it may be chosen."""
        return self.fast(row) and self.accurate(row) and self.passed(row)


def choose(rows: Sequence[Row], limits: Limits) -> Row | None:
    """The fastest of those within TIE of the most accurate that may be chosen; None where none may."""
    allowed = [row for row in rows if limits.admits(row)]
    best = max((_aupro(row) for row in allowed), default=0.0)
    return min((row for row in allowed if _aupro(row) >= best - TIE), key=_rank, default=None)


def worth_training(rows: Sequence[Row], limits: Limits) -> list[Shape]:
    """Shapes within the budget that may still be chosen or change the choice, the one to be trained next first.

    First those that no trained one bounds, the largest before all. Then the middle one by latency: if it is as accurate
    as the best, all that are slower are out, and if not, all that are smaller.
    """
    chosen = choose(rows, limits)
    open_rows = [row for row in rows if limits.fast(row) and not row.trained]
    bounds = {row.candidate: _bound(row, rows, limits) for row in open_rows}
    worth = [row for row in open_rows if _may_win(row, bounds[row.candidate], chosen, rows, limits)]
    unbounded = [row for row in worth if bounds[row.candidate] is None]
    if unbounded:
        order = sorted(unbounded, key=lambda row: (-row.gmacs, row.candidate))
    else:
        by_time = sorted(worth, key=_rank)
        middle = len(by_time) // 2
        order = by_time[middle : middle + 1] + by_time[:middle] + by_time[middle + 1 :]
    rest = [row for row in worth if row not in order]
    return list(dict.fromkeys(row.shape for row in [*order, *rest]))


def verdicts(rows: Sequence[Row], limits: Limits) -> dict[Candidate, Verdict]:
    """One of each row. Dominated: another that may be chosen is at least as fast and as accurate."""
    chosen = choose(rows, limits)
    allowed = [row for row in rows if limits.admits(row)]
    return {row.candidate: _verdict(row, chosen, allowed, limits) for row in rows}


def _verdict(row: Row, chosen: Row | None, allowed: Sequence[Row], limits: Limits) -> Verdict:
    cases = (
        (row is chosen, Verdict.CHOSEN),
        (row.p50 is None, Verdict.ESTIMATED_TOO_SLOW),
        (not limits.fast(row), Verdict.TOO_SLOW),
        (not row.trained, Verdict.NOT_TRAINED),
        (not limits.passed(row), Verdict.FAILED),
        (not limits.accurate(row), Verdict.TOO_INACCURATE),
        (any(_dominates(other, row) for other in allowed), Verdict.DOMINATED),
    )
    return next((verdict for holds, verdict in cases if holds), Verdict.FRONT)


def _dominates(other: Row, row: Row) -> bool:
    mine, theirs = (_ms(row), -_aupro(row)), (_ms(other), -_aupro(other))
    return all(b <= a for a, b in zip(mine, theirs, strict=True)) and mine != theirs


def _bound(row: Row, rows: Sequence[Row], limits: Limits) -> float | None:
    """AUPRO of the least accurate trained candidate that is larger; those spoiled by their precision tell nothing."""
    larger = [
        _aupro(other)
        for other in rows
        if other.candidate.precision == row.candidate.precision
        and row.shape.within(other.shape)
        and other.aupro is not None
        and limits.passed(other)
    ]
    return min(larger, default=None)


def _may_win(row: Row, bound: float | None, chosen: Row | None, rows: Sequence[Row], limits: Limits) -> bool:
    if bound is None:
        return True
    if limits.teacher - bound > limits.max_drop:
        return False
    if chosen is None:
        return True
    best = max(_aupro(other) for other in rows if limits.admits(other))
    return bound > best or (bound >= best - TIE and _rank(row) < _rank(chosen))


def _rank(row: Row) -> tuple[float, float, float, Candidate]:
    """Faster first; where that is equal, the more accurate, then the smaller."""
    return _ms(row), -_aupro(row), row.gmacs, row.candidate


def _ms(row: Row) -> float:
    return float("inf") if row.p50 is None else row.p50


def _aupro(row: Row) -> float:
    return 0.0 if row.aupro is None else row.aupro
