"""A recipe drawn over a frame, for whoever sets it up.

Knows lines, colours and words. Does not know results: sinks/overlay.py draws those.
"""

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from diffad_runtime.recipes.recipe import Recipe, Region
from diffad_runtime.regions.affine import Points
from diffad_runtime.regions.counted import counted_pixels, ignored_pixels, in_pixels
from diffad_runtime.regions.plan import Plan
from diffad_runtime.result import Image

_Bools = npt.NDArray[np.bool_]

_COLOURS: Final = (
    (80, 220, 80),
    (240, 180, 60),
    (220, 100, 240),
    (60, 220, 240),
    (240, 240, 90),
    (90, 140, 255),
)  # BGR
_IGNORED: Final = (60, 60, 230)
_TILE: Final = (255, 255, 255)
_FONT: Final = cv2.FONT_HERSHEY_SIMPLEX
_SHIFT: Final = 4  # bits after the point in OpenCV's coordinates


def draw_recipe(image: Image, recipe: Recipe, plan: Plan | None = None) -> Image:
    """Regions outlined and named, what counts for none dimmed, ignored places hatched, crops and tiles as thin boxes.

    An arrow in the top right corner points to what the network sees as up.

    Args:
        image: uint8 (H, W, 3) BGR or (H, W); not written to.
        recipe: for frames of that size.
        plan: of this recipe and size, for the boxes that the network is shown; None: they are left out.

    Returns:
        uint8 (H, W, 3) BGR, fresh.

    Raises:
        InputError: the recipe is not for a frame of that size.
    """
    canvas = np.array(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR) if image.ndim == 2 else image, np.uint8)
    height, width = canvas.shape[:2]
    ignored = ignored_pixels(recipe, height, width)
    counted = [counted_pixels(region, recipe, ignored, height, width) for region in recipe.regions]
    outside = ~np.logical_or.reduce(counted)
    canvas[outside] //= 2
    thick = max(1, round(min(height, width) / 400))
    if ignored is not None:
        _hatch(canvas, ignored, 8 * thick)
    for look in () if plan is None else plan.looks:
        left, top, across, down = look.box
        if (across, down) != (width, height):
            cv2.rectangle(canvas, (left, top), (left + across - 1, top + down - 1), _TILE, 1)
    for number, region in enumerate(recipe.regions):
        polygons = in_pixels(region.polygons, recipe, height, width) or [_corners(height, width)]
        colour = _COLOURS[number % len(_COLOURS)]
        for points in polygons:
            fixed = np.round((points - 0.5) * 2**_SHIFT).astype(np.int32)  # OpenCV counts from pixels' centres
            cv2.polylines(canvas, [fixed[:, None]], True, colour, thick, cv2.LINE_AA, _SHIFT)
        _name(canvas, region, polygons[0], colour, thick)
    _arrow(canvas, recipe, thick)
    return canvas


def _corners(height: int, width: int) -> Points:
    return np.array([(1, 1), (width - 1, 1), (width - 1, height - 1), (1, height - 1)], np.float64)


def _hatch(canvas: Image, ignored: _Bools, step: int) -> None:
    rows, columns = np.nonzero(ignored)
    on_line = (rows + columns) % step < max(1, step // 4)
    canvas[rows[on_line], columns[on_line]] = _IGNORED


def _name(canvas: Image, region: Region, points: Points, colour: tuple[int, int, int], thick: int) -> None:
    """The region's name on a dark ground, inside the top left corner of its outline's box."""
    scale = 0.5 * thick + 0.1
    (across, up), below = cv2.getTextSize(region.name, _FONT, scale, thick)
    height, width = canvas.shape[:2]
    x, y = (int(edge) for edge in points[points.sum(axis=1).argmin()])
    x = min(max(0, x + 2 * thick), max(0, width - across - 4 * thick))
    y = min(max(0, y + 2 * thick), max(0, height - up - below - 4 * thick))
    canvas[y : y + up + below + 2 * thick, x : x + across + 4 * thick] //= 4
    cv2.putText(canvas, region.name, (x + 2 * thick, y + up + thick), _FONT, scale, colour, thick, cv2.LINE_AA)


def _arrow(canvas: Image, recipe: Recipe, thick: int) -> None:
    """From the tail to the tip: up, as the network sees it."""
    height, width = canvas.shape[:2]
    size = 30 * thick
    if min(height, width) < 2 * size:
        return
    way = recipe.orientation.affine(size, size).inverse()
    tail, tip = (
        way(point) + np.array([width - size - 6 * thick, 6 * thick]) for point in ((size / 2, size), (size / 2, 0))
    )
    ends = [(round(x), round(y)) for x, y in (tail.tolist(), tip.tolist())]
    cv2.arrowedLine(canvas, ends[0], ends[1], (0, 0, 0), 3 * thick, cv2.LINE_AA, 0, 0.35)
    cv2.arrowedLine(canvas, ends[0], ends[1], (255, 255, 255), thick, cv2.LINE_AA, 0, 0.35)
