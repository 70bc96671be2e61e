"""Clean-up of a mask: specks and thin lines opened away, gaps closed, small blobs dropped.

Knows discs and areas in pixels. Does not know maps or thresholds.
"""

import math

import cv2
import numpy as np
import numpy.typing as npt

from diffad_runtime.extent import extent
from diffad_runtime.result import Image


def clean(
    mask: Image, *, opening: float, closing: float, min_area: int, counted: npt.NDArray[np.bool_] | None = None
) -> Image:
    """Open, close, then drop blobs (8-connected) of fewer than `min_area` pixels.

    While opening, what lies beyond the picture's edge or does not count wears nothing away: of a defect that is cut by
    an edge, the part in the picture is as safe as in the middle. While closing it is good, so that no defect grows to
    an edge. Euclidean discs by distance transforms: a large radius costs no more than a small one.

    Args:
        mask: uint8 (H, W), 0 or 255.
        opening, closing: radius of the disc in pixels, 0 for none. A disc of radius r holds the pixels whose centres
            are at most r away.
        min_area: pixels; 1 keeps everything.
        counted: bool (H, W), pixels that may be in a mask; None: all.

    Returns:
        uint8 (H, W), 0 or 255: `mask` itself where there is nothing to do.
    """
    if (opening == 0 and closing == 0 and min_area <= 1) or not mask.any():
        return mask
    height, width = mask.shape
    left, top, across, down = extent(mask)
    around = reach(opening, closing)
    rows = slice(max(0, top - around), min(height, top + down + around))
    columns = slice(max(0, left - around), min(width, left + across + around))
    box = mask[rows, columns] != 0
    may = None if counted is None else counted[rows, columns]
    if opening > 0:
        core = _eroded(box if may is None else box | ~may, opening)
        box &= _dilated(core if may is None else core & may, opening)
    if closing > 0:
        box = _closed(box, closing)
        if may is not None:
            box &= may
    if min_area > 1 and box.any():
        count, labels = cv2.connectedComponents(box.view(np.uint8), connectivity=8)
        keep = np.bincount(labels.ravel(), minlength=count) >= min_area
        keep[0] = False  # label 0 is the background
        box = np.take(keep, np.asarray(labels, np.int32))
    cleaned = np.zeros_like(mask)
    cleaned[rows, columns] = box.view(np.uint8) * np.uint8(255)
    return cleaned


def reach(opening: float, closing: float) -> int:
    """How far from a mask's pixels clean-up looks, pixels."""
    return math.ceil(2 * max(opening, closing)) + 1


def _closed(hot: npt.NDArray[np.bool_], radius: float) -> npt.NDArray[np.bool_]:
    edge = math.ceil(radius) + 1
    inner = (slice(edge, -edge), slice(edge, -edge))
    return _eroded(_dilated(np.pad(hot, edge), radius), radius)[inner]


def _eroded(hot: npt.NDArray[np.bool_], radius: float) -> npt.NDArray[np.bool_]:
    return hot if hot.all() else _distance(hot) > radius


def _dilated(hot: npt.NDArray[np.bool_], radius: float) -> npt.NDArray[np.bool_]:
    return _distance(~hot) <= radius if hot.any() else hot


def _distance(hot: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """Of each hot pixel to the nearest that is not; there must be one."""
    return cv2.distanceTransform(  # type: ignore[return-value]
        np.ascontiguousarray(hot).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE
    )
