"""Score histogram as an SVG that stands inside an HTML page.

Knows matplotlib, which is imported when the first histogram is drawn. Does not know the page; it only relies on the
CSS variables --series-good, --series-defective and --threshold, so that one drawing serves light and dark themes.
The same scores give the same bytes: fixed hash salt, no date, no version.
"""

import io
import re
from typing import Any

import numpy as np
import numpy.typing as npt

from diffad_calibration.report.data import ScoreHistogram
from diffad_runtime.errors import MissingExtraError

_BINS = 36
# Stand-ins for colours that only the page knows; none of them occurs otherwise.
_TEXT, _GOOD, _DEFECTIVE, _LIMIT = "#010203", "#040506", "#070809", "#0a0b0c"
_PAGE_COLOURS = {
    _TEXT: "currentColor",
    _GOOD: "var(--series-good)",
    _DEFECTIVE: "var(--series-defective)",
    _LIMIT: "var(--threshold)",
}


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
    try:
        import matplotlib  # noqa: PLC0415  only needed where a report is drawn
        from matplotlib.backends.backend_svg import FigureCanvasSVG  # noqa: PLC0415
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtraError("matplotlib", extra="export", purpose="drawing a report") from error
    settings: dict[Any, Any] = {"svg.hashsalt": "diffad-edge", "svg.fonttype": "none", "font.family": "sans-serif"}
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(6.4, 2.7), layout="constrained")
        FigureCanvasSVG(figure)
        _draw(figure.add_subplot(), histogram)
        drawing = io.StringIO()
        figure.savefig(drawing, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _for_page(drawing.getvalue(), element_id)


def _draw(axes: Any, histogram: ScoreHistogram) -> None:
    good, defective = _finite(histogram.good), _finite(histogram.defective)
    edges, logarithmic = _bin_edges(np.concatenate([good, defective]), histogram.threshold)
    for scores, colour, label in ((good, _GOOD, "good"), (defective, _DEFECTIVE, "defective")):
        # Shares, not counts: test sets hold many more defective than good parts, or the other way round.
        weights = np.full(scores.size, 100 / max(scores.size, 1))
        hatch = None if label == "good" else "////"
        axes.hist(scores, edges, weights=weights, color=colour, alpha=0.32, label=label)
        axes.hist(scores, edges, weights=weights, histtype="step", edgecolor=colour, linewidth=1.4, hatch=hatch)
    axes.axvline(histogram.threshold, color=_LIMIT, linewidth=1.6, linestyle=(0, (5, 3)), label="threshold")
    if logarithmic:
        axes.set_xscale("log")
    axes.set_xlabel("image score (log scale)" if logarithmic else "image score", color=_TEXT)
    axes.set_ylabel("share of parts, %", color=_TEXT)
    axes.tick_params(which="both", colors=_TEXT, labelcolor=_TEXT)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(_TEXT)
        axes.spines[side].set_alpha(0.5)


def _finite(scores: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    flat = np.asarray(scores, np.float64).ravel()
    return flat[np.isfinite(flat)]


def _bin_edges(scores: npt.NDArray[np.float64], threshold: float) -> tuple[npt.NDArray[np.float64], bool]:
    """Edges over all scores and the threshold; logarithmic where the largest is 30 times the smallest or more."""
    values = np.append(scores, threshold)
    low, high = float(values.min()), float(values.max())
    if low > 0 and high / low >= 30:
        return np.geomspace(low, high, _BINS + 1), True
    if high <= low:
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, _BINS + 1), False


def _for_page(svg: str, element_id: str) -> str:
    """Cut the XML prologue and metadata, make ids unique to this drawing, let the page choose the colours."""
    svg = svg[svg.index("<svg") :].rstrip()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{element_id}-', svg)
    svg = re.sub(r"url\(#", f"url(#{element_id}-", svg)
    svg = re.sub(r'href="#', f'href="#{element_id}-', svg)
    for stand_in, colour in _PAGE_COLOURS.items():
        svg = svg.replace(stand_in, colour)
    # The words outside say what the drawing shows; its tick labels read aloud would only be noise.
    return svg.replace("<svg ", '<svg aria-hidden="true" focusable="false" ', 1)
