"""A search in plain values, for provenance, JSON and terminal; and the nearest misses where nothing fits.

Knows rows and limits. Does not measure.
"""

from collections.abc import Sequence
from typing import Any

from diffad_export.search.pareto import Limits, Row, verdicts
from diffad_export.search.stopwatch import Timing
from diffad_runtime.errors import GateError

COVERS = "median of one frame: resize, extractor, student, image score, mask"
JUDGED_ON = "good images held back, with pasted defects; students learn with such defects, real ones may differ"


def table_of(rows: Sequence[Row], limits: Limits, *, draws: int, measured_on: str, judged: bool) -> dict[str, Any]:
    """Every candidate with its figures and verdict, the fastest first.

    "disturbed" is the largest share of the time of a timing in which other processes had the core.

    Args:
        draws: of the noise, each a network evaluation.
        measured_on: machine, engine and frames.
        judged: whether the teacher was asked; without, no candidate was trained.
    """
    found = verdicts(rows, limits)
    order = sorted(rows, key=lambda row: (row.p50 is None, row.p50 or row.estimate_ms or 0.0, row.candidate))
    return {
        "budget_ms": limits.budget_ms,
        "max_aupro_drop": limits.max_drop,
        "teacher_aupro_30": limits.teacher if judged else None,
        "covers": COVERS,
        "measured_on": measured_on,
        "disturbed": round(max((row.waited for row in rows), default=0.0), 3),
        "judged_on": JUDGED_ON,
        "candidates": [
            {
                "steps": row.shape.steps,
                "width": row.shape.width,
                "precision": row.candidate.precision,
                "evaluations": row.shape.steps * draws,
                "gmacs": _rounded(row.gmacs),
                "estimate_ms": _rounded(row.estimate_ms),
                "latency_ms": None if row.p50 is None else {"p50": _rounded(row.p50), "p95": _rounded(row.p95)},
                "trained_ms": _rounded(row.confirmed),
                "aupro_30": _rounded(row.aupro),
                "drop": None if row.aupro is None else _rounded(limits.teacher - row.aupro),
                "verdict": found[row.candidate].value,
                "why": _why(row, limits),
            }
            for row in order
        ],
    }


def below_the_floor(limits: Limits, timings: Sequence[tuple[str, Timing]]) -> GateError:
    """The budget is less than what is left of a frame without the student.

    Args:
        timings: of the cheapest candidate of each precision, by its name.
    """
    name, least = min(timings, key=lambda one: one[1].around)
    fastest, whole = min(timings, key=lambda one: one[1].p50)
    return GateError(
        f"a budget of {limits.budget_ms:g} ms is below what extractor, image score and mask take without any student: "
        f"{least.around:.2f} ms ({name}); nothing was trained",
        mend=f"Give --budget-ms {_above(whole.p50)} or more ({fastest} takes {whole.p50:.2f} ms), or train with a "
        f"smaller --size",
    )


def nothing_fits(rows: Sequence[Row], limits: Limits) -> GateError:
    """The two nearest misses with their figures, and what to change."""
    timed = sorted((row for row in rows if row.p50 is not None), key=lambda row: (_slowest(row), row.candidate))
    judged = [row for row in rows if row.aupro is not None and limits.passed(row)]
    misses = [f"fastest is {_figures(timed[0], limits)}"] if timed else []
    if judged:
        best = max(judged, key=lambda row: (row.aupro or 0.0, -(row.p50 or 0.0)))
        misses.append(f"most accurate is {_figures(best, limits)}")
    fast = [row for row in timed if limits.fast(row)]
    refused = next((row for row in fast if not limits.passed(row)), None)
    if refused is not None:
        misses.append(f"{refused.candidate} failed a gate: {_why(refused, limits)}")
    return GateError(
        f"no student keeps {limits.budget_ms:g} ms and a drop of {limits.max_drop:g} in AUPRO@0.3 below the teacher's "
        f"{f'{limits.teacher:.4f}' if judged else '(not asked)'}; {'; '.join(misses)}",
        mend=_mend(timed, fast, judged, limits),
    )


def _mend(timed: Sequence[Row], fast: Sequence[Row], judged: Sequence[Row], limits: Limits) -> str:
    if timed and not fast:
        return f"Give --budget-ms {_above(_slowest(timed[0]))} or more, or offer smaller --widths and --steps"
    within = [row for row in judged if limits.fast(row)]
    if within:
        drop = min(limits.teacher - (row.aupro or 0.0) for row in within)
        return (
            f"Give --max-aupro-drop {_up(drop, 4)} or more, raise --budget-ms, or distil longer with --set "
            f"optimiser.steps=N"
        )
    return "Raise --budget-ms or --max-aupro-drop, or distil longer with --set optimiser.steps=N"


def _figures(row: Row, limits: Limits) -> str:
    drop = "not trained" if row.aupro is None else f"a drop of {limits.teacher - row.aupro:.4f}"
    time = "no timing" if row.p50 is None else f"{_slowest(row):.2f} ms"
    return f"{row.candidate} with {time} and {drop}"


def _slowest(row: Row) -> float:
    """Of its two medians."""
    return max(row.p50 or 0.0, row.confirmed or 0.0)


def _why(row: Row, limits: Limits) -> str:
    if row.refused:
        return row.refused
    if row.aupro is not None and not limits.passed(row):
        return f"AUPRO@0.3 is {row.aupro:.4f}, torch has {row.torch_aupro:.4f}"
    if row.p50 is not None and row.p50 <= limits.budget_ms and not limits.fast(row):
        return f"its trained graphs take {row.confirmed:.2f} ms"
    return ""


def _above(ms: float) -> str:
    return _up(ms, 1)


def _up(value: float, digits: int) -> str:
    """The next larger decimal."""
    return f"{value + 0.5 * 10**-digits:.{digits}f}"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
