"""From what a GenICam camera delivers to BGR.

Knows the names of the pixel format naming convention (EMVA PFNC) that industrial cameras use. Does not know cameras.
"""

import string

import cv2
import numpy as np
import numpy.typing as npt

from diffad_runtime.errors import SourceError
from diffad_runtime.result import Image

# PFNC names the first two pixels of the first row, OpenCV's short names the second and third of the second row.
_BAYER = {
    "RG": cv2.COLOR_BayerBG2BGR,
    "GR": cv2.COLOR_BayerGB2BGR,
    "GB": cv2.COLOR_BayerGR2BGR,
    "BG": cv2.COLOR_BayerRG2BGR,
}
_DIRECT = {
    "RGB8": (3, cv2.COLOR_RGB2BGR),
    "BGR8": (3, None),
    "RGBa8": (4, cv2.COLOR_RGBA2BGR),
    "BGRa8": (4, cv2.COLOR_BGRA2BGR),
    "YUV422_8": (2, cv2.COLOR_YUV2BGR_YUYV),
    "YCbCr422_8": (2, cv2.COLOR_YUV2BGR_YUYV),
    "YUV422_8_UYVY": (2, cv2.COLOR_YUV2BGR_UYVY),
    "YCbCr422_8_CbYCrY": (2, cv2.COLOR_YUV2BGR_UYVY),
}
_DEPTHS = (8, 10, 12, 14, 16)
FORMATS = (
    *(f"Mono{depth}" for depth in _DEPTHS),
    *(f"Bayer{order}{depth}" for order in _BAYER for depth in _DEPTHS),
    *_DIRECT,
)


def to_bgr(data: npt.NDArray[np.uint8] | npt.NDArray[np.uint16], width: int, height: int, name: str) -> Image:
    """A picture of its own from a buffer that goes back to the camera.

    Args:
        data: as delivered, one dimension, uint8, or uint16 for more than 8 bits; rows may be padded at their end.
        width, height: pixels.
        name: of the format, as "BayerRG8". More than 8 bits lose the lowest.

    Returns:
        uint8 (H, W, 3), BGR.

    Raises:
        SourceError: a format that is not known, packed ones among them, or less data than it takes.
    """
    if name not in FORMATS:
        raise SourceError(
            f"the camera sends the pixel format {name}, which is not known here",
            mend="Set another: genicam://...?PixelFormat=BayerRG8, or Mono8, RGB8, BGR8",
        )
    channels, code = _DIRECT.get(name, (1, None))
    across = data.size // height if height else 0
    if across < width * channels or width == 0:
        raise SourceError(
            f"a frame of {width} x {height} {name} has {width * height * channels} values, got {data.size}",
            mend="Check Width, Height and PixelFormat of the camera",
        )
    rows = data[: across * height].reshape(height, across)[:, : width * channels]
    if name not in _DIRECT:
        depth = int(name.lstrip(string.ascii_letters))
        eight = (rows >> (depth - 8)).astype(np.uint8)
        code = cv2.COLOR_GRAY2BGR if name.startswith("Mono") else _BAYER[name[5:7]]
        return np.asarray(cv2.cvtColor(eight, code), np.uint8)
    image = np.ascontiguousarray(rows).reshape(height, width, channels).astype(np.uint8, copy=False)
    return np.array(image) if code is None else np.asarray(cv2.cvtColor(image, code), np.uint8)
