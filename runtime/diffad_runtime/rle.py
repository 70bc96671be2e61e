"""Masks as COCO run lengths: short text that annotation tools, pycocotools and detection code read.

Knows COCO's compressed counts (mask.py and maskApi.c of github.com/cocodataset/cocoapi): runs of 0 and of 1 in turn, 0
first, down the columns; from the fourth run on the difference to the run before the last; five bits a character, lowest
first, bit 6 says that more follow, code 48 is zero. Does not know what a mask shows.
"""

from collections.abc import Mapping
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from diffad_runtime.errors import InputError
from diffad_runtime.extent import extent
from diffad_runtime.result import Image

_ZERO: Final = 48  # "0"
_MOST_PIXELS: Final = 1 << 28
_MOST_CHARACTERS = 7  # of one run: 35 bits
_MEND = "Give a mask as encode() or pycocotools write it"


Rle = dict[str, Any]
"""{"size": [H, W], "counts": the runs, as text}."""


def encode(mask: npt.NDArray[np.uint8] | npt.NDArray[np.bool_]) -> Rle:
    """Run lengths of a mask, the same text as pycocotools gives.

    Args:
        mask: (H, W), bool or uint8; whatever is not 0 belongs to the mask.

    Raises:
        InputError: not such an array.
    """
    if not isinstance(mask, np.ndarray) or mask.ndim != 2 or mask.dtype not in (np.uint8, np.bool_):
        got = f"{mask.dtype} {mask.shape}" if isinstance(mask, np.ndarray) else type(mask).__name__
        raise InputError(f"a mask must be bool or uint8 (H, W), got {got}", mend="Convert it first")
    height, width = mask.shape
    return {"size": [height, width], "counts": _text(_runs(mask.view(np.uint8)))}


def decode(rle: Mapping[str, Any]) -> Image:
    """The mask that `encode`, or pycocotools, made run lengths of.

    Args:
        rle: {"size": [H, W], "counts": text or bytes}.

    Returns:
        uint8 (H, W), 0 or 255.

    Raises:
        InputError: not such a mapping, or its runs do not fill H x W pixels.
    """
    height, width = _size(rle)
    runs = _numbers(rle.get("counts"))
    if (runs < 0).any() or int(runs.sum()) != height * width:
        raise InputError(
            f"run lengths fill {int(runs.sum())} pixels, expected {height} x {width} = {height * width}", mend=_MEND
        )
    values = np.zeros(len(runs), np.uint8)
    values[1::2] = 255
    columns = np.repeat(values, runs).reshape(width, height)
    # numpy's own transposed copy takes several times as long.
    return np.asarray(cv2.transpose(columns), np.uint8) if columns.size else np.zeros((height, width), np.uint8)


def _runs(mask: Image) -> npt.NDArray[np.int64]:
    height = len(mask)
    if mask.size == 0:
        return np.zeros(0, np.int64)
    left, _, across, _ = extent(mask)
    if across == 0:
        return np.array([mask.size], np.int64)
    # Only the columns between the first and the last that hold something are turned and searched.
    columns = np.asarray(cv2.transpose(np.ascontiguousarray(mask[:, left : left + across])), np.uint8).ravel() != 0
    turns = np.flatnonzero(columns[1:] != columns[:-1]) + 1
    first = [0] if columns[0] else []
    last = [columns.size] if columns[-1] else []
    turns = np.concatenate([first, turns, last]).astype(np.int64) + left * height
    runs = np.diff(turns, prepend=0, append=mask.size)
    # Where the mask ends with its last pixel there is no run of 0 after it.
    return runs[:-1] if runs[-1] == 0 else runs


def _text(runs: npt.NDArray[np.int64]) -> str:
    rest = runs.copy()
    rest[3:] -= runs[1:-2]
    codes = np.zeros((len(rest), _MOST_CHARACTERS), np.uint8)
    used = np.zeros(codes.shape, np.bool_)
    open_ = np.ones(len(rest), np.bool_)
    for place in range(_MOST_CHARACTERS):
        if not open_.any():
            break
        used[:, place] = open_
        bits = rest & 31
        rest = rest >> 5
        # Bit 5 is the sign: nothing follows once all that is left repeats it.
        open_ = open_ & (rest != np.where(bits & 16, -1, 0))
        codes[:, place] = bits + np.where(open_, 32, 0) + _ZERO
    return codes[used].tobytes().decode("ascii")


def _numbers(counts: object) -> npt.NDArray[np.int64]:
    if isinstance(counts, str):
        counts = counts.encode("utf-8")
    if not isinstance(counts, bytes):
        raise InputError(f"run lengths are a {type(counts).__name__}, expected text", mend=_MEND)
    codes = np.frombuffer(counts, np.uint8).astype(np.int64) - _ZERO
    if not len(codes):
        return np.zeros(0, np.int64)
    wrong = np.flatnonzero((codes < 0) | (codes > 63))
    if len(wrong):
        at = int(wrong[0])
        raise InputError(f"run lengths hold byte {counts[at]} at {at}, expected 48 to 111", mend=_MEND)
    ends = np.flatnonzero(codes < 32)
    if not len(ends) or ends[-1] != len(codes) - 1:
        raise InputError(f"run lengths stop inside a number after {len(codes)} characters", mend=_MEND)
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() > _MOST_CHARACTERS:
        raise InputError(f"a run takes {lengths.max()} characters, expected {_MOST_CHARACTERS} at most", mend=_MEND)
    place = np.arange(len(codes)) - np.repeat(starts, lengths)
    numbers: npt.NDArray[np.int64] = np.add.reduceat((codes & 31) << (5 * place), starts)
    numbers -= np.where(codes[ends] & 16, np.int64(1) << (5 * lengths), 0)
    numbers[1::2] = np.cumsum(numbers[1::2])
    numbers[2::2] = np.cumsum(numbers[2::2])
    return numbers


def _size(rle: object) -> tuple[int, int]:
    size = rle.get("size") if isinstance(rle, Mapping) else None
    if (
        not isinstance(size, list | tuple)
        or len(size) != 2
        or not all(isinstance(side, int) and not isinstance(side, bool) and side >= 0 for side in size)
    ):
        raise InputError(f"run lengths have the size {size!r:.80}, expected [height, width]", mend=_MEND)
    height, width = size
    if max(height, width) > _MOST_PIXELS or height * width > _MOST_PIXELS:
        raise InputError(f"a mask of {height} x {width} pixels is more than {_MOST_PIXELS}", mend=_MEND)
    return height, width
