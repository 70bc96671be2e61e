"""An evaluation as an HTML report: tables, curves, histograms, pictures, and what thresholds would have decided.

Knows results and what a report can show. Does not know how either is made.
"""

import platform
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from diffad_calibration.evaluation.results import ClassResult, Evaluation, Scored
from diffad_calibration.metrics.meter import Line
from diffad_calibration.report import write_report
from diffad_calibration.report.data import (
    Category,
    Chart,
    ClassTable,
    Curve,
    LeadRow,
    ModelRow,
    ReportData,
    ScoreHistogram,
    TimingRow,
    VariantRow,
)


def publish(
    folder: Path,
    evaluation: Evaluation,
    *,
    title: str,
    subtitle: str = "",
    facts: list[tuple[str, str]] | None = None,
    timings: list[TimingRow] | None = None,
    warnings: list[str] | None = None,
    explained: Any = None,
) -> Path:
    """Write the report; gives the path of its index.html.

    Args:
        facts: (label, value), shown before those that this function adds.
        explained: as ReportData.explained.
    """
    data = ReportData(
        title=title, subtitle=subtitle, timings=timings or [], warnings=list(warnings or []), explained=explained
    )
    data.facts.extend(
        [
            *(facts or []),
            ("Map and mask resolution", f"{evaluation.size} x {evaluation.size} px, masks by nearest neighbour"),
            ("Machine", f"{platform.machine()}, Python {platform.python_version()}"),
            ("Date", datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")),
        ]
    )
    if evaluation.bootstrap is not None:
        how = evaluation.bootstrap
        data.interval_words = f"{100 * how.level:g} % bootstrap interval over images, {how.resamples} resamples"
    if len(evaluation.classes) > 1:
        data.macro = ClassTable(
            f"Mean of {len(evaluation.classes)} categories",
            [
                ModelRow(name, evaluation.macro(name).to_dict(), "", evaluation.macro_intervals(name))
                for name in evaluation.models
            ],
        )
    data.first = evaluation.first
    data.leads = [
        LeadRow(name, lead)
        for name in evaluation.models
        if name != evaluation.first and (lead := evaluation.lead(name))
    ]
    data.variants = _variants(evaluation)
    data.categories = [_category(result, evaluation.first) for result in evaluation.classes]
    return write_report(folder, data)


def _variants(evaluation: Evaluation) -> list[VariantRow]:
    """Empty where there are not two to compare."""
    rows = []
    for name in evaluation.models:
        facts, metrics = evaluation.variant(name), evaluation.macro(name)
        if facts is not None:
            flips = evaluation.flips(name)
            rows.append(
                VariantRow(name, metrics.to_dict(), flips, metrics.images, facts.graphs_mb, facts.against or "")
            )
    return rows if len(rows) > 1 else []


def _category(result: ClassResult, first: str) -> Category:
    models = result.models
    facts = [("Images", _counts(result))]
    if models[first].threshold is not None:
        facts.append((f"{first} at its threshold", _decisions(result, models[first])))
    good, bad = result.labels == 0, result.labels == 1
    return Category(
        name=result.name,
        facts=facts,
        table=ClassTable(
            result.name, [ModelRow(n, s.metrics.to_dict(), s.note, s.intervals) for n, s in models.items()]
        ),
        charts=[
            Chart("image_roc", _lines({name: s.curves.image_roc for name, s in models.items()})),
            Chart("pixel_roc", _lines({name: s.curves.pixel_roc for name, s in models.items()})),
            Chart("pro", _lines({name: s.curves.pro for name, s in models.items()})),
        ],
        histograms=[ScoreHistogram(n, s.scores[good], s.scores[bad], s.threshold) for n, s in models.items()],
        examples=result.pictures.typical,
        misses=result.pictures.misses,
        alarms=result.pictures.alarms,
        judged=models[first].threshold is not None,
    )


def _lines(curves: dict[str, Line | None]) -> list[Curve]:
    return [Curve(name, *line) for name, line in curves.items() if line is not None]


def _counts(result: ClassResult) -> str:
    return f"{int((result.labels == 0).sum())} good, {int((result.labels == 1).sum())} defective"


def _decisions(result: ClassResult, scored: Scored) -> str:
    ng = scored.scores > (scored.threshold if scored.threshold is not None else np.inf)
    good, bad = result.labels == 0, result.labels == 1
    return (
        f"{int((ng & bad).sum())} of {int(bad.sum())} defective parts rejected, "
        f"{int((ng & good).sum())} of {int(good.sum())} good parts rejected"
    )
