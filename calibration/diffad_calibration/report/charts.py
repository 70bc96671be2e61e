"""ROC and PRO curves, one line a model. Knows curves and their axes; svg.py makes the drawing fit for the page."""

from typing import Any

import numpy as np

from diffad_calibration.report.data import Chart
from diffad_calibration.report.svg import DASHES, SERIES, TEXT, draw_svg

HEADINGS = {
    "image_roc": ("Image ROC", "good parts rejected", "defective parts found"),
    "pixel_roc": ("Pixel ROC", "normal pixels above the threshold", "defect pixels above it"),
    "pro": (
        "PRO up to a false positive rate of 0.3",
        "normal pixels above the threshold",
        "mean share of a defect region",
    ),
}
"""Heading, x axis, y axis of every kind of chart."""


def chart_svg(chart: Chart, models: list[str], *, element_id: str) -> str:
    """Draw the curves.

    Args:
        models: all models of the category, so that a model has the same line in every chart.
        element_id: prefix of all ids in the drawing, unique on the page.

    Returns:
        An <svg> element.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    return draw_svg(lambda axes: _draw(axes, chart, models), element_id=element_id, inches=(4.2, 3.4))


def legend(models: list[str]) -> list[dict[str, Any]]:
    """The models' lines: name, number of the page's colour, width and dashes in pixels."""
    rows = []
    for model in models:
        number = _line(model, models)
        width = 2.4 if model == models[0] else 1.6
        dash = DASHES[number]
        lengths = "none" if isinstance(dash, str) else " ".join(f"{width * length:.1f}" for length in dash[1])
        rows.append({"model": model, "number": number + 1, "width": width, "dash": lengths})
    return rows


def _line(model: str, models: list[str]) -> int:
    return models.index(model) % len(SERIES)


def _draw(axes: Any, chart: Chart, models: list[str]) -> None:
    _, x_words, y_words = HEADINGS[chart.kind]
    limit = 0.3 if chart.kind == "pro" else 1.0
    axes.plot([0, limit], [0, limit], color=TEXT, alpha=0.35, linewidth=0.8)
    # The first model is drawn last: it lies on top.
    for curve in reversed(chart.curves):
        number = _line(curve.model, models)
        width = 2.4 if curve.model == models[0] else 1.6
        axes.plot(
            np.asarray(curve.x), np.asarray(curve.y), color=SERIES[number], linestyle=DASHES[number], linewidth=width
        )
    axes.set_xlim(0, limit)
    axes.set_ylim(0, 1.02)
    axes.grid(color=TEXT, alpha=0.12, linewidth=0.8)
    axes.set_xlabel(x_words, color=TEXT)
    axes.set_ylabel(y_words, color=TEXT)
