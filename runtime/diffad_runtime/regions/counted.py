"""Which pixels count: inside a region's polygons, outside whatever is ignored.

Knows frame pixels, and the map pixels that stand for them. Does not know views or thresholds.
"""

import numpy as np
import numpy.typing as npt

from diffad_runtime.errors import InputError
from diffad_runtime.extent import extent
from diffad_runtime.recipes.recipe import Recipe, Region
from diffad_runtime.regions.affine import Box, Grid, Points
from diffad_runtime.regions.polygons import fill
from diffad_runtime.result import Image
from diffad_runtime.rle import decode

_Bools = npt.NDArray[np.bool_]


def in_pixels(polygons: tuple[Points, ...], recipe: Recipe, height: int, width: int) -> list[Points]:
    """A recipe's polygons in pixels of a frame of that size."""
    unit = np.array([width, height], np.float64) if recipe.relative else np.ones(2)
    return [points * unit for points in polygons]


def outline(polygons: list[Points], height: int, width: int) -> Box:
    """The whole pixels that polygons touch; without polygons the whole frame."""
    if not polygons:
        return Box(0, 0, width, height)
    points = np.concatenate(polygons)
    limit = np.array([width, height])
    low = np.clip(np.floor(points.min(axis=0)), 0, limit - 1).astype(int)
    high = np.clip(np.ceil(points.max(axis=0)), low + 1, limit).astype(int)
    return Box(int(low[0]), int(low[1]), int(high[0] - low[0]), int(high[1] - low[1]))


def ignored_pixels(recipe: Recipe, height: int, width: int) -> _Bools | None:
    """bool (H, W), True where nothing counts; None where all may.

    Raises:
        InputError: an ignore image of another size.
    """
    if not recipe.ignore and not recipe.ignore_images:
        return None
    ignored = fill(in_pixels(recipe.ignore, recipe, height, width), height, width)
    for image in recipe.ignore_images:
        if image["size"] != [height, width]:
            raise InputError(
                f"recipe {recipe.name!r} has an ignore image of {image['size'][1]} x {image['size'][0]} pixels, "
                f"the frame has {width} x {height}",
                mend="Draw it on a frame of this camera",
            )
        ignored |= decode(image) != 0
    return ignored


def counted_pixels(region: Region, recipe: Recipe, ignored: _Bools | None, height: int, width: int) -> _Bools:
    """bool (H, W), True where a pixel counts for a region.

    Raises:
        InputError: none does; such a region could never be judged.
    """
    polygons = in_pixels(region.polygons, recipe, height, width)
    counted = fill(polygons, height, width) if polygons else np.ones((height, width), np.bool_)
    narrow = not counted.any()
    if ignored is not None:
        counted &= ~ignored
    if not counted.any():
        why = "its polygons hold the centre of no pixel" if narrow else "all of it is ignored"
        raise InputError(
            f"region {region.name!r} of recipe {recipe.name!r} has no pixel to judge in a frame of {width} x {height}: "
            f"{why}",
            mend="Draw it anew, or take it out",
        )
    return counted


def bounds(picture: _Bools | Image) -> Box:
    """The smallest box around what is not 0, of which there must be something."""
    return Box(*extent(picture))


def map_pixels(counted: _Bools, grid: Grid) -> _Bools:
    """Map pixels that count: those whose centre lies in a frame pixel that does.

    Where something counts but holds no centre, being smaller than a map pixel: those that any such frame pixel lies in.

    Args:
        counted: bool, of the grid's box.

    Returns:
        bool (rows, columns).
    """
    y, x = grid.frame_pixels()
    inside = counted[y][:, x]
    if not inside.any():
        rows, columns = np.nonzero(counted)
        height, width = counted.shape
        inside[(2 * rows + 1) * grid.rows // (2 * height), (2 * columns + 1) * grid.columns // (2 * width)] = True
    return inside
