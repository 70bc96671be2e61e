"""A mask's blobs as defects: where each lies, how large it is, and the largest map value inside.

Knows 8-connected components. Does not know thresholds (masks.py) nor which pixels count (regions/).
"""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from diffad_runtime.extent import extent
from diffad_runtime.geometry import to_frame
from diffad_runtime.result import Defect, FloatMap, Image

MOST_DEFECTS = 100
"""Defects of one frame that are reported. A mask of noise has tens of thousands, and a result must stay small."""


def find_defects(
    mask: Image,
    anomaly: FloatMap,
    *,
    most: int = MOST_DEFECTS,
    origin: tuple[int, int] = (0, 0),
    owners: npt.NDArray[np.int16] | None = None,
    names: Sequence[str] = ("",),
) -> tuple[Defect, ...]:
    """Blobs of a mask, largest peak first; of equal peaks the larger blob, then the one that begins higher up.

    An empty mask costs a look at it; what others cost is in docs/recipes.md.

    Args:
        mask: uint8 (H, W), not 0 where defect.
        anomaly: float32 (H, W), the map in frame coordinates; of any other shape it is brought to (H, W) first.
        most: reported at most; further ones, with smaller peaks, are left out.
        origin: (left, top) of the mask in the frame, added to boxes and centres.
        owners: int16 (H, W), an index into `names` for each pixel; a defect belongs where its peak lies. None: all 0.
        names: of regions.
    """
    if not mask.any():
        return ()
    height, width = mask.shape
    if anomaly.shape != mask.shape:
        anomaly = to_frame(anomaly, height, width)
    left, top, across, down = extent(mask)
    box = (slice(top, top + down), slice(left, left + across))
    count, labels, stats, centres = cv2.connectedComponentsWithStats(np.ascontiguousarray(mask[box]), connectivity=8)
    hot = np.flatnonzero(labels)
    label, value = np.asarray(labels, np.int32).ravel()[hot], anomaly[box].ravel()[hot]
    peaks = np.full(count, -np.inf, np.float32)
    np.maximum.at(peaks, label, value)
    # np.lexsort sorts by its last key first. Labels grow from top to bottom; 0 is the background.
    order = np.lexsort((np.arange(1, count), -stats[1:, cv2.CC_STAT_AREA], -peaks[1:]))[:most] + 1
    owner = np.zeros(count, np.int16)
    if owners is not None:
        at_peak = hot[value == peaks[label]][::-1]  # backwards: of several the first one is written last
        owner[labels.ravel()[at_peak]] = owners[box].ravel()[at_peak]
    shift_x, shift_y = left + origin[0], top + origin[1]
    return tuple(
        Defect(
            area_px=int(stats[index, cv2.CC_STAT_AREA]),
            box=(
                int(stats[index, cv2.CC_STAT_LEFT]) + shift_x,
                int(stats[index, cv2.CC_STAT_TOP]) + shift_y,
                int(stats[index, cv2.CC_STAT_WIDTH]),
                int(stats[index, cv2.CC_STAT_HEIGHT]),
            ),
            peak=float(peaks[index]),
            centre=(float(centres[index, 0]) + 0.5 + shift_x, float(centres[index, 1]) + 0.5 + shift_y),
            region=names[owner[index]],
        )
        for index in order.tolist()
    )
