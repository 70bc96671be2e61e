"""Seeded copies of training images. Copy 0 is the image itself.

Pure: an image, a copy number and a seed give the same pixels in any process. Knows nothing of features or caches.
"""

import cv2
import numpy as np

from diffad_export.config import AugmentConfig
from diffad_runtime.result import Image


def augmented(image: Image, config: AugmentConfig, *, seed: int, index: int, copy: int) -> Image:
    """Copy number `copy` of image number `index`.

    Args:
        image: uint8 (S, S, 3).

    Returns:
        uint8 (S, S, 3); rotated about the centre with reflected edges, brightness scaled, mirrored where asked.
    """
    if copy == 0:
        return image
    rng = np.random.default_rng([seed, index, copy])
    side = image.shape[0]
    angle = rng.uniform(-config.rotation_degrees, config.rotation_degrees)
    turn = cv2.getRotationMatrix2D(((side - 1) / 2, (side - 1) / 2), angle, 1.0)
    out = cv2.warpAffine(image, turn, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    if config.flips:
        if rng.random() < 0.5:
            out = out[:, ::-1]
        if rng.random() < 0.5:
            out = out[::-1]
    if config.brightness > 0:
        gain = 1 + rng.uniform(-config.brightness, config.brightness)
        out = np.clip(np.rint(out.astype(np.float32) * gain), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(out)
