"""The mask of a frame and its defects, from the maps of all regions.

Knows thresholds, clean-up, and how regions come together. Does not know scores or verdicts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from diffad_runtime.defects import find_defects
from diffad_runtime.geometry import to_frame
from diffad_runtime.masks import defect_mask
from diffad_runtime.recipes.recipe import Recipe
from diffad_runtime.regions.affine import Box
from diffad_runtime.regions.cleanup import clean, reach
from diffad_runtime.regions.counted import bounds
from diffad_runtime.regions.layout import Layer, Layout
from diffad_runtime.result import Defect, FloatMap, Image


@dataclass(frozen=True, slots=True)
class _Mark:
    """A region's number, a box of the frame around what was found, and its mask: uint8, 0 or 255."""

    region: int
    box: Box
    mask: Image


def mark(
    layout: Layout, recipe: Recipe, min_pixels: int, maps: Sequence[FloatMap], shape: tuple[int, int]
) -> tuple[Image, tuple[Defect, ...]]:
    """Threshold, clean up, and join what the regions found.

    Args:
        layout: of the recipe.
        recipe: for its clean-up.
        min_pixels: smaller blobs are erased, in pixels of a view's map.
        maps: float32, of each view.
        shape: (H, W) of the frame.

    Returns:
        uint8 (H, W), 0 or 255, fresh; and its defects, largest peak first. Peaks are those of the map as it came.
    """
    mask = np.zeros(shape, np.uint8)
    marks = [found for layer in layout.layers for found in _marks(layout, recipe, min_pixels, layer, maps[layer.view])]
    if not marks:
        return mask, ()
    for found in marks:
        mask[found.box.rows, found.box.columns] |= found.mask
    return mask, _defects(layout, mask, marks, maps)


def _marks(layout: Layout, recipe: Recipe, min_pixels: int, layer: Layer, values: FloatMap) -> list[_Mark]:
    limit = np.float32(layer.threshold)
    if layer.inside is not None:
        values = np.where(layer.inside, values, np.minimum(values, limit))
    if not (values > limit).any():
        return []
    seen = layout.views[layer.view].grid.box
    whole = defect_mask(values, layer.threshold, min_pixels, seen.height, seen.width)
    marks = []
    for number in layer.regions:
        region = layout.regions[number]
        box = _within(region.box, seen)
        if not whole[box.rows, box.columns].any():
            continue
        # All that follows is done around what was found, not on the whole region.
        near = _grown(bounds(whole[box.rows, box.columns]), reach(recipe.opening, recipe.closing), box)
        part = whole[box.rows, box.columns][near.rows, near.columns]
        counted = None if region.counted is None else region.counted[near.rows, near.columns]
        if counted is not None:
            part = np.where(counted, part, np.uint8(0))
        least = region.region.min_defect_area
        part = clean(part, opening=recipe.opening, closing=recipe.closing, min_area=least, counted=counted)
        if part.any():
            hot = bounds(part)
            left, top = region.box.left + near.left + hot.left, region.box.top + near.top + hot.top
            found = Box(left, top, hot.width, hot.height)
            marks.append(_Mark(number, found, part[hot.rows, hot.columns]))
    return marks


def _defects(layout: Layout, mask: Image, marks: Sequence[_Mark], maps: Sequence[FloatMap]) -> tuple[Defect, ...]:
    left, top = min(found.box.left for found in marks), min(found.box.top for found in marks)
    right = max(found.box.left + found.box.width for found in marks)
    bottom = max(found.box.top + found.box.height for found in marks)
    around = Box(left, top, right - left, bottom - top)
    peaks = np.full((around.height, around.width), np.finfo(np.float32).min, np.float32)
    owners = np.zeros(peaks.shape, np.int16)
    brought: dict[int, FloatMap] = {}
    # Backwards, so that where regions overlap the first one is named.
    for found in sorted(marks, key=lambda found: -found.region):
        view = layout.regions[found.region].view
        seen = layout.views[view].grid.box
        if view not in brought:
            brought[view] = to_frame(maps[view], seen.height, seen.width)
        there, here, hot = _within(found.box, seen), _within(found.box, around), found.mask != 0
        out = peaks[here.rows, here.columns]
        np.maximum(out, brought[view][there.rows, there.columns], out=out, where=hot)
        owners[here.rows, here.columns][hot] = found.region
    names = [region.region.name for region in layout.regions]
    return find_defects(mask[around.rows, around.columns], peaks, origin=(left, top), owners=owners, names=names)


def _within(box: Box, outer: Box) -> Box:
    """The box counted from another's corner."""
    return Box(box.left - outer.left, box.top - outer.top, box.width, box.height)


def _grown(box: Box, by: int, outer: Box) -> Box:
    """The box with `by` pixels more on each side, as far as the outer one, from whose corner it counts, has them."""
    left, top = max(0, box.left - by), max(0, box.top - by)
    right = min(outer.width, box.left + box.width + by)
    return Box(left, top, right - left, min(outer.height, box.top + box.height + by) - top)
