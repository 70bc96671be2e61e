"""How the camera is mounted: quarter turns and mirrors between the frame and what the network was trained on.

Knows the eight ways to lay down a rectangle. Does not know crops or sizes of networks.
"""

from dataclasses import dataclass
from typing import Final, Literal, TypeVar

import numpy as np

from diffad_runtime.regions.affine import Affine
from diffad_runtime.result import FloatMap, Image

_Picture = TypeVar("_Picture", Image, FloatMap)


@dataclass(frozen=True, slots=True)
class Orientation:
    """First `turns` quarter turns clockwise, then left and right swapped where `mirrored`."""

    turns: Literal[0, 1, 2, 3] = 0
    mirrored: bool = False

    @classmethod
    def of(cls, rotate: int, flip: str) -> "Orientation":
        """As a recipe says it.

        Args:
            rotate: 0, 90, 180 or 270 degrees clockwise, first.
            flip: then "none", "horizontal" (left and right swap) or "vertical" (up and down swap).
        """
        # Up and down swapped is half a turn, and left and right swapped.
        turns = (rotate // 90 + (2 if flip == "vertical" else 0)) % 4
        return cls(turns, flip != "none")  # type: ignore[arg-type]

    @property
    def upright(self) -> bool:
        """Whether there is nothing to do."""
        return self.turns == 0 and not self.mirrored

    def apply(self, picture: _Picture) -> _Picture:
        """(H, W, ...) of the frame as the network is to see it, C-contiguous; the picture itself where upright."""
        if self.upright:
            return picture
        turned = np.rot90(picture, -self.turns)
        return np.ascontiguousarray(turned[:, ::-1] if self.mirrored else turned)

    def undo(self, picture: _Picture) -> _Picture:
        """The way back of `apply`."""
        if self.upright:
            return picture
        return np.ascontiguousarray(np.rot90(picture[:, ::-1] if self.mirrored else picture, self.turns))

    def affine(self, height: float, width: float) -> Affine:
        """Where `apply` takes the points of a picture of that size."""
        way, down, across = Affine(), height, width
        for _ in range(self.turns):
            way = way.then(Affine(xx=0, xy=-1, x0=down, yx=1, yy=0, y0=0))
            down, across = across, down
        return way.then(Affine(xx=-1, x0=across)) if self.mirrored else way


UPRIGHT: Final = Orientation()
