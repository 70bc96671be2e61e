"""Whether what a driver handed over is a picture at all.

Knows the contract of Shot.image. Does not judge what a picture shows.
"""

import numpy as np


def why_unusable(image: object) -> str:
    """Why it is not uint8 (H, W, 3) with pixels in it; "" where it is."""
    if not isinstance(image, np.ndarray):
        return f"expected an array, got {type(image).__name__}"
    if image.dtype != np.uint8:
        return f"expected uint8, got {image.dtype}"
    if image.ndim != 3 or image.shape[2] != 3:
        return f"expected (height, width, 3), got {image.shape}"
    if image.size == 0:
        return f"it is empty, {image.shape}"
    return ""
