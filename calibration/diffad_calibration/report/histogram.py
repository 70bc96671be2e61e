"""Score histogram: good against defective parts, with the threshold. Knows scores; svg.py makes it fit for the page."""

from typing import Any

import numpy as np
import numpy.typing as npt

from diffad_calibration.report.data import ScoreHistogram
from diffad_calibration.report.svg import DEFECTIVE, GOOD, LIMIT, TEXT, draw_svg

_BINS = 36


def histogram_svg(histogram: ScoreHistogram, *, element_id: str) -> str:
    """Draw good against defective scores with the threshold.

    Args:
        histogram: scores; one of the two arrays may be empty.
        element_id: prefix of all ids in the drawing, unique on the page.

    Returns:
        An <svg> element.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    return draw_svg(lambda axes: _draw(axes, histogram), element_id=element_id, inches=(6.4, 2.7))


def _draw(axes: Any, histogram: ScoreHistogram) -> None:
    good, defective = _finite(histogram.good), _finite(histogram.defective)
    edges, logarithmic = _bin_edges(np.concatenate([good, defective]), histogram.threshold)
    for scores, colour, label in ((good, GOOD, "good"), (defective, DEFECTIVE, "defective")):
        # Shares, not counts: test sets hold many more defective than good parts, or the other way round.
        weights = np.full(scores.size, 100 / max(scores.size, 1))
        hatch = None if label == "good" else "////"
        axes.hist(scores, edges, weights=weights, color=colour, alpha=0.32, label=label)
        axes.hist(scores, edges, weights=weights, histtype="step", edgecolor=colour, linewidth=1.4, hatch=hatch)
    if histogram.threshold is not None:
        axes.axvline(histogram.threshold, color=LIMIT, linewidth=1.6, linestyle=(0, (5, 3)), label="threshold")
    if logarithmic:
        axes.set_xscale("log")
    axes.set_xlabel("image score (log scale)" if logarithmic else "image score", color=TEXT)
    axes.set_ylabel("share of parts, %", color=TEXT)


def _finite(scores: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    flat = np.asarray(scores, np.float64).ravel()
    return flat[np.isfinite(flat)]


def _bin_edges(scores: npt.NDArray[np.float64], threshold: float | None) -> tuple[npt.NDArray[np.float64], bool]:
    """Edges over all scores and the threshold; logarithmic where the largest is 30 times the smallest or more."""
    values = scores if threshold is None else np.append(scores, threshold)
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
    if low > 0 and high / low >= 30:
        return np.geomspace(low, high, _BINS + 1), True
    if high <= low:
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, _BINS + 1), False
