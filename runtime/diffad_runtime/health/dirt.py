"""Spots that stay where they are while parts come and go: dirt on the lens, a chip on the fixture, glare.

Knows small grey pictures and how often each of their pixels was out of the ordinary. Does not know what else may be
wrong with a picture; whoever asks leaves out pictures that are blurred or shifted.

A defect is on one part, dirt on all of them. So what counts is not how far a pixel is off but in how many of the last
pictures it was, to the same side, and a picture counts only if it shows another part than the last one did: the same
part standing in front of the camera for an hour is one part.
"""

from dataclasses import astuple, dataclass

import cv2
import numpy as np

from diffad_runtime.health.picture import LONG_SIDE
from diffad_runtime.health.reference import Reference, details, difference
from diffad_runtime.result import FloatMap

_MEMORY = 20  # pictures
_LEAST_PICTURES = 12
_SHARE = 0.85  # of the pictures remembered, in which a pixel of a spot is out of the ordinary
_DEVIATIONS = 2.5  # in the same direction every time: chance does that in 1 of 160 pictures, not in 17 of 20
_LEAST_LEVELS = 8.0
_LEAST_PIXELS = 2  # of the small picture, side by side
_ANOTHER = 0.5  # of the difference between one part and the next


@dataclass(frozen=True, slots=True)
class Spot:
    """One spot: left, top, width and height in pixels of the small picture."""

    left: int
    top: int
    width: int
    height: int


class Dirt:
    """Watches for spots beside one reference."""

    def __init__(self, reference: Reference) -> None:
        self._normal = reference.details
        self._limit = np.maximum(_DEVIATIONS * reference.spread, np.float32(_LEAST_LEVELS))
        self._another = _ANOTHER * reference.figures.variety
        self._brightness = reference.figures.brightness.centre
        self.reset()

    def reset(self) -> None:
        """Forget what was seen."""
        self._often = np.zeros(self._normal.shape, np.float32)
        self._pictures = 0
        self._last: FloatMap | None = None

    def add(self, small: FloatMap) -> None:
        """Take a picture into account; one that shows the same part as the one before changes nothing."""
        if self._last is not None and difference(small, self._last) < self._another:
            return
        self._last = small
        self._pictures += 1
        above = details(small, self._brightness) - self._normal
        off = np.where(np.abs(above) > self._limit, np.sign(above), np.float32(0))
        self._often += (off - self._often) / np.float32(min(self._pictures, _MEMORY))

    def spots(self) -> tuple[Spot, ...]:
        """Those seen now, largest area first; none before a dozen parts were seen."""
        if self._pictures < _LEAST_PICTURES:
            return ()
        often = (np.abs(self._often) >= _SHARE).astype(np.uint8)
        if not often.any():
            return ()
        count, _, stats, _ = cv2.connectedComponentsWithStats(often, connectivity=8)
        rows = sorted((row for row in stats[1:count].tolist() if row[4] >= _LEAST_PIXELS), key=lambda row: -row[4])
        return tuple(Spot(*row[:4]) for row in rows)


def describe(spots: tuple[Spot, ...], frame_size: tuple[int, ...]) -> str:
    """For people: how many, and where in the frame (H, W) the largest is."""
    scale = max(frame_size) / LONG_SIDE
    left, top, width, height = (round(value * scale) for value in astuple(spots[0]))
    number = f"{len(spots)} spots" if len(spots) > 1 else "a spot"
    return f"{number} in every picture, the largest {width} x {height} px at ({left}, {top})"
