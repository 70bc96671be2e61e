"""Detection figures as tables. Knows words and digits; measures nothing."""

from collections.abc import Mapping
from typing import Any

from diffad_calibration.evaluation import EvalOutcome, Evaluation
from diffad_calibration.metrics import ClassMetrics, Interval
from diffad_edge.cli.output import print_json, stdout, table

COLUMNS = {
    "aupro_30": "AUPRO\n@0.3",
    "aupro_05": "AUPRO\n@0.05",
    "pixel_auroc": "pixel\nAUROC",
    "pixel_ap": "pixel\nAP",
    "image_auroc": "image\nAUROC",
    "image_ap": "image\nAP",
    "f1_max": "F1\nmax",
}
LEAD_COLUMNS = ("aupro_30", "pixel_auroc", "image_auroc")  # of the variants' table too


def show_evaluation(outcome: EvalOutcome, *, json: bool) -> None:
    """Print the tables, then where the report is; or one JSON object."""
    if json:
        report = str(outcome.report) if outcome.report else None
        print_json({**outcome.evaluation.to_json(), "report": report})
        return
    show_figures(outcome.evaluation)
    if outcome.report:
        stdout().print(f"report: {outcome.report}", soft_wrap=True)


def show_figures(evaluation: Evaluation) -> None:
    """One table a class, one of their means, and how far the first model is ahead of the others."""
    console = stdout()
    for result in evaluation.classes:
        rows = [_row(name, scored.metrics, scored.intervals) for name, scored in result.models.items()]
        title = f"{result.name}: {len(result.names)} test images at {evaluation.size} px"
        console.print(table(title, ["model", *COLUMNS.values()], rows))
        console.print()
    if len(evaluation.classes) > 1:
        rows = [_row(name, evaluation.macro(name), evaluation.macro_intervals(name)) for name in evaluation.models]
        title = f"mean of {len(evaluation.classes)} categories, {evaluation.macro(evaluation.first).images} test images"
        console.print(table(title, ["model", *COLUMNS.values()], rows))
        console.print()
    if (variants := _variants(evaluation)) is not None:
        console.print(variants)
        console.print()
    if evaluation.bootstrap is None:
        return
    how = evaluation.bootstrap
    interval = f"{100 * how.level:g} % bootstrap interval over images, {how.resamples} resamples"
    console.print(f"±: half the {interval}")
    console.print()
    if leads := [row for name in evaluation.models if (row := _lead(evaluation, name))]:
        title = f"{evaluation.first} minus the others, on the same images"
        console.print(table(title, ["against", *(COLUMNS[key].replace("\n", " ") for key in LEAD_COLUMNS)], leads))
        console.print()


def _variants(evaluation: Evaluation) -> Any:
    """A bundle's variants beside each other, to the fourth digit; None where there are not two."""
    rows, against = [], ""
    for name in evaluation.models:
        facts, metrics = evaluation.variant(name), evaluation.macro(name)
        if facts is not None:
            figures, flips = metrics.to_dict(), evaluation.flips(name)
            cells = ("-" if figures[key] is None else f"{figures[key]:.4f}" for key in LEAD_COLUMNS)
            changed = "-" if flips is None else f"{flips} of {metrics.images}"
            rows.append([name, *cells, changed, f"{facts.graphs_mb:.1f}"])
            against = facts.against or against
    if len(rows) < 2:
        return None
    columns = (*(COLUMNS[key] for key in LEAD_COLUMNS), "decision\nflips", "graphs\nMB")
    return table(f"variants; decision flips against {against}" if against else "variants", ["model", *columns], rows)


def _row(name: str, metrics: ClassMetrics, intervals: Mapping[str, Interval]) -> list[str]:
    figures = metrics.to_dict()
    return [name, *(_figure(figures[key], intervals.get(key)) for key in COLUMNS)]


def _figure(value: float | None, ends: Interval | None) -> str:
    """The figure, with half its interval under it: seven whole intervals are too wide for 80 columns."""
    if value is None:
        return "-"
    return f"{value:.3f}" + (f"\n±{(ends[1] - ends[0]) / 2:.3f}".replace("0.", ".") if ends else "")


def _lead(evaluation: Evaluation, other: str) -> list[str]:
    if other == evaluation.first:
        return []
    lead = evaluation.lead(other)
    return [other, *(_signed(lead[key]) if key in lead else "-" for key in LEAD_COLUMNS)]


def _signed(lead: tuple[float, float, float]) -> str:
    by, low, high = lead
    return f"{by:+.3f}\n{low:+.3f} to {high:+.3f}"
