"""A matplotlib figure as an SVG that stands inside an HTML page.

Knows matplotlib, which is imported when the first figure is drawn, and the page's CSS variables: drawings use stand-in
colours that are replaced by them, so that one drawing serves light and dark themes. Does not know what is drawn.
The same drawing gives the same bytes: fixed hash salt, no date, no version.
"""

import io
import re
from collections.abc import Callable
from typing import Any, Final

from diffad_runtime.errors import MissingExtraError

# Stand-ins for colours that only the page knows; none of them occurs otherwise.
TEXT, GOOD, DEFECTIVE, LIMIT = "#010203", "#040506", "#070809", "#0a0b0c"
SERIES = ("#0d0e0f", "#101112", "#131415", "#161718", "#191a1b", "#1c1d1e")
DASHES: Final[tuple[Any, ...]] = ("-", (0, (5, 2)), (0, (1, 1.4)), (0, (6, 2, 1, 2)), (0, (3, 1.5)), (0, (8, 3)))
"""Line styles in the order of SERIES, so that lines differ without colour."""

_PAGE_COLOURS = {
    TEXT: "currentColor",
    GOOD: "var(--series-good)",
    DEFECTIVE: "var(--series-defective)",
    LIMIT: "var(--threshold)",
    **{stand_in: f"var(--series-{number})" for number, stand_in in enumerate(SERIES, start=1)},
}


def draw_svg(draw: Callable[[Any], None], *, element_id: str, inches: tuple[float, float]) -> str:
    """Draw on fresh axes.

    Args:
        draw: told the axes.
        element_id: prefix of all ids in the drawing, unique on the page.
        inches: width and height.

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
        figure = Figure(figsize=inches, layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        draw(axes)
        _plain(axes)
        drawing = io.StringIO()
        figure.savefig(drawing, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _for_page(drawing.getvalue(), element_id)


def _plain(axes: Any) -> None:
    axes.tick_params(which="both", colors=TEXT, labelcolor=TEXT)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(TEXT)
        axes.spines[side].set_alpha(0.5)


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
