"""How pictures of a camera look when all is well: figures, their spread, and a mean picture; on disk beside the bundle.

    NAME.json   figures, and the SHA-256 of the picture
    NAME.png    16 bit, three pictures one above the other: the mean small grey picture (grey levels x 128), its details
                (the same, from 32768), and how much they differ from part to part, pixel by pixel (x 128)

Knows how such a reference is learned, kept and read. Does not know limits or faults (camera.py).
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final, Literal

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from diffad_runtime.atomic import replacing
from diffad_runtime.bundle.golden import GoldenFrame
from diffad_runtime.errors import DataError
from diffad_runtime.health.picture import LONG_SIDE, Look, look, small_size
from diffad_runtime.health.shift import Shift
from diffad_runtime.imagefile import quiet_opencv
from diffad_runtime.result import FloatMap, Image

LEAST_PICTURES: Final = 3
_MAD = 1.4826  # of a normal distribution: standard deviation over median absolute deviation
_FEW = 10  # below that the range is the better guess of a spread
_NEAR = 25  # side of the neighbourhood that a pixel is compared with, pixels of the small picture
_STEPS, _MIDDLE = np.float32(128), np.float32(256)  # of the 16 bit picture: steps a grey level, and where 0 lies
_AGAIN = "Delete both files and let the run learn from good parts again"
_MOST_BYTES = 4 * 1024 * 1024


class Figure(BaseModel):
    """One figure over the pictures learned from: its median, and its robust standard deviation."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    centre: float
    spread: float = Field(ge=0)


class Figures(BaseModel):
    """Contents of the JSON file.

    Figures as in picture.Look; sharpness is None where pictures have too little contrast. `right` and `down`: how far
    single pictures lie from the mean one, in pixels of the small picture.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    schema_version: Literal[1] = 1
    pictures: int = Field(ge=LEAST_PICTURES, description="learned from")
    frame_height: int = Field(ge=16)
    frame_width: int = Field(ge=16)
    sharpness: Figure | None
    brightness: Figure
    contrast: Figure
    saturated: Figure
    blue: Figure
    red: Figure
    right: Figure
    down: Figure
    variety: float = Field(ge=0, description="mean difference between one part's small picture and the next one's")
    picture_sha256: str = Field(default="", pattern="^([0-9a-f]{64})?$")


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """What later pictures are held against.

    Attributes:
        figures: over all pictures learned from.
        mean: float32 (h, w), mean small grey picture.
        details: float32 (h, w), mean of `details` of the pictures.
        spread: float32 (h, w), standard deviation of each pixel of them.
    """

    figures: Figures
    mean: FloatMap
    details: FloatMap
    spread: FloatMap


class Learner:
    """Gathers looks at good parts, 80 to 150 KB each.

    Args:
        height, width: of the frames.

    Attributes:
        looks: so far.
    """

    def __init__(self, height: int, width: int) -> None:
        self.height, self.width = height, width
        self.size = small_size(height, width)
        self.looks: list[Look] = []

    def add(self, seen: Look) -> None:
        """Take one more good part into account."""
        self.looks.append(seen)

    def reference(self) -> Reference:
        """Of all that was added.

        Raises:
            DataError: fewer than LEAST_PICTURES.
        """
        if len(self.looks) < LEAST_PICTURES:
            raise DataError(
                f"a camera reference needs {LEAST_PICTURES} pictures of good parts at least, got {len(self.looks)}",
                mend="Let the run learn from more good parts",
            )
        pictures = [seen.small for seen in self.looks]
        mean = np.asarray(np.mean(pictures, axis=0), np.float32)
        brightness = self._figure("brightness")
        fine = [details(picture, brightness.centre) for picture in pictures]
        spread = np.asarray(np.std(fine, axis=0, ddof=1), np.float32)
        shift = Shift(mean)
        right, down = zip(*(shift.of(picture) for picture in pictures), strict=True)
        figures = Figures(
            pictures=len(pictures),
            frame_height=self.height,
            frame_width=self.width,
            sharpness=None if any(math.isnan(seen.sharpness) for seen in self.looks) else self._figure("sharpness"),
            brightness=brightness,
            contrast=self._figure("contrast"),
            saturated=self._figure("saturated"),
            blue=self._figure("blue"),
            red=self._figure("red"),
            right=_figure(right),
            down=_figure(down),
            variety=float(np.median([difference(one, next_) for one, next_ in pairwise(pictures)])),
        )
        return Reference(figures, mean, np.asarray(np.mean(fine, axis=0), np.float32), spread)

    def _figure(self, name: str) -> Figure:
        return _figure([getattr(seen, name) for seen in self.looks])


def details(small: FloatMap, brightness: float) -> FloatMap:
    """What differs from its neighbourhood, brought to a mean grey level: slow changes of light across are left out."""
    gain = np.float32(brightness / max(1.0, float(small.mean())))
    return np.asarray((small - cv2.blur(small, (_NEAR, _NEAR))) * gain, np.float32)


def difference(small: FloatMap, other: FloatMap) -> float:
    """Mean absolute difference of two small pictures, grey levels."""
    return float(cv2.norm(small, other, cv2.NORM_L1)) / small.size


def learn(images: Sequence[Image]) -> Reference:
    """From pictures of good parts, all of one size, uint8 (H, W, 3) BGR.

    Raises:
        DataError: too few, or of different sizes.
    """
    shapes = sorted({image.shape for image in images})
    if len(shapes) > 1:
        raise DataError(
            f"pictures of one camera have one size, got {shapes[0]} and {shapes[1]}", mend="Leave out the others"
        )
    if not images:
        raise DataError("no picture to learn the camera's reference from", mend="Give pictures of good parts")
    learner = Learner(*shapes[0][:2])
    for image in images:
        learner.add(look(image, learner.size))
    return learner.reference()


def golden_reference(frames: Sequence[GoldenFrame]) -> Reference:
    """From a bundle's golden frames of good parts: a stopgap until the run has learned from its own.

    A bundle holds a few of them, so spreads are guesses and limits are wide. Their size is that of the pictures trained
    on. Where that is not the camera's, sharpness cannot be held against theirs, and the rest can if both show the same.

    Raises:
        DataError: fewer than three good ones, or of different sizes.
    """
    return learn([frame.image for frame in frames if frame.record.get("label") == "good"])


def save_reference(path: Path, reference: Reference) -> None:
    """Write NAME.json and NAME.png, each whole or not at all; the picture first, as the other names its digest.

    Raises:
        InputError: the disk refused.
    """
    levels = np.concatenate([reference.mean, reference.details + _MIDDLE, reference.spread]) * _STEPS
    body = cv2.imencode(".png", np.clip(np.rint(levels), 0, 65535).astype(np.uint16))[1].tobytes()
    with replacing(path.with_suffix(".png")) as temporary:
        temporary.write_bytes(body)
    figures = reference.figures.model_copy(update={"picture_sha256": hashlib.sha256(body).hexdigest()})
    with replacing(path) as temporary:
        temporary.write_text(figures.model_dump_json(indent=2) + "\n", encoding="utf-8")


def load_reference(path: Path) -> Reference:
    """Read both files.

    Raises:
        DataError: one is missing, damaged, or does not belong to the other.
    """
    try:
        text, body = _read(path), _read(path.with_suffix(".png"))
        figures = Figures.model_validate_json(text)
    except OSError as error:
        raise DataError(
            f"the camera reference {path} cannot be read: {error.strerror or error}", mend=_AGAIN
        ) from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise DataError(f"the camera reference {path} is damaged: {place}: {first['msg']}", mend=_AGAIN) from error
    if hashlib.sha256(body).hexdigest() != figures.picture_sha256:
        raise DataError(f"the picture beside {path} is not the one that belongs to it", mend=_AGAIN)
    with quiet_opencv():
        picture = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_UNCHANGED)
    height, width = small_size(figures.frame_height, figures.frame_width)
    if picture is None or picture.shape != (3 * height, width) or picture.dtype != np.uint16:
        raise DataError(
            f"the picture beside {path} is not of 16 bit and {3 * height} x {width} pixels (long side {LONG_SIDE})",
            mend=_AGAIN,
        )
    mean, fine, spread = np.split(np.asarray(picture, np.float32) / _STEPS, 3)
    return Reference(figures, mean, fine - _MIDDLE, spread)


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        body = file.read(_MOST_BYTES + 1)
    if len(body) > _MOST_BYTES:
        raise DataError(f"{path} has more than {_MOST_BYTES >> 20} MiB, a camera reference has far less", mend=_AGAIN)
    return body


def _figure(values: Sequence[float]) -> Figure:
    figures = np.asarray(values, np.float64)
    centre = float(np.median(figures))
    spread = float(np.ptp(figures)) if figures.size < _FEW else _MAD * float(np.median(np.abs(figures - centre)))
    return Figure(centre=centre, spread=spread)
