"""One judged frame as a page shows it: a small picture, the map over it, the outlines of the mask.

Knows pixels and how they are encoded. Does not know who looks, nor where frames come from. The three are sent apart, so
that each viewer may switch them on and off although all get the same bytes.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from diffad_runtime.result import FloatMap, Frame, Image, Result, Verdict
from diffad_runtime.sinks.overlay import heat

MAP_SIDE = 256
"""Longest side of a map on the page; larger ones are put together from tiles, and are shrunk."""

_MOST_POINTS = 2000
_MOST_OUTLINES = 100
_TOLERANCE = 0.6  # of a pixel of the page


@dataclass(frozen=True, slots=True)
class Layers:
    """One frame, shrunk, not encoded yet.

    Attributes:
        picture: uint8 (h, w, 3) BGR or (h, w) grey; None where the part has none.
        warmth: uint8, 0 to 255 for 0 to 1 of `sinks.overlay.heat`, stretched over the whole picture; None for ERROR.
        outlines: of the mask's blobs, each [x0, y0, x1, y1, ...] in pixels of `picture`, largest blob first.
        width, height: of the frame.
    """

    picture: Image | None
    warmth: Image | None
    outlines: list[list[float]]
    width: int
    height: int

    def encode(self, quality: int) -> "Encoded":
        """As JPEG and PNG."""
        jpeg, png = b"", b""
        if self.picture is not None:
            jpeg = cv2.imencode(".jpg", self.picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
        if self.warmth is not None:
            png = cv2.imencode(".png", self.warmth)[1].tobytes()  # imagefile.py says why without a level
        return Encoded(jpeg, png, self.outlines, self.width, self.height)


@dataclass(frozen=True, slots=True)
class Encoded:
    """`picture` is JPEG, `warmth` a grey PNG; b"" where there is none. The rest as in Layers."""

    picture: bytes
    warmth: bytes
    outlines: list[list[float]]
    width: int
    height: int

    def describe(self) -> dict[str, object]:
        """What has to be known of the bytes: how many they are, and what lies on them."""
        return {
            "picture_bytes": len(self.picture),
            "map_bytes": len(self.warmth),
            "outlines": self.outlines,
            "width": self.width,
            "height": self.height,
        }


def layers_of(frame: Frame, result: Result, longest: int) -> Layers:
    """Shrink what belongs to a frame; nothing that is returned shares memory with it.

    Args:
        frame: as it came: colour, grey, empty, or what no camera gives.
        result: of it.
        longest: side of the picture, pixels.
    """
    image = frame.image
    if not _drawable(image):
        return Layers(None, None, [], 0, 0)
    height, width = image.shape[:2]
    picture = _shrunk(image, longest)
    warmth: Image | None = None
    outlines: list[list[float]] = []
    if result.verdict is not Verdict.ERROR:
        warmth = _warmth(result.anomaly_map, result.pixel_threshold)
        if result.mask.shape == (height, width):
            outlines = _outlines(result.mask, picture.shape[1] / width, picture.shape[0] / height)
    return Layers(picture, warmth, outlines, width, height)


def _drawable(image: object) -> bool:
    return (
        isinstance(image, np.ndarray)
        and image.dtype == np.uint8
        and image.size > 0
        and (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3))
    )


def _shrunk(image: Image, longest: int) -> Image:
    height, width = image.shape[:2]
    scale = longest / max(height, width)
    if scale >= 1:
        return image.copy()
    image = np.ascontiguousarray(image)
    # Halves first: OpenCV has a fast way for these alone. 1080p to 640: 3.4 ms at once, 2.0 ms so (x86, one thread).
    while max(image.shape[:2]) >= 2 * longest:
        half = (max(1, image.shape[1] // 2), max(1, image.shape[0] // 2))
        image = np.asarray(cv2.resize(image, half, interpolation=cv2.INTER_AREA), np.uint8)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    if size == (image.shape[1], image.shape[0]):
        return image
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), np.uint8)


def _warmth(anomaly_map: FloatMap, threshold: float) -> Image | None:
    if anomaly_map.ndim != 2 or not anomaly_map.size:
        return None
    small: npt.NDArray[np.float32] = np.ascontiguousarray(anomaly_map, np.float32)
    if max(small.shape) > MAP_SIDE:
        scale = MAP_SIDE / max(small.shape)
        size = (max(1, round(small.shape[1] * scale)), max(1, round(small.shape[0] * scale)))
        small = np.asarray(cv2.resize(small, size, interpolation=cv2.INTER_AREA), np.float32)
    # A number that is none has no colour of its own; a judged frame should not have any.
    return np.asarray(np.nan_to_num(heat(small, threshold), nan=0.0) * np.float32(255), np.uint8)


def _outlines(mask: Image, across: float, down: float) -> list[list[float]]:
    """Outer contours, scaled, simplified, the largest first, within bounds: a mask of noise has a million points."""
    if not cv2.countNonZero(mask):
        return []
    found, _ = cv2.findContours(np.ascontiguousarray(mask), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    found = sorted(found, key=cv2.contourArea, reverse=True)[:_MOST_OUTLINES]
    outlines: list[list[float]] = []
    left = _MOST_POINTS
    for contour in found:
        scaled = (contour.reshape(-1, 2).astype(np.float32) + np.float32(0.5)) * np.array([across, down], np.float32)
        simple = cv2.approxPolyDP(scaled.reshape(-1, 1, 2), _TOLERANCE, closed=True).reshape(-1)
        left -= simple.size // 2
        if left < 0 and outlines:
            break
        outlines.append([round(float(value), 1) for value in simple[: 2 * _MOST_POINTS]])
    return outlines
