"""A large picture in tiles that overlap: where they lie, and how their maps become one without seams.

Knows intervals, weights, and rasters brought onto one another. Does not know networks or recipes.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from diffad_runtime.geometry import to_frame
from diffad_runtime.regions.affine import Affine, Grid
from diffad_runtime.result import FloatMap


def tile_starts(length: int, size: int, overlap: int) -> list[int]:
    """Where tiles begin along an axis: as few as cover it, evenly apart.

    Args:
        length: pixels to cover.
        size: of a tile.
        overlap: of neighbours, at least this much; at most half of `size`.
    """
    if length <= size:
        return [0]
    count = math.ceil((length - overlap) / (size - overlap))
    return [round(index * (length - size) / (count - 1)) for index in range(count)]


def tile_weights(
    starts: list[int], size: int, centres: npt.NDArray[np.float64], margin: float
) -> npt.NDArray[np.float32]:
    """Share of each tile in the blended map along one axis; the shares at a place add up to 1.

    Inside an overlap one tile fades linearly into the next. Next to its inner borders a tile has no say at all for
    `margin` pixels, where the overlap leaves room for that: networks see least there, and maps are not interpolated.

    Args:
        starts: growing, first pixel of each tile.
        size: pixels.
        centres: places along the axis.
        margin: pixels.

    Returns:
        float32 (tiles, places).
    """
    weights = np.empty((len(starts), len(centres)))
    rising = np.ones(len(centres))
    for index, start in enumerate(starts):
        falling, following = np.ones(len(centres)), np.ones(len(centres))
        if index + 1 < len(starts):
            common = start + size - starts[index + 1]
            middle = starts[index + 1] + common / 2
            fade = max(common - 2 * margin, 1e-6 * size)
            following = np.clip((centres - middle) / fade + 0.5, 0, 1)
            falling = 1 - following
        weights[index] = np.minimum(rising, falling)
        rising = following
    return np.asarray(weights / weights.sum(axis=0), np.float32)


@dataclass(frozen=True, slots=True)
class Placement:
    """How a map that lies on one grid is brought to another: pixel areas aligned, linear between pixels.

    Attributes:
        rows, columns: of the target, those whose centres lie on the source.
        shrink: the source is brought to this shape first; None: not needed.
        warp: from target pixel indices inside rows, columns to source pixel indices; None: they are the same.
    """

    rows: slice
    columns: slice
    shrink: tuple[int, int] | None
    warp: Affine | None

    @classmethod
    def of(cls, source: Grid, target: Grid) -> "Placement":
        y, x = target.centres()
        box = source.box
        rows = _between(y, box.top, box.top + box.height)
        columns = _between(x, box.left, box.left + box.width)
        # Linear sampling skips pixels of a source that is much the finer one; means over areas do not.
        down, across = (mine / theirs for mine, theirs in zip(target.pitch, source.pitch, strict=True))
        shape = _at_most(source.rows, down), _at_most(source.columns, across)
        shrink = None if shape == (source.rows, source.columns) else shape
        small = Grid(box, *shape)
        way = target.to_frame.then(small.to_frame.inverse())
        way = Affine.shift(columns.start + 0.5, rows.start + 0.5).then(way).then(Affine.shift(-0.5, -0.5))
        exact = np.abs(np.array([way.xx - 1, way.yy - 1, way.x0, way.y0])).max() < 1e-9
        same = exact and shape == (rows.stop - rows.start, columns.stop - columns.start)
        return cls(rows, columns, shrink, None if same else way)

    def apply(self, values: FloatMap) -> FloatMap:
        """float32 of the source's shape -> float32 for target[rows, columns]; `values` where nothing changes."""
        if self.shrink is not None:
            values = to_frame(values, *self.shrink)
        if self.warp is None:
            return values
        way = self.warp
        matrix = np.array([[way.xx, way.xy, way.x0], [way.yx, way.yy, way.y0]], np.float64)
        shape = (self.columns.stop - self.columns.start, self.rows.stop - self.rows.start)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(values, matrix, shape, flags=flags, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[return-value]


def _at_most(count: int, times: float) -> int:
    """Pixels of which each is up to `times` as large as one of `count`, and no smaller than that."""
    return math.ceil(count / max(1.0, times) - 1e-6)


def _between(centres: npt.NDArray[np.float64], start: float, end: float) -> slice:
    """Centres in [start, end), of which there are none where the source is smaller than a pixel: then the nearest."""
    first, last = (int(place) for place in np.searchsorted(centres, [start, end]))
    if first == last:
        first = int(np.abs(centres - (start + end) / 2).argmin())
        last = first + 1
    return slice(first, last)
