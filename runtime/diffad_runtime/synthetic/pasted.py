"""Made-up defects on any good picture, with the mask of what changed.

Knows pixels only. Does not know the product, so a defect may land anywhere in the frame, and no network.
For choosing score weights and gating quantisation where no real defect is at hand; not a measure of how well real
defects are found.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from diffad_runtime.errors import ImageError
from diffad_runtime.result import FloatMap, Image

CHANGE_LEVELS = 8  # of 255: a pixel is in the mask when any channel changed by more
SMALLEST_AREA = 0.0005  # share of the picture
LARGEST_AREA = 0.04
_SPECK = 4  # smaller islands of change are undone, in pixels
_TRIES = 6


@dataclass(frozen=True, slots=True)
class _Window:
    """A rectangle of the picture around the defect, and its pixel grid relative to the defect's centre."""

    rows: slice
    columns: slice
    x: FloatMap
    y: FloatMap


def paste_defect(image: Image, rng: np.random.Generator) -> tuple[Image, Image]:
    """Spoil a good picture with one defect of random kind, place, size and contrast.

    Kinds: a patch from elsewhere in the picture (after CutPaste, Li et al., CVPR 2021), a thin scratch, a blot of
    smooth noise, a dent with a light and a dark side. Area log-uniform between SMALLEST_AREA and LARGEST_AREA.

    Args:
        image: uint8 (H, W, 3) BGR, at least 16 x 16; not written to.
        rng: same state, same defect.

    Returns:
        picture uint8 (H, W, 3), and mask uint8 (H, W) of 0 and 255, never empty. Outside the mask no channel differs
        from `image` by more than CHANGE_LEVELS; inside, every pixel does, or lies in a gap of one or two pixels.

    Raises:
        ImageError: wrong shape or dtype.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or min(image.shape[:2]) < 16:
        raise ImageError(
            f"paste_defect expects uint8 (H, W, 3) of at least 16 x 16, got {image.dtype} {image.shape}",
            mend="Read the picture with read_image",
        )
    kinds = (_patch, _scratch, _blot, _dent)
    boost = 1.0
    for _ in range(_TRIES):
        picture, mask = _settle(image, *kinds[int(rng.integers(len(kinds)))](image, rng, boost))
        if mask.any():
            return picture, mask
        boost *= 1.3  # hidden by saturation, or the patch equalled what it covered
    return _settle(image, *_plain_spot(image, rng))


def _settle(image: Image, window: _Window, spoiled: FloatMap) -> tuple[Image, Image]:
    """Put the window into a copy, undo islands too small to mean anything, take the mask."""
    before = image[window.rows, window.columns]
    after = np.clip(np.round(spoiled), 0, 255).astype(np.uint8)
    changed = (cv2.absdiff(before, after).max(axis=2) > CHANGE_LEVELS).astype(np.uint8)
    padded = cv2.copyMakeBorder(changed, 2, 2, 2, 2, cv2.BORDER_CONSTANT, value=0)
    closed = np.asarray(cv2.morphologyEx(padded, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8)), np.uint8)[2:-2, 2:-2]
    _, labels, stats, _ = cv2.connectedComponentsWithStats(closed, connectivity=8)
    kept = stats[:, cv2.CC_STAT_AREA] >= _SPECK
    kept[0] = False
    inside = np.asarray(kept[labels], np.bool_)
    undone = (closed > 0) & ~inside
    after[undone] = before[undone]
    picture = image.copy()
    picture[window.rows, window.columns] = after
    mask = np.zeros(image.shape[:2], np.uint8)
    mask[window.rows, window.columns] = np.where(inside, np.uint8(255), np.uint8(0))
    return picture, mask


def _draw_radius(image: Image, rng: np.random.Generator) -> float:
    """Radius in pixels of a disc of random, log-uniform area; at least 2.5 so that small pictures get something."""
    share = float(np.exp(rng.uniform(np.log(SMALLEST_AREA), np.log(LARGEST_AREA))))
    return max(2.5, float(np.sqrt(share * image.shape[0] * image.shape[1] / np.pi)))


def _open_window(image: Image, rng: np.random.Generator, reach: float) -> _Window:
    height, width = image.shape[:2]
    cx, cy = float(rng.beta(1.5, 1.5) * (width - 1)), float(rng.beta(1.5, 1.5) * (height - 1))
    x0, x1 = max(0, int(cx - reach)), min(width, int(cx + reach) + 2)
    y0, y1 = max(0, int(cy - reach)), min(height, int(cy + reach) + 2)
    x = np.arange(x0, x1, dtype=np.float32)[None, :] - np.float32(cx)
    y = np.arange(y0, y1, dtype=np.float32)[:, None] - np.float32(cy)
    return _Window(slice(y0, y1), slice(x0, x1), x, y)


def _blob(window: _Window, radius: float, rng: np.random.Generator) -> FloatMap:
    """A ragged, soft-edged blob: opacity 0 .. 1, float32 (h, w)."""
    aspect, turn = float(np.exp(rng.uniform(-0.5, 0.5))), rng.uniform(0, np.pi)
    c, s = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    along = (c * window.x + s * window.y) / np.float32(radius * aspect)
    across = (c * window.y - s * window.x) * np.float32(aspect / radius)
    level = 1 - np.sqrt(along**2 + across**2) + np.float32(0.25) * _noise(window, radius, 1.2, rng)
    out: FloatMap = np.clip(level * np.float32(radius / rng.uniform(1.0, 1.0 + 0.3 * radius)), 0, 1)
    return out


def _noise(window: _Window, radius: float, cells: float, rng: np.random.Generator) -> FloatMap:
    """Smooth noise of unit variance, about `cells` waves per radius, float32 (h, w)."""
    height, width = window.y.shape[0], window.x.shape[1]
    knots = rng.standard_normal(
        (max(2, round(cells * height / radius)), max(2, round(cells * width / radius))), dtype=np.float32
    )
    return np.asarray(cv2.resize(knots, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)


def _patch(image: Image, rng: np.random.Generator, boost: float) -> tuple[_Window, FloatMap]:
    radius = _draw_radius(image, rng)
    window = _open_window(image, rng, 2.2 * radius)
    opacity = _blob(window, radius, rng)[:, :, None]
    height, width = opacity.shape[:2]
    y0, x0 = int(rng.integers(image.shape[0] - height + 1)), int(rng.integers(image.shape[1] - width + 1))
    cut = image[y0 : y0 + height, x0 : x0 + width].astype(np.float32)
    if rng.random() < 0.5:
        cut = cut[::-1]
    if rng.random() < 0.5:
        cut = cut[:, ::-1]
    gain, lift = rng.uniform(0.8, 1.2), rng.uniform(-18, 18) * boost
    under = image[window.rows, window.columns].astype(np.float32)
    return window, under + opacity * (cut * np.float32(gain) + np.float32(lift) - under)


def _scratch(image: Image, rng: np.random.Generator, boost: float) -> tuple[_Window, FloatMap]:
    side = float(np.sqrt(image.shape[0] * image.shape[1]))
    width = float(np.exp(rng.uniform(np.log(1.0), np.log(3.0)))) * max(1.0, side / 256)
    area = np.pi * _draw_radius(image, rng) ** 2
    length = float(np.clip(area / width, 6, 0.6 * side))
    window = _open_window(image, rng, 0.55 * length + 2 * width + 2)
    steps = 12
    heading = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.12, steps))
    path = np.cumsum(np.stack([np.cos(heading), np.sin(heading)], axis=1) * (length / steps), axis=0)
    path -= path[steps // 2] + np.array([window.x[0, 0], window.y[0, 0]])
    opacity = np.zeros((window.y.shape[0], window.x.shape[1]), np.uint8)
    points = np.round(path * 16).astype(np.int32).reshape(-1, 1, 2)
    cv2.polylines(opacity, [points], False, 255, max(1, round(width)), cv2.LINE_AA, 4)
    strength = np.asarray(cv2.GaussianBlur(opacity, (0, 0), 0.6), np.float32) / np.float32(255)
    strength *= np.clip(1 + np.float32(0.25) * _noise(window, max(4.0, length / 3), 1.0, rng), 0.4, 1.3)
    change = boost * rng.uniform(30, 90) * (1 if rng.random() < 0.5 else -1)
    under = image[window.rows, window.columns].astype(np.float32)
    return window, under + strength[:, :, None] * np.float32(change)


def _blot(image: Image, rng: np.random.Generator, boost: float) -> tuple[_Window, FloatMap]:
    radius = _draw_radius(image, rng)
    window = _open_window(image, rng, 2.2 * radius)
    opacity = _blob(window, radius, rng) * np.clip(1 + np.float32(0.3) * _noise(window, radius, 4, rng), 0.3, 1.5)
    change = rng.uniform(20, 65) * (1 if rng.random() < 0.5 else -1) + rng.uniform(-22, 22, 3)
    under = image[window.rows, window.columns].astype(np.float32)
    return window, under + opacity[:, :, None] * (boost * change).astype(np.float32)


def _dent(image: Image, rng: np.random.Generator, boost: float) -> tuple[_Window, FloatMap]:
    radius = _draw_radius(image, rng)
    window = _open_window(image, rng, 2.2 * radius)
    turn = rng.uniform(0, 2 * np.pi)
    distance2 = (window.x**2 + window.y**2) / np.float32(radius**2)
    facing = (window.x * np.float32(np.cos(turn)) + window.y * np.float32(np.sin(turn))) / np.float32(radius)
    wobble = 1 + np.float32(0.2) * _noise(window, radius, 1.5, rng)
    # slope of exp(-2 d^2), scaled to a largest value of 1
    lit = facing * np.exp(-2 * distance2 * wobble) * np.float32(2 * np.exp(0.5))
    change = np.float32(boost * rng.uniform(28, 75)) * lit - np.float32(8) * np.exp(-2 * distance2)
    under = image[window.rows, window.columns].astype(np.float32)
    return window, under + change[:, :, None]


def _plain_spot(image: Image, rng: np.random.Generator) -> tuple[_Window, FloatMap]:
    """The last resort, visible on any picture: a disc pushed away from the nearer end of the scale."""
    window = _open_window(image, rng, 4)
    under = image[window.rows, window.columns].astype(np.float32)
    inside: npt.NDArray[np.bool_] = window.x**2 + window.y**2 < 3.0**2
    return window, under + inside[:, :, None] * np.where(under < 128, np.float32(50), np.float32(-50))
