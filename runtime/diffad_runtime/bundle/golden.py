"""Golden frames: pictures with their known answer, for a device to check its own engines with.

    golden/NN.png    the frame
    golden/NN.json   what the exporter measured on it: label, score, verdict, map_mean, map_max
    golden/NN.f16    optional: torch's own map of it, raw little-endian float16, S x S values, row by row

Knows these members, both ways. Does not know engines, nor how near an answer must come (selfcheck.py).
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np

from diffad_runtime.bundle.strictjson import parse_object
from diffad_runtime.errors import BundleError, DataError, ImageError
from diffad_runtime.imagefile import decode_image
from diffad_runtime.parity import FrameOutcome
from diffad_runtime.result import FloatMap, Image

FOLDER: Final = "golden/"
_HALF = np.dtype("<f2")
_MAX_PIXELS = 64_000_000  # of all frames together: they are held at once, 3 bytes a pixel
_PNG_HEADER = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
_EXPORT_AGAIN = "Export the bundle again with 'diffad-edge export'"


@dataclass(frozen=True, slots=True, eq=False)
class GoldenFrame:
    """A frame with its known answer.

    Attributes:
        name: as in "03".
        image: uint8 (H, W, 3), BGR.
        record: what the exporter measured on it; selfcheck.py says which keys it needs.
        map: float32 (S, S), torch's own, rounded to float16; None where the bundle keeps none.
    """

    name: str
    image: Image
    record: dict[str, Any]
    map: FloatMap | None = None


def golden_members(number: int, image: Image, outcome: FrameOutcome, label: str) -> dict[str, bytes]:
    """Members of one golden frame, by name.

    A map with values beyond float16 is left out: the record then stands alone.

    Args:
        number: of the frame, 0 to 99.
        image: uint8 (H, W, 3), BGR.
        outcome: torch's.
        label: what is on the picture, as in "good" or "pasted defect".

    Raises:
        DataError: a number out of range, or NaN or infinity in the outcome.
    """
    if not 0 <= number <= 99:
        raise DataError(f"a bundle numbers its golden frames 0 to 99, got {number}", mend="Take fewer frames")
    if not (np.isfinite(outcome.map).all() and np.isfinite(outcome.score)):
        raise DataError(
            f"golden frame {number} has a map or a score with NaN or infinite values", mend="Train the model again"
        )
    record = {
        "label": label,
        "score": outcome.score,
        "verdict": "NG" if outcome.ng else "OK",
        "map_mean": float(outcome.map.mean(dtype=np.float64)),
        "map_max": float(outcome.map.max()),
    }
    members = {
        f"{FOLDER}{number:02d}.png": bytes(cv2.imencode(".png", image)[1]),
        f"{FOLDER}{number:02d}.json": json.dumps(record, indent=2).encode() + b"\n",
    }
    with np.errstate(over="ignore"):
        half = outcome.map.astype(_HALF)
    if np.isfinite(half).all():
        members[f"{FOLDER}{number:02d}.f16"] = half.tobytes()
    return members


def read_golden(members: Mapping[str, memoryview]) -> list[GoldenFrame]:
    """Golden frames of a verified bundle, in the order of their names.

    Raises:
        BundleError: a picture that cannot be decoded.
    """
    frames = []
    for stem in _stems(members):
        try:
            image = decode_image(bytes(members[f"{stem}.png"]), repr(f"{stem}.png"), flags=cv2.IMREAD_COLOR)
        except ImageError as error:
            raise BundleError(f"a golden frame cannot be used: {error.what}", mend=_EXPORT_AGAIN) from error
        record = parse_object(members[f"{stem}.json"], f"{stem}.json")
        reference: FloatMap | None = None
        if f"{stem}.f16" in members:
            values = np.frombuffer(members[f"{stem}.f16"], _HALF)
            side = round(values.size**0.5)
            reference = values.reshape(side, side).astype(np.float32)
        frames.append(GoldenFrame(stem[len(FOLDER) :], np.asarray(image, np.uint8), record, reference))
    return frames


def check_golden_members(members: Mapping[str, memoryview], input_size: int) -> None:
    """Whether all golden members are whole and of the stated form; sizes before contents.

    Args:
        members: all of the bundle's.
        input_size: S of the manifest.

    Raises:
        BundleError: a member without its partners, of another kind, too large, not finite, or not valid JSON.
    """
    pixels = 0
    for name in sorted(name for name in members if name.startswith(FOLDER)):
        stem, _, suffix = name.rpartition(".")
        partners = {"png": ("json",), "json": ("png",), "f16": ("png", "json")}.get(suffix)
        if partners is None or not all(f"{stem}.{partner}" in members for partner in partners):
            raise BundleError(
                f"member {name!r} has no partner; a golden frame is NN.png and NN.json, and NN.f16 where it has a map",
                mend=_EXPORT_AGAIN,
            )
        if suffix == "json":
            parse_object(members[name], name)
        elif suffix == "png":
            pixels += _pixels(members[name], name)
            if pixels > _MAX_PIXELS:
                raise BundleError(
                    f"the golden frames have more than {_MAX_PIXELS} pixels", mend="Take fewer or smaller"
                )
        else:
            _check_map(members[name], name, input_size)


def _stems(members: Mapping[str, memoryview]) -> Iterator[str]:
    return (name[: -len(".png")] for name in sorted(members) if name.startswith(FOLDER) and name.endswith(".png"))


def _pixels(body: memoryview, name: str) -> int:
    """Of a PNG, by its head. Looked at before anything decodes it: a few bytes of PNG can unfold to gigabytes."""
    header = bytes(body[:24])
    pixels = int.from_bytes(header[16:20], "big") * int.from_bytes(header[20:24], "big")
    if header[:16] != _PNG_HEADER or not 0 < pixels <= _MAX_PIXELS:
        raise BundleError(f"member {name!r} is not a PNG of at most {_MAX_PIXELS} pixels", mend=_EXPORT_AGAIN)
    return pixels


def _check_map(body: memoryview, name: str, input_size: int) -> None:
    expected = _HALF.itemsize * input_size**2
    if len(body) != expected:
        raise BundleError(
            f"member {name!r} has {len(body)} bytes, a float16 map of {input_size} x {input_size} has {expected}",
            mend=_EXPORT_AGAIN,
        )
    if not np.isfinite(np.frombuffer(body, _HALF)).all():
        raise BundleError(f"member {name!r} holds NaN or infinite values", mend=_EXPORT_AGAIN)
