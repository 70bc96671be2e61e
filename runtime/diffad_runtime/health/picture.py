"""What one picture says of the camera that took it: sharpness, exposure, tint, and a small grey picture.

Knows pixels. Does not know what is normal (reference.py), nor faults (camera.py). The same picture gives the same
figures.

Sharpness is how steep the steepest edges are, beside the contrast there is: the 99.5 % quantile of the gradient, over
the spread of grey levels. It is taken at the camera's own resolution, on twelve bands of rows. Pixels are smoothed a
little first, so that the steepest edges stand far above the noise. The variance of the Laplacian is mostly the sensor's
noise, which no blur in front of it takes away: on the synthetic plates, blurred by 0.4, 0.8 and 1.6 % of the side, .67,
.65 and .64 of it are left, of the steepest edges .69, .51 and .31 (docs/camera_health_figures.py).
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from diffad_runtime.result import FloatMap, Image

LONG_SIDE = 192
"""Of the small picture, pixels."""

SATURATED = 250
"""A pixel with any colour at or above this is saturated."""

_BANDS = 12
_BAND_ROWS = 24
_STEEPEST = 0.995
_STEEPS = 1024  # a step from black to white is 4 x 255 for Sobel's operator
_LEAST_CONTRAST = 8.0  # grey levels: a lens cap has no edges to be judged by
_SOFTEN = 1.0  # sigma, pixels


@dataclass(frozen=True, slots=True)
class Look:
    """Figures of one picture.

    Attributes:
        small: float32 (h, w), grey levels; the long side of the picture is LONG_SIDE.
        brightness: mean grey level, 0 to 255.
        contrast: between the 1 % and the 99 % quantile of grey levels.
        saturated: share of small-picture pixels at or above SATURATED in some colour.
        sharpness: see above, per pixel; NaN where there is no contrast.
        blue, red: mean of the colour over the mean of green.
    """

    small: FloatMap
    brightness: float
    contrast: float
    saturated: float
    sharpness: float
    blue: float
    red: float


def small_size(height: int, width: int) -> tuple[int, int]:
    """(h, w) of the small picture of a frame."""
    scale = LONG_SIDE / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def look(image: Image, size: tuple[int, int]) -> Look:
    """Measure a picture.

    Args:
        image: uint8 (H, W, 3), BGR; 16 pixels a side at least.
        size: (h, w) of the small picture.
    """
    image = np.ascontiguousarray(image)
    small = _shrunk(image, size)
    grey = np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY), np.float32)
    blue, green, red = cv2.mean(small)[:3]
    planes = cv2.split(small)
    brightest = cv2.max(cv2.max(planes[0], planes[1]), planes[2])
    contrast, sharpness = _sharpness(image)
    return Look(
        small=grey,
        brightness=float(grey.mean()),
        contrast=contrast,
        saturated=float((np.asarray(brightest) >= SATURATED).mean()),
        sharpness=sharpness,
        blue=blue / max(green, 1.0),
        red=red / max(green, 1.0),
    )


def _shrunk(image: Image, size: tuple[int, int]) -> Image:
    """To (h, w) by means over areas; by halves first, which OpenCV is quick at."""
    height, width = image.shape[:2]
    while height % 2 == 0 and width % 2 == 0 and height >= 4 * size[0] and width >= 4 * size[1]:
        height, width = height // 2, width // 2
        image = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    return np.asarray(cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA), np.uint8)


def _sharpness(image: Image) -> tuple[float, float]:
    """(contrast, sharpness) of the green channel, on bands of whole rows."""
    height = image.shape[0]
    rows = min(_BAND_ROWS, height)
    starts = np.unique(np.linspace(0, height - rows, _BANDS).astype(int))
    tops: npt.NDArray[np.int64] = np.zeros(_STEEPS, np.int64)
    levels: npt.NDArray[np.int64] = np.zeros(256, np.int64)
    for start in starts:
        # Each band on its own: where two were joined, the seam would be the steepest edge of all.
        band = cv2.GaussianBlur(np.ascontiguousarray(image[start : start + rows, :, 1]), (0, 0), _SOFTEN)
        across = np.abs(np.asarray(cv2.Sobel(band, cv2.CV_16S, 1, 0)))
        down = np.abs(np.asarray(cv2.Sobel(band, cv2.CV_16S, 0, 1)))
        tops += _histogram(np.maximum(across, down).view(np.uint16), _STEEPS)
        levels += _histogram(np.ascontiguousarray(band[::2, ::2]), 256)
    low, high = _quantile(levels, 0.01), _quantile(levels, 0.99)
    if high - low < _LEAST_CONTRAST:
        return high - low, float("nan")
    return high - low, _quantile(tops, _STEEPEST) / (high - low)


def _histogram(picture: npt.NDArray[np.integer], bins: int) -> npt.NDArray[np.int64]:
    return np.asarray(cv2.calcHist([picture], [0], None, [bins], [0, bins])).ravel().astype(np.int64)


def _quantile(histogram: npt.NDArray[np.int64], share: float) -> float:
    """Interpolated within its bin: whole levels would be too coarse for a ratio of small figures."""
    total = np.cumsum(histogram)
    wanted = share * total[-1]
    level = int(np.searchsorted(total, wanted))
    before = total[level - 1] if level else 0
    return level + float((wanted - before) / max(1, histogram[level]))
