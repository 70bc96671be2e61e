"""Pictures of one example: frame, truth, two maps in colour, the fused map over the frame with the mask outlined.

Knows colours and sizes. Does not know HTML or files. All pictures are uint8 (h, w, 3), BGR.
Maps use VIRIDIS and INFERNO: monotonic in lightness, so they read the same for colour-blind eyes and in grey.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from diffad_calibration.report.data import GOOD, Example
from diffad_runtime.result import FloatMap, Image

LONG_SIDE = 512
"""Longest side of a picture in pixels; frames below half of it are enlarged by a whole factor, for thin outlines."""

_OUTLINE_BGR = (255, 255, 255)
_CASING_BGR = (24, 16, 16)


@dataclass(frozen=True, slots=True)
class ColourScale:
    """Maps `low` and below to the first colour, `high` and above to the last, linear between.

    Attributes:
        low, high: ends of the scale, low < high.
        colormap: one of OpenCV's.
        overlay: for laying over a picture: opacity grows with the value, so that normal areas stay visible as they
            are, and the dark third of the colormap is left out, which would read as a shadow on the part.
    """

    low: float
    high: float
    colormap: int
    overlay: bool = False

    def shares(self, values: FloatMap) -> FloatMap:
        """float (h, w) -> float32 (h, w) in [0, 1], the place on the scale; NaN reads as 0."""
        shares = (np.nan_to_num(values, nan=self.low) - self.low) / (self.high - self.low)
        return np.asarray(np.clip(shares, 0, 1), np.float32)

    def colours(self, shares: FloatMap) -> Image:
        """Places on the scale (h, w) -> uint8 (h, w, 3), BGR."""
        first = 85 if self.overlay else 0
        levels = np.round(first + (255 - first) * shares).astype(np.uint8)
        return np.asarray(cv2.applyColorMap(levels, self.colormap), np.uint8)

    def opacities(self, shares: FloatMap) -> FloatMap:
        """Places on the scale -> float32 in [0, 1], same shape."""
        return (0.9 * shares**0.75 if self.overlay else np.ones_like(shares)).astype(np.float32)

    def css_gradient(self, stops: int = 9) -> str:
        """The scale as a CSS linear-gradient, left to right."""
        shares = np.linspace(0, 1, stops, dtype=np.float32)[None]
        colours, opacities = self.colours(shares)[0].tolist(), self.opacities(shares)[0].tolist()
        steps = (f"rgb({r} {g} {b} / {a:.2f})" for (b, g, r), a in zip(colours, opacities, strict=True))
        return f"linear-gradient(90deg, {', '.join(steps)})"


@dataclass(frozen=True, slots=True)
class Scales:
    """One scale a column, shared by all examples, so that rows can be compared."""

    pixel: ColourScale
    feature: ColourScale
    fused: ColourScale


def shared_scales(examples: Sequence[Example]) -> Scales:
    """From the median pixel of all examples up to the median, over defective examples, of a map's maximum.

    A single glaring defect would otherwise push all others into the dark. Without defective examples: the maximum.
    """
    defective = [example for example in examples if example.kind != GOOD]
    return Scales(
        pixel=_scale(_pixel_maps(examples), _pixel_maps(defective), cv2.COLORMAP_VIRIDIS),
        feature=_scale([e.feature for e in examples], [e.feature for e in defective], cv2.COLORMAP_VIRIDIS),
        fused=_scale([e.fused for e in examples], [e.fused for e in defective], cv2.COLORMAP_INFERNO, overlay=True),
    )


def draw(example: Example, scales: Scales) -> dict[str, Image]:
    """Pictures by column: "image", "truth", "pixel" (both only where there is one), "feature", "fused"; one size."""
    size = _picture_size(*example.image.shape[:2])
    frame = _resize(example.image, size)
    pictures = {
        "image": frame,
        "feature": scales.feature.colours(scales.feature.shares(_stretch(example.feature, size))),
        "fused": _overlay(frame, _stretch(example.fused, size), _binary(example.mask, size), scales.fused),
    }
    if example.pixel is not None:
        pictures["pixel"] = scales.pixel.colours(scales.pixel.shares(_stretch(example.pixel, size)))
    if example.truth is not None:
        pictures["truth"] = np.repeat(_binary(example.truth, size)[:, :, None], 3, axis=2)
    return pictures


def _pixel_maps(examples: Sequence[Example]) -> list[FloatMap]:
    return [example.pixel for example in examples if example.pixel is not None]


def _scale(maps: list[FloatMap], defective: list[FloatMap], colormap: int, *, overlay: bool = False) -> ColourScale:
    if not maps:
        return ColourScale(0.0, 1.0, colormap, overlay)
    low = float(np.nanmedian(np.concatenate([values.ravel() for values in maps])))
    peaks = [float(np.nanmax(values)) for values in defective or maps]
    high = float(np.median(peaks)) if defective else max(peaks)
    # A flat map has no scale of its own.
    return ColourScale(low, high if high > low else low + 1.0, colormap, overlay)


def _overlay(frame: Image, fused: FloatMap, mask: Image, scale: ColourScale) -> Image:
    shares = scale.shares(fused)
    opacity = scale.opacities(shares)[:, :, None]
    mixed = frame * (1 - opacity) + scale.colours(shares) * opacity
    picture = np.ascontiguousarray(np.round(mixed).astype(np.uint8))
    outlines, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    # Pages show pictures at less than half size: thinner lines would be lost.
    width = max(2, max(frame.shape[:2]) // 170)
    cv2.drawContours(picture, outlines, -1, _CASING_BGR, width + 3, cv2.LINE_AA)
    cv2.drawContours(picture, outlines, -1, _OUTLINE_BGR, width, cv2.LINE_AA)
    return picture


def _picture_size(height: int, width: int) -> tuple[int, int]:
    """(width, height) of the pictures for a frame of this size."""
    long_side = max(height, width)
    factor = 1.0
    if long_side > LONG_SIDE:
        factor = LONG_SIDE / long_side
    elif long_side < LONG_SIDE // 2:
        factor = float(-(-LONG_SIDE // (2 * long_side)))
    return max(1, round(width * factor)), max(1, round(height * factor))


def _resize(image: Image, size: tuple[int, int]) -> Image:
    smaller = size[0] < image.shape[1]
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC), np.uint8)


def _stretch(values: FloatMap, size: tuple[int, int]) -> FloatMap:
    return np.asarray(cv2.resize(values.astype(np.float32), size, interpolation=cv2.INTER_LINEAR), np.float32)


def _binary(mask: Image, size: tuple[int, int]) -> Image:
    binary = np.where(mask > 0, np.uint8(255), np.uint8(0))
    return np.asarray(cv2.resize(binary, size, interpolation=cv2.INTER_NEAREST), np.uint8)
