"""Where a point goes: affine maps of the plane, and rasters laid over a rectangle of the frame.

Knows continuous coordinates: a pixel i covers [i, i + 1), so its centre is at i + 0.5. Does not know pictures.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from diffad_runtime.errors import InputError

Points = npt.NDArray[np.float64]
"""float64 (N, 2): x, y."""


class Box(NamedTuple):
    """A rectangle of whole pixels: [left, left + width) x [top, top + height)."""

    left: int
    top: int
    width: int
    height: int

    @property
    def rows(self) -> slice:
        return slice(self.top, self.top + self.height)

    @property
    def columns(self) -> slice:
        return slice(self.left, self.left + self.width)


@dataclass(frozen=True, slots=True)
class Affine:
    """x' = xx x + xy y + x0, y' = yx x + yy y + y0."""

    xx: float = 1.0
    xy: float = 0.0
    x0: float = 0.0
    yx: float = 0.0
    yy: float = 1.0
    y0: float = 0.0

    @classmethod
    def shift(cls, x: float, y: float) -> "Affine":
        return cls(x0=x, y0=y)

    @classmethod
    def scale(cls, x: float, y: float) -> "Affine":
        return cls(xx=x, yy=y)

    def __call__(self, points: npt.ArrayLike) -> Points:
        """Move points (N, 2) or one point (2,)."""
        x, y = np.moveaxis(np.asarray(points, np.float64), -1, 0)
        moved = [self.xx * x + self.xy * y + self.x0, self.yx * x + self.yy * y + self.y0]
        return np.asarray(np.stack(moved, axis=-1), np.float64)

    def then(self, after: "Affine") -> "Affine":
        """First this one, then `after`."""
        return Affine(
            xx=after.xx * self.xx + after.xy * self.yx,
            xy=after.xx * self.xy + after.xy * self.yy,
            x0=after.xx * self.x0 + after.xy * self.y0 + after.x0,
            yx=after.yx * self.xx + after.yy * self.yx,
            yy=after.yx * self.xy + after.yy * self.yy,
            y0=after.yx * self.x0 + after.yy * self.y0 + after.y0,
        )

    def inverse(self) -> "Affine":
        """The way back.

        Raises:
            InputError: it flattens the plane.
        """
        determinant = self.xx * self.yy - self.xy * self.yx
        if determinant == 0:
            raise InputError("an affine map that flattens the plane has no way back", mend="Give sizes above 0")
        xx, xy = self.yy / determinant, -self.xy / determinant
        yx, yy = -self.yx / determinant, self.xx / determinant
        return Affine(xx=xx, xy=xy, x0=-(xx * self.x0 + xy * self.y0), yx=yx, yy=yy, y0=-(yx * self.x0 + yy * self.y0))


@dataclass(frozen=True, slots=True)
class Grid:
    """`rows` x `columns` pixels of equal size that fill a box of the frame."""

    box: Box
    rows: int
    columns: int

    @property
    def pitch(self) -> tuple[float, float]:
        """Frame pixels from one pixel to the next: (down, across)."""
        return self.box.height / self.rows, self.box.width / self.columns

    @property
    def to_frame(self) -> Affine:
        """From this raster's coordinates to the frame's."""
        down, across = self.pitch
        return Affine.scale(across, down).then(Affine.shift(self.box.left, self.box.top))

    def centres(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Frame coordinates of pixel centres: y of each row, x of each column."""
        down, across = self.pitch
        y, x = np.arange(self.rows, dtype=np.float64), np.arange(self.columns, dtype=np.float64)
        return self.box.top + down * (y + 0.5), self.box.left + across * (x + 0.5)

    def frame_pixels(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The frame pixel that holds each centre, counted from the box's corner: of each row, of each column.

        In whole numbers, as masks.defect_mask does it.
        """
        y = (2 * np.arange(self.rows) + 1) * self.box.height // (2 * self.rows)
        return y, (2 * np.arange(self.columns) + 1) * self.box.width // (2 * self.columns)
