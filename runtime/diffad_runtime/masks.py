"""From a map to a mask: threshold, drop specks, bring to frame coordinates.

Knows pixels above a threshold and how they hang together. Does not know scores, verdicts or files.
"""

import cv2
import numpy as np
import numpy.typing as npt

from diffad_runtime.extent import extent
from diffad_runtime.geometry import to_frame
from diffad_runtime.result import FloatMap, Image

_FEW = 16  # up to a sixteenth of the map


def defect_pixels(anomaly_map: FloatMap, threshold: float, min_pixels: int) -> npt.NDArray[np.bool_]:
    """Map pixels above the threshold, without blobs (8-connected) of fewer than `min_pixels`.

    Args:
        anomaly_map: float32 (S, S).
        threshold: compared as float32, like the map.
        min_pixels: in map pixels; 1 keeps everything.

    Returns:
        bool (S, S).
    """
    hot = anomaly_map > np.float32(threshold)
    if min_pixels <= 1 or not hot.any():
        return hot
    # A good part's few hot pixels lie in a small corner of the map.
    left, top, width, height = extent(hot)
    box = hot[top : top + height, left : left + width]
    # Sizes by bincount: connectedComponentsWithStats takes twice as long for boxes and centres that nobody asked for.
    count, labels = cv2.connectedComponents(np.ascontiguousarray(box).view(np.uint8), connectivity=8)
    keep = np.bincount(labels.ravel(), minlength=count) >= min_pixels
    keep[0] = False  # label 0 is the background
    box[:] = np.take(keep, np.asarray(labels, np.int32))
    return hot


def defect_mask(anomaly_map: FloatMap, threshold: float, min_pixels: int, height: int, width: int) -> Image:
    """Mask in frame coordinates: where the map, brought to the frame, is above the threshold.

    A kept map pixel always marks at least the frame pixel at its centre, however the sampling falls.

    Args:
        anomaly_map: float32 (S, S).
        threshold, min_pixels: as `defect_pixels`.
        height, width: of the frame.

    Returns:
        uint8 (H, W), 0 or 255, fresh.
    """
    kept = defect_pixels(anomaly_map, threshold, min_pixels)
    if not kept.any():
        return np.zeros((height, width), np.uint8)
    limit = np.float32(threshold)
    # Dropped specks are lowered to the threshold itself, which is not above it: they cannot come back by interpolation.
    dropped = (anomaly_map > limit) & ~kept if min_pixels > 1 else np.zeros(1, np.bool_)
    cleaned = np.where(dropped, limit, anomaly_map) if dropped.any() else anomaly_map
    mask = np.greater(to_frame(cleaned, height, width), limit).view(np.uint8)
    mask *= 255  # in place: the comparison's own memory becomes the mask
    y, x = (_centres(inside, outside) for inside, outside in zip(anomaly_map.shape, (height, width), strict=True))
    # Nearly all centres are marked by now. Of many, finding those that are not is quicker than marking all.
    many = np.count_nonzero(kept) > kept.size // _FEW
    rows, columns = np.nonzero(kept & (mask[y][:, x] == 0) if many else kept)
    mask[y[rows], x[columns]] = 255
    return mask


def _centres(inside: int, outside: int) -> npt.NDArray[np.int64]:
    """For each of `inside` map pixels along an axis, the frame pixel of `outside` that holds its centre."""
    return (2 * np.arange(inside) + 1) * outside // (2 * inside)
