"""Frames from a live camera through OpenCV: USB (V4L2), and the network where PyAV is not installed.

Knows how to open one in bounded time and what to tell the user when it does not open. Does not reconnect: a camera
that stops raises SourceError. Whether a picture was damaged on the way OpenCV does not tell; stream.py does.
"""

import os
import sys
from pathlib import Path

import cv2

from diffad_runtime.errors import SourceError
from diffad_runtime.sources.address import without_password
from diffad_runtime.sources.base import Shot, Source
from diffad_runtime.sources.capture import Capture

OPEN_TIMEOUT_MS = 5000
READ_TIMEOUT_MS = 5000
# How long a read of a silent USB camera may take, seconds; OpenCV reads it once, and its own default is 10.
os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", "5")


class CameraSource(Source):
    """A live camera. Use `usb` or `network` to make one."""

    def __init__(self, uri: str, capture: Capture) -> None:
        super().__init__(uri, live=True, fps_hint=capture.number(cv2.CAP_PROP_FPS))
        self._capture = capture

    @classmethod
    def usb(cls, uri: str, device: int | str) -> "CameraSource":
        """Open a USB camera by index, or by device file as in "/dev/video0".

        Raises:
            SourceError: no such device, no right to open it, or not a camera.
        """
        if sys.platform == "linux":
            _check_device(Path(f"/dev/video{device}" if isinstance(device, int) else device))
        capture = Capture(device, cv2.CAP_V4L2 if sys.platform == "linux" else cv2.CAP_ANY)
        if not capture.opened:
            raise SourceError(
                f"camera {device} exists but gives no picture: it is busy, or not a camera", mend=_which_cameras()
            )
        return cls(uri, capture)

    @classmethod
    def network(
        cls, uri: str, *, open_timeout_ms: int = OPEN_TIMEOUT_MS, read_timeout_ms: int = READ_TIMEOUT_MS
    ) -> "CameraSource":
        """Open an rtsp, http or https stream.

        Raises:
            SourceError: it does not open within open_timeout_ms.
        """
        shown = without_password(uri)
        timeouts = [
            *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, open_timeout_ms),
            *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, read_timeout_ms),
            *(cv2.CAP_PROP_N_THREADS, 1),  # every thread more keeps one picture back: 246 ms for 43 with 6 at 25 fps
        ]
        capture = Capture(uri, cv2.CAP_FFMPEG, timeouts)
        if not capture.opened:
            raise SourceError(
                f"no stream from {shown} within {open_timeout_ms / 1000:g} s",
                mend="Check address, port, path, user and password, and that this machine reaches the camera (ping)",
            )
        return cls(shown, capture)

    def _grab(self) -> Shot | None:
        image = self._capture.read()
        if image is None:
            raise SourceError(
                f"camera {self.uri} stopped after {self._next_id} frames", mend="Check cable, power and network"
            )
        return Shot(image)

    def _release(self) -> None:
        self._capture.release()


def _check_device(device: Path) -> None:
    if not device.exists():
        raise SourceError(f"there is no camera {device}", mend=_which_cameras())
    if not os.access(device, os.R_OK | os.W_OK):
        raise SourceError(
            f"no right to open camera {device}", mend="Add yourself to the group video: sudo usermod -aG video $USER"
        )


def _which_cameras() -> str:
    present = sorted(str(path) for path in Path("/dev").glob("video*"))
    if not present:
        return "No /dev/video* exists: plug a camera in, or use dir://, file:// or synthetic://line"
    return f"Present are {', '.join(present)}; 'v4l2-ctl --list-devices' names them"
