"""A recipe worked out for one size of frame: what the network is shown, and which pixels of its maps count.

Knows how regions share inferences and masks. Does not know frames' contents.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from diffad_runtime.errors import InputError
from diffad_runtime.manifest import ImageScore
from diffad_runtime.recipes.recipe import Recipe, Region
from diffad_runtime.regions.affine import Box, Grid
from diffad_runtime.regions.counted import bounds, counted_pixels, ignored_pixels, in_pixels, map_pixels, outline
from diffad_runtime.regions.orientation import UPRIGHT
from diffad_runtime.regions.tiles import Placement
from diffad_runtime.regions.views import View
from diffad_runtime.rules import DecisionRules

MOST_LOOKS: Final = 256
"""Inferences for one frame."""
MOST_SHOWN: Final = 1024
"""Longest side of an anomaly map that is put together of several."""

_Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class PlannedRegion:
    """A region on one size of frame.

    Attributes:
        region: of the recipe.
        view: its number.
        image_threshold, pixel_threshold: in force.
        box: of the frame, around the pixels that count.
        counted: bool, of the box: pixels that count; None: all.
        window: rows and columns of the view's map, around the pixels that count.
        inside: bool, of the window: map pixels that count; None: all.
        score: how its score is made: of as many pixels as the bundle says, or of all where it has fewer.
    """

    region: Region
    view: int
    image_threshold: float
    pixel_threshold: float
    box: Box
    counted: _Bools | None
    window: tuple[slice, slice]
    inside: _Bools | None
    score: ImageScore


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """Regions of one view that share a pixel threshold, and so a mask.

    Attributes:
        view, threshold: what they share.
        inside: bool, of the view's map: counts for at least one of them; None: all.
        regions: their numbers.
    """

    view: int
    threshold: float
    inside: _Bools | None
    regions: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """Where a view's map goes in a map that is put together of several, and which pixels there count."""

    placement: Placement
    inside: _Bools


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """Attributes:
    views: what the network sees.
    regions, layers: () without a recipe.
    shown: for each view; () where the one view is the whole frame at once.
    shape: (rows, columns) of the anomaly map.
    """

    views: tuple[View, ...]
    regions: tuple[PlannedRegion, ...]
    layers: tuple[Layer, ...]
    shown: tuple[Shown, ...]
    shape: tuple[int, int]


def lay_out(recipe: Recipe | None, rules: DecisionRules, size: int, height: int, width: int) -> Layout:
    """Work it out.

    Args:
        recipe: None: the whole frame.
        rules: thresholds that regions do not set, and the way of scoring.
        size: S.
        height, width: of the frame.

    Raises:
        InputError: the recipe is for frames of another size, a region holds no pixel that counts, or a frame would
            take more than MOST_LOOKS inferences.
    """
    if recipe is None:
        view = View.at_once(Box(0, 0, width, height), size, UPRIGHT)
        return Layout((view,), (), (), (), (size, size))
    if recipe.frame is not None and recipe.frame != (width, height):
        raise InputError(
            f"recipe {recipe.name!r} is for frames of {recipe.frame[0]} x {recipe.frame[1]} pixels, this one has "
            f"{width} x {height}",
            mend="Set the camera to that size, or draw the recipe anew",
        )
    ignored = ignored_pixels(recipe, height, width)
    counted = [counted_pixels(region, recipe, ignored, height, width) for region in recipe.regions]
    views, numbers = _views(recipe, counted, size, height, width)
    regions = tuple(
        _region(region, rules, number, views[number], pixels)
        for region, number, pixels in zip(recipe.regions, numbers, counted, strict=True)
    )
    at_once = len(views) == 1 and not views[0].tiles and views[0].grid.box == (0, 0, width, height)
    shape = (size, size) if at_once else _shape(views, height, width)
    shown = () if at_once else _shown(views, _unions(counted, numbers), Grid(Box(0, 0, width, height), *shape))
    return Layout(views, regions, _layers(regions, views), shown, shape)


def _views(
    recipe: Recipe, counted: Sequence[_Bools], size: int, height: int, width: int
) -> tuple[tuple[View, ...], list[int]]:
    """All views, and for each region the number of its own. Regions that see the same share one."""
    keys: list[tuple[Box, bool]] = []
    for region in recipe.regions:
        box = Box(0, 0, width, height)
        if region.view != "frame":
            box = outline(in_pixels(region.polygons, recipe, height, width), height, width)
        if region.view == "tiles" and recipe.tiling is not None:
            box = _at_least(box, recipe.tiling.width, recipe.tiling.height, height, width)
        keys.append((box, region.view == "tiles"))
    different = list(dict.fromkeys(keys))
    numbers = [different.index(key) for key in keys]
    unions = _unions(counted, numbers)
    views = []
    for (box, tiled), pixels in zip(different, unions, strict=True):
        if tiled and recipe.tiling is not None:
            tile = (min(recipe.tiling.width, width), min(recipe.tiling.height, height))
            inside = pixels[box.rows, box.columns]
            views.append(View.in_tiles(box, tile, recipe.tiling.overlap, size, recipe.orientation, inside))
        else:
            views.append(View.at_once(box, size, recipe.orientation))
    looks = sum(len(view.looks) for view in views)
    if looks > MOST_LOOKS:
        raise InputError(
            f"recipe {recipe.name!r} takes {looks} inferences for a frame of {width} x {height}, expected "
            f"{MOST_LOOKS} at most",
            mend="Make its tiles larger, or its regions smaller",
        )
    return tuple(views), numbers


def _at_least(box: Box, across: int, down: int, height: int, width: int) -> Box:
    """The box grown about its middle to a tile's size, where the frame has room: tiles keep their scale."""
    wide, high = max(box.width, min(across, width)), max(box.height, min(down, height))
    left = min(max(0, box.left - (wide - box.width) // 2), width - wide)
    top = min(max(0, box.top - (high - box.height) // 2), height - high)
    return Box(left, top, wide, high)


def _unions(counted: Sequence[_Bools], numbers: Sequence[int]) -> list[_Bools]:
    """For each view: frame pixels that count for at least one of its regions."""
    unions: dict[int, _Bools] = {}
    for number, pixels in zip(numbers, counted, strict=True):
        unions[number] = unions[number] | pixels if number in unions else pixels
    return [unions[number] for number in sorted(unions)]


def _region(region: Region, rules: DecisionRules, number: int, view: View, pixels: _Bools) -> PlannedRegion:
    box = bounds(pixels)
    own = pixels[box.rows, box.columns]
    inside = map_pixels(pixels[view.grid.box.rows, view.grid.box.columns], view.grid)
    window = bounds(inside)
    part = np.ascontiguousarray(inside[window.rows, window.columns])
    # Smaller map pixels than the network's cover less: so many more of them make up what the bundle scores.
    wanted = max(1, round(rules.image_score.pixels * view.area))
    return PlannedRegion(
        region=region,
        view=number,
        image_threshold=rules.image_threshold if region.image_threshold is None else region.image_threshold,
        pixel_threshold=rules.pixel_threshold if region.pixel_threshold is None else region.pixel_threshold,
        box=box,
        counted=None if own.all() else np.ascontiguousarray(own),
        window=(window.rows, window.columns),
        inside=None if part.all() else part,
        score=ImageScore(pixels=min(wanted, int(np.count_nonzero(part)))),
    )


def _layers(regions: Sequence[PlannedRegion], views: Sequence[View]) -> tuple[Layer, ...]:
    groups: dict[tuple[int, float], list[int]] = {}
    for number, region in enumerate(regions):
        groups.setdefault((region.view, region.pixel_threshold), []).append(number)
    layers = []
    for (view, threshold), members in groups.items():
        inside = np.zeros((views[view].grid.rows, views[view].grid.columns), np.bool_)
        for number in members:
            region = regions[number]
            inside[region.window] |= True if region.inside is None else region.inside
        layers.append(Layer(view, threshold, None if inside.all() else inside, tuple(members)))
    return tuple(layers)


def _shape(views: Sequence[View], height: int, width: int) -> tuple[int, int]:
    """The finest view's resolution, up to that of the frame, within bounds."""
    down = min(max(1.0, view.grid.pitch[0]) for view in views)
    across = min(max(1.0, view.grid.pitch[1]) for view in views)
    return min(MOST_SHOWN, max(1, round(height / down))), min(MOST_SHOWN, max(1, round(width / across)))


def _shown(views: Sequence[View], unions: Sequence[_Bools], whole: Grid) -> tuple[Shown, ...]:
    shown = []
    for view, pixels in zip(views, unions, strict=True):
        place = Placement.of(view.grid, whole)
        shown.append(Shown(place, np.ascontiguousarray(map_pixels(pixels, whole)[place.rows, place.columns])))
    return tuple(shown)
