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

# Halving by 2 x 2 means has a fast path in OpenCV, INTER_AREA at odd factors has none. Halving stops while the last
# step still shrinks 2 to 4 times: ending nearer to 1 blurs unevenly. 1080p to 256 px on one x86 core, and RMS
# difference from pure INTER_AREA on real parts, in grey levels:
#     INTER_AREA alone               6.9 ms
#     halve while 4 x larger         2.7 ms   0.5
#     halve while 2 x larger         1.5 ms   1.0 - 2.9
#     INTER_LINEAR                   0.15 ms  1.0 - 4.5, and aliases: stripes finer than the grid keep 90 % contrast
_STOP_HALVING = 4


def to_input(frame: Image, size: int) -> Image:
    """Resize a frame to the network's input.

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
    return _stretch(picture, size, size)


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
