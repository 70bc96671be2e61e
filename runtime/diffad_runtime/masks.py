"""From a map to a mask: threshold, drop specks, bring to frame coordinates.

Knows pixels above a threshold and how they hang together. Does not know scores, verdicts or files.
"""

import cv2
import numpy as np
import numpy.typing as npt

from diffad_runtime.geometry import to_frame
from diffad_runtime.result import FloatMap, Image


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
    _, labels, stats, _ = cv2.connectedComponentsWithStats(hot.view(np.uint8), connectivity=8)
    keep = stats[:, cv2.CC_STAT_AREA] >= min_pixels
    keep[0] = False  # label 0 is the background
    return np.asarray(keep[labels], np.bool_)


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
    rows, columns = np.nonzero(kept)
    if rows.size == 0:
        return np.zeros((height, width), np.uint8)
    limit = np.float32(threshold)
    # Dropped specks are lowered to the threshold itself, which is not above it: they cannot come back by interpolation.
    cleaned = anomaly_map if min_pixels <= 1 else np.where(kept, anomaly_map, np.minimum(anomaly_map, limit))
    mask = np.greater(to_frame(cleaned, height, width), limit).view(np.uint8)
    mask *= 255  # in place: the comparison's own memory becomes the mask
    side_y, side_x = anomaly_map.shape
    mask[(2 * rows + 1) * height // (2 * side_y), (2 * columns + 1) * width // (2 * side_x)] = 255
    return mask
