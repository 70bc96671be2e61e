"""OpenCV's VideoCapture, made quiet: its native libraries write to the terminal, our errors speak instead.

Knows VideoCapture's quirks. Does not know what is captured from, nor when to give up.
"""

import os
from collections.abc import Sequence

import cv2
import numpy as np

from diffad_runtime.imagefile import quiet_opencv
from diffad_runtime.result import Image

# Read once by OpenCV, when its FFMPEG backend first opens something. -8 is AV_LOG_QUIET.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")


class Capture:
    """An open VideoCapture; `opened` says whether it opened."""

    def __init__(self, target: str | int, backend: int, settings: Sequence[int] = ()) -> None:
        with quiet_opencv():
            try:
                self._capture = cv2.VideoCapture(target, backend, list(settings))
                self.opened = self._capture.isOpened()
            except cv2.error:  # some backends throw where others only fail
                self._capture = cv2.VideoCapture()
                self.opened = False

    def read(self) -> Image | None:
        """The next frame, uint8 (H, W, 3) BGR, or None: the end and a failure look alike to OpenCV."""
        with quiet_opencv():
            try:
                got, image = self._capture.read()
            except cv2.error:
                return None
        if not got or image is None or image.size == 0:
            return None
        if image.ndim == 2 or image.shape[2] == 1:
            return np.asarray(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR), np.uint8)
        return np.asarray(image, np.uint8)

    def number(self, key: int) -> float | None:
        """A property, as in cv2.CAP_PROP_FPS; None where the backend does not know it."""
        value = self._capture.get(key)
        return float(value) if np.isfinite(value) and value > 0 else None

    def release(self) -> None:
        """Free the device or file; twice is harmless."""
        self.opened = False
        self._capture.release()
