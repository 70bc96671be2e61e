"""Between frame and network: a frame shrunk to the input size, a map brought back to the frame.

Knows the manifest's resize mode "stretch": both axes scaled on their own, pixel areas aligned (a pixel i covers
[i, i + 1), so its centre is at i + 0.5). Does not know thresholds, masks or models. Training uses this file too:
what a network sees on the line must be what it saw then.
"""

from typing import TypeVar

import cv2
import numpy as np

from diffad_runtime.result import FloatMap, Image

_Picture = TypeVar("_Picture", Image, FloatMap)

# INTER_AREA is exact and slow (3 to 4 ns a pixel), but for 2 x 2 means (0.35). Halving stops while the last step still
# shrinks 2 to 4 times: ending nearer to 1 blurs unevenly. That last step samples linearly, on a grid of size x 2^k near
# the picture's own, and takes means of 2^k samples; a grid more than 1.2 times as coarse misses pixels. 1080p to 256 px
# on one x86 core, and RMS difference from INTER_AREA on mosaics of sharp photographs (cookies, hazelnuts, magnetic
# tiles, spindles), in grey levels:
#     INTER_AREA alone                         7.0 ms
#     halve, INTER_AREA                        2.95     1.2  .4  .8  .7
#     halve, sample on 512 x 1024, means       1.8      1.2  .6  .9  .9
#     halve, sample on 512 x 512, means        1.3      1.7  .5 1.7  .8   stripes of 4.3 px keep 23 % contrast
#     INTER_LINEAR                             0.25    11   1.9 7.8 3.7   and 73 %
_STOP_HALVING = 4
_COARSEST = 1.2
_SMALL = 640 * 480  # pixels: up to here INTER_AREA takes a millisecond at most, and nothing need be approximated


def to_input(frame: Image, size: int) -> Image:
    """Resize a frame to the network's input.

    Means over pixel areas, the pixels at the edges in proportion; for large frames nearly so (see above).

    Args:
        frame: uint8 (H, W, 3) or (H, W).
        size: S.

    Returns:
        uint8 (S, S, 3) or (S, S), C-contiguous; the frame itself where it has that size already.
    """
    height, width = frame.shape[:2]
    # OpenCV wants contiguous rows; a view such as frame[:, ::-1] is copied here, a whole frame is not.
    picture = np.ascontiguousarray(frame)
    while min(height, width) >= _STOP_HALVING * size and height % 2 == 0 and width % 2 == 0:
        height, width = height // 2, width // 2
        picture = _resize(picture, height, width, cv2.INTER_AREA)
    if frame.shape[0] * frame.shape[1] > _SMALL and min(height, width) >= 2 * size:
        picture = _sampled(picture, size)
    return _stretch(picture, size, size)


def _sampled(picture: Image, size: int) -> Image:
    """Shrink to (size, size) by means of linear samples; the picture itself where INTER_AREA is the quicker way."""
    height, width = picture.shape[:2]
    rows, columns = _samples(height, size), _samples(width, size)
    whole = height % size == 0 and width % size == 0
    if whole or rows * columns * size * size > 1.5 * height * width:
        return picture
    picture = _resize(picture, rows * size, columns * size, cv2.INTER_LINEAR)
    while max(rows, columns) > 1:
        # Linear interpolation at half the size along one axis is the mean of two; INTER_AREA has no quick way there.
        interpolation = cv2.INTER_AREA if min(rows, columns) > 1 else cv2.INTER_LINEAR
        rows, columns = max(1, rows // 2), max(1, columns // 2)
        picture = _resize(picture, rows * size, columns * size, interpolation)
    return picture


def _samples(side: int, size: int) -> int:
    """Samples for each of `size` pixels along an axis of `side` pixels: a power of two."""
    count = 1
    while side > _COARSEST * count * size:
        count *= 2
    return count


def to_frame(anomaly_map: FloatMap, height: int, width: int) -> FloatMap:
    """Resize a map to the frame: linear between map pixels, means where the frame is the smaller.

    Args:
        anomaly_map: float32 (S, S).
        height, width: of the frame.

    Returns:
        float32 (H, W); the map itself where it has that size already.
    """
    return _stretch(np.ascontiguousarray(anomaly_map), height, width)


def _stretch(picture: _Picture, height: int, width: int) -> _Picture:
    """Shrink first, then enlarge: INTER_AREA falls back to linear, and aliases, as soon as one axis grows."""
    shrunk = (min(height, picture.shape[0]), min(width, picture.shape[1]))
    if shrunk != picture.shape[:2]:
        picture = _resize(picture, *shrunk, cv2.INTER_AREA)
    if (height, width) != shrunk:
        picture = _resize(picture, height, width, cv2.INTER_LINEAR)
    return picture


def _resize(picture: _Picture, height: int, width: int, interpolation: int) -> _Picture:
    return cv2.resize(picture, (width, height), interpolation=interpolation)  # type: ignore[return-value]
