"""What the network is shown for a region, and the map that comes of it.

Knows one picture, or tiles whose maps are blended. Does not know thresholds, regions or verdicts.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from diffad_runtime.engines.base import RawMaps
from diffad_runtime.errors import InputError
from diffad_runtime.geometry import to_input
from diffad_runtime.regions.affine import Affine, Box, Grid
from diffad_runtime.regions.orientation import Orientation
from diffad_runtime.regions.tiles import Placement, tile_starts, tile_weights
from diffad_runtime.result import FloatMap, Image

MOST_TILES: Final = 4096
"""Of a box, before those are left out in which nothing counts."""
Infer = Callable[[Image], RawMaps]
"""uint8 (S, S, 3), BGR, C-contiguous -> maps; Engine.infer, or what stands before it."""


@dataclass(slots=True)
class Spent:
    """Milliseconds, added up over the looks at one frame."""

    resize: float = 0.0
    infer: float = 0.0
    extract: float = 0.0
    reconstruct: float = 0.0


@dataclass(frozen=True, slots=True)
class Look:
    """One inference: a box of the frame, shrunk to the input size, turned as the network wants it.

    Shrunk first: stretching to a square and turning it may change places, and a square of S pixels is quickly turned.
    Against turning first that is the same within a few grey levels, as means over pixels are rounded on another way.
    """

    box: Box
    size: int
    orientation: Orientation

    @property
    def to_input(self) -> Affine:
        """From the frame's coordinates to the input's."""
        shrunk = Grid(self.box, self.size, self.size).to_frame.inverse()
        return shrunk.then(self.orientation.affine(self.size, self.size))

    def run(self, image: Image, infer: Infer, spent: Spent) -> FloatMap:
        """The map over the box, float32 (S, S), turned back into the frame's orientation."""
        start = time.perf_counter()
        # Shrinking first makes the grey-to-colour copy S x S instead of H x W.
        small = to_input(image[self.box.rows, self.box.columns], self.size)
        if small.ndim == 2:
            small = np.asarray(cv2.cvtColor(small, cv2.COLOR_GRAY2BGR), np.uint8)
        small = self.orientation.apply(small)
        resized = time.perf_counter()
        maps = infer(small)
        spent.resize += 1e3 * (resized - start)
        spent.infer += 1e3 * (time.perf_counter() - resized)
        spent.extract += maps.extract_ms
        spent.reconstruct += maps.reconstruct_ms
        return self.orientation.undo(maps.anomaly)


@dataclass(frozen=True, slots=True)
class Tile:
    """A look, where its map goes, and its share there along both axes."""

    look: Look
    placement: Placement
    down: npt.NDArray[np.float32]
    across: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class View:
    """A box of the frame as one map, seen at once or in tiles.

    Attributes:
        grid: of the map. In tiles a map pixel is as large as the network's within a tile, but not smaller than a
            frame pixel.
        looks: all inferences, one or one for each tile.
        tiles: () for a view at once.
        area: map pixels of the network to one of the grid: 1, or less where its pixels are smaller than the frame's.
    """

    grid: Grid
    looks: tuple[Look, ...]
    tiles: tuple[Tile, ...] = ()
    area: float = 1.0

    @classmethod
    def at_once(cls, box: Box, size: int, orientation: Orientation) -> "View":
        """The whole box as one input."""
        return cls(Grid(box, size, size), (Look(box, size, orientation),))

    @classmethod
    def in_tiles(
        cls,
        box: Box,
        tile: tuple[int, int],
        overlap: int,
        size: int,
        orientation: Orientation,
        counted: npt.NDArray[np.bool_],
    ) -> "View":
        """The box in tiles.

        Args:
            box: at least as large as a tile.
            tile: (width, height), frame pixels.
            overlap: frame pixels.
            size: S.
            orientation: of the input.
            counted: bool (H, W) of the box: tiles without any such pixel are left out.

        Raises:
            InputError: more than MOST_TILES tiles.
        """
        width, height = tile
        rows, columns = tile_starts(box.height, height, overlap), tile_starts(box.width, width, overlap)
        if len(rows) == len(columns) == 1:
            return cls.at_once(box, size, orientation)
        if len(rows) * len(columns) > MOST_TILES:
            raise InputError(
                f"tiles of {width} x {height} pixels cut {box.width} x {box.height} into {len(rows) * len(columns)}, "
                f"expected {MOST_TILES} at most",
                mend="Make the tiles larger, or their overlap smaller",
            )
        # Map pixels smaller than the frame's would only repeat it.
        pitch_y, pitch_x = max(1.0, height / size), max(1.0, width / size)
        grid = Grid(box, max(1, round(box.height / pitch_y)), max(1, round(box.width / pitch_x)))
        y, x = grid.centres()
        down = tile_weights(rows, height, y - box.top, pitch_y)
        across = tile_weights(columns, width, x - box.left, pitch_x)
        tiles = []
        for row, top in enumerate(rows):
            for column, left in enumerate(columns):
                if not counted[top : top + height, left : left + width].any():
                    continue
                look = Look(Box(box.left + left, box.top + top, width, height), size, orientation)
                place = Placement.of(Grid(look.box, size, size), grid)
                tiles.append(Tile(look, place, down[row][place.rows, None], across[column][place.columns]))
        area = min(1.0, height / size) * min(1.0, width / size)
        return cls(grid, tuple(tile.look for tile in tiles), tuple(tiles), area)

    def run(self, image: Image, infer: Infer, spent: Spent) -> FloatMap:
        """The map, float32 (rows, columns) of the grid; 0 where tiles were left out."""
        if not self.tiles:
            return self.looks[0].run(image, infer, spent)
        blended = np.zeros((self.grid.rows, self.grid.columns), np.float32)
        for tile in self.tiles:
            part = tile.placement.apply(tile.look.run(image, infer, spent)) * tile.down
            part *= tile.across
            blended[tile.placement.rows, tile.placement.columns] += part
        return blended
