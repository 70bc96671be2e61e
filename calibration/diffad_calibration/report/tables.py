"""Numbers turned into the words that the page prints: rounding, best values, sentences.

Knows text. Does not know HTML (page.html.j2) or pixels (pictures.py).
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from diffad_calibration.report.data import GOOD, ClassTable, Example, ScoreHistogram, TimingRow
from diffad_calibration.report.glossary import METRICS
from diffad_calibration.report.pictures import ColourScale

UNDEFINED = "–"


def detection_table(table: ClassTable) -> dict[str, Any]:
    """Rows with one cell a metric; `best` marks the largest value as printed, all of them where several tie.

    A column with fewer than two values has no best one: there is nothing to compare.
    """
    printed = [{metric.key: _figure(row.metrics.get(metric.key)) for metric in METRICS} for row in table.rows]
    best: dict[str, str | None] = {}
    for metric in METRICS:
        known = [row[metric.key] for row in printed if row[metric.key] != UNDEFINED]
        best[metric.key] = max(known, key=float) if len(known) > 1 else None
    return {
        "name": table.name,
        "rows": [
            {
                "model": row.model,
                "note": row.note,
                "cells": [{"text": text, "best": text == best[key]} for key, text in cells.items()],
                "images": _count(row.metrics.get("images")),
            }
            for row, cells in zip(table.rows, printed, strict=True)
        ],
    }


def timing_rows(timings: Sequence[TimingRow]) -> list[dict[str, Any]]:
    """Rows with a bar each: the share of the slowest median, in percent."""
    slowest = max((row.p50 for row in timings if math.isfinite(row.p50)), default=0.0)
    return [
        {
            "name": row.name,
            "times": [milliseconds(row.p50), milliseconds(row.p95), milliseconds(row.p99)],
            "ratio": row.ratio,
            "bar": round(100 * row.p50 / slowest, 1) if slowest > 0 and math.isfinite(row.p50) else 0.0,
        }
        for row in timings
    ]


def example_row(example: Example, names: Mapping[str, str], shape: Sequence[int]) -> dict[str, Any]:
    """One picture row: file names by column, the caption, and whether the verdict agrees with the kind."""
    defective = example.kind not in {"", GOOD}
    outcome = ""
    if defective and example.verdict == "OK":
        outcome = "missed defect"
    elif example.kind == GOOD and example.verdict == "NG":
        outcome = "false reject"
    return {
        "name": example.name,
        "kind": example.kind or "kind unknown",
        "verdict": example.verdict,
        "outcome": outcome,
        "score": score_text(example.score),
        "threshold": score_text(example.threshold),
        "mask_share": _mask_words(example),
        "files": dict(names),
        "height": shape[0],
        "width": shape[1],
        "no_truth": "good part, nothing marked" if example.kind == GOOD else "no mask given",
    }


def scale_row(column: str, scale: ColourScale) -> dict[str, str]:
    """The colour scale of one column in words and CSS."""
    return {
        "column": column,
        "low": f"{scale.low:.2g}",
        "high": f"{scale.high:.2g}",
        "gradient": scale.css_gradient(),
    }


def histogram_words(histogram: ScoreHistogram) -> str:
    """What the drawing shows, for those who do not see it, and to check it against."""
    parts = [f"Threshold {score_text(histogram.threshold)}"]
    for scores, noun, verb in (
        (histogram.good, "good", "rejected"),
        (histogram.defective, "defective", "caught"),
    ):
        values = np.asarray(scores, np.float64)
        if values.size:
            above = int((values > histogram.threshold).sum())
            parts.append(f"{above} of {values.size} {noun} parts {verb} ({100 * above / values.size:.1f}%)")
        else:
            parts.append(f"no {noun} parts")
    return "; ".join(parts) + "."


def score_text(value: float) -> str:
    """Three significant digits, without exponents where they can be avoided."""
    if not math.isfinite(value):
        return UNDEFINED
    if value != 0 and (abs(value) >= 1e5 or abs(value) < 1e-3):
        return f"{value:.2e}"
    return f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}" if value else "0"


def milliseconds(value: float) -> str:
    """Milliseconds with as many decimals as can matter."""
    if not math.isfinite(value):
        return UNDEFINED
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _figure(value: float | None) -> str:
    return UNDEFINED if value is None or not math.isfinite(value) else f"{value:.3f}"


def _count(value: float | None) -> str:
    return UNDEFINED if value is None else f"{int(value)}"


def _mask_words(example: Example) -> str:
    share = 100 * float((example.mask > 0).mean())
    return f"mask {share:.{2 if share < 10 else 0}f}% of the frame" if share else "mask empty"
