"""What a fault does to a picture.

Pure functions of a picture, a strength and a random generator. Does not know cameras or time. Some results are no
pictures at all: no pixels, another type, fewer rows; that is what a bad driver hands out.
"""

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from diffad_runtime.chaos.kinds import FaultKind
from diffad_runtime.result import Image

# Under these a true defect mask no longer lies over the picture.
OUT_OF_SHAPE = frozenset({FaultKind.EMPTY, FaultKind.DTYPE, FaultKind.TRUNCATED, FaultKind.SIZE})


Spoiler = Callable[[Image, float, np.random.Generator], npt.NDArray[Any]]


def spoil(kind: FaultKind, image: Image, amount: float, rng: np.random.Generator) -> npt.NDArray[Any]:
    """The picture as a camera with this fault gives it.

    Args:
        kind: of the fault; kinds that do not touch pixels give the picture back.
        image: uint8 (H, W, 3), BGR; may be written to.
        amount: as kinds.FAULTS says.
        rng: for what is random in it.

    Returns:
        EMPTY (0, 0, 3); DTYPE float32 (H, W, 3), 0 to 1; TRUNCATED and SIZE another shape; else as `image`.
    """
    spoiler = _SPOILERS.get(kind)
    return image if spoiler is None else spoiler(image, amount, rng)


def _truncated(image: Image, amount: float, _: np.random.Generator) -> Image:
    return image[: max(1, round(image.shape[0] * (1 - min(amount, 1.0))))]


def _noisy(image: Image, amount: float, rng: np.random.Generator) -> Image:
    height, width, channels = image.shape
    rows = min(height, max(1, round(height * amount)))
    top = int(rng.integers(0, height - rows + 1))
    image[top : top + rows] = rng.integers(0, 256, (rows, width, channels), dtype=np.uint8)
    return image


def _resized(image: Image, amount: float, _: np.random.Generator) -> Image:
    height, width = image.shape[:2]
    size = (max(1, round(width * amount)), max(1, round(height * amount)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _grey(image: Image, _amount: float, _: np.random.Generator) -> Image:
    return np.asarray(cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR), np.uint8)


_SPOILERS: dict[FaultKind, Spoiler] = {
    FaultKind.EMPTY: lambda image, _amount, _rng: image[:0, :0],
    FaultKind.DTYPE: lambda image, _amount, _rng: image.astype(np.float32) / np.float32(255),
    FaultKind.TRUNCATED: _truncated,
    FaultKind.NOISE: _noisy,
    FaultKind.SIZE: _resized,
    FaultKind.GREY: _grey,
    FaultKind.SWAP: lambda image, _amount, _rng: np.ascontiguousarray(image[:, :, ::-1]),
    FaultKind.GAIN: lambda image, amount, _rng: np.asarray(cv2.convertScaleAbs(image, alpha=amount), np.uint8),
}
