"""Numbers turned into the words that the page prints: rounding, best values, sentences.

Knows text. Does not know HTML (page.html.j2) or pixels (pictures.py).
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from diffad_calibration.report.data import (
    GOOD,
    Category,
    Chart,
    ClassTable,
    Example,
    LeadRow,
    ScoreHistogram,
    TimingRow,
    VariantRow,
)
from diffad_calibration.report.glossary import METRICS
from diffad_calibration.report.pictures import ColourScale

UNDEFINED = "–"
CHIEF_METRICS = ("aupro_30", "pixel_auroc", "image_auroc")


def detection_table(table: ClassTable) -> dict[str, Any]:
    """Rows with one cell a metric; `best` marks the largest value as printed, all of them where several tie.

    A column with fewer than two values has no best one: there is nothing to compare.
    """
    columns = [[row.metrics.get(metric.key) for row in table.rows] for metric in METRICS]
    marked = [_marked(column) for column in columns]
    return {
        "name": table.name,
        "rows": [
            {
                "model": row.model,
                "note": row.note,
                "cells": [
                    {**column[number], "interval": _interval(row.intervals.get(metric.key))}
                    for column, metric in zip(marked, METRICS, strict=True)
                ],
                "images": _count(row.metrics.get("images")),
            }
            for number, row in enumerate(table.rows)
        ],
    }


def overview_tables(categories: Sequence[Category], macro: ClassTable) -> list[dict[str, Any]]:
    """One table a chief metric: a row a category and their mean last, a column a model."""
    made = []
    for metric in METRICS:
        if metric.key in CHIEF_METRICS:
            rows = []
            for name, table in [*((c.name, c.table) for c in categories), ("mean", macro)]:
                cells = _marked([row.metrics.get(metric.key) for row in table.rows])
                for cell, row in zip(cells, table.rows, strict=True):
                    cell["interval"] = _interval(row.intervals.get(metric.key))
                rows.append({"name": name, "cells": cells})
            made.append({"metric": metric, "models": [row.model for row in macro.rows], "rows": rows})
    return made


def lead_rows(leads: Sequence[LeadRow]) -> list[dict[str, Any]]:
    """One row a model that the first is compared with; `sure` where the interval leaves zero out."""
    rows = []
    for lead in leads:
        cells = []
        for metric in METRICS:
            found = lead.differences.get(metric.key)
            if found is None:
                cells.append({"text": UNDEFINED, "interval": "", "sure": False})
                continue
            by, low, high = found
            words = f"{_signed(low)} to {_signed(high)}"
            cells.append({"text": _signed(by), "interval": words, "sure": low > 0 or high < 0})
        rows.append({"model": lead.model, "cells": cells})
    return rows


def variant_rows(variants: Sequence[VariantRow]) -> list[dict[str, Any]]:
    """One row a variant: chief metrics to the fourth digit, as variants differ by less than the third; flips, size."""
    chief = [metric.key for metric in METRICS if metric.key in CHIEF_METRICS]
    return [
        {
            "model": row.model,
            "cells": [_figure(row.metrics.get(key), digits=4) for key in chief],
            "flips": UNDEFINED if row.flips is None else f"{row.flips} of {row.images}",
            "graphs_mb": f"{row.graphs_mb:.1f}",
        }
        for row in variants
    ]


def chart_words(chart: Chart) -> str:
    """What the drawing shows, for those who do not see it: the height of each curve at one place."""
    place = {"image_roc": 0.05, "pixel_roc": 0.05, "pro": 0.05}[chart.kind]
    parts = [f"{curve.model} {float(np.interp(place, curve.x, curve.y)):.3f}" for curve in chart.curves]
    return f"At a false positive rate of {place:g}: {', '.join(parts)}."


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
        "remark": example.remark,
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
    if histogram.threshold is None:
        return f"No threshold; {np.size(histogram.good)} good and {np.size(histogram.defective)} defective parts."
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


def _figure(value: float | None, digits: int = 3) -> str:
    return UNDEFINED if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def _marked(values: Sequence[float | None]) -> list[dict[str, Any]]:
    """Printed values, the largest marked as best where there are two or more."""
    printed = [_figure(value) for value in values]
    known = [text for text in printed if text != UNDEFINED]
    best = max(known, key=float) if len(known) > 1 else None
    return [{"text": text, "best": text == best} for text in printed]


def _interval(ends: tuple[float, float] | None) -> str:
    return "" if ends is None else f"{_figure(ends[0])} to {_figure(ends[1])}"


def _signed(value: float) -> str:
    text = f"{value:+.3f}"
    return text.replace("-", "−") if float(text) else "0.000"


def _count(value: float | None) -> str:
    return UNDEFINED if value is None else f"{int(value)}"


def _mask_words(example: Example) -> str:
    share = 100 * float((example.mask > 0).mean())
    return f"mask {share:.{2 if share < 10 else 0}f}% of the frame" if share else "mask empty"
