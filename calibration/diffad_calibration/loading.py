"""Pixels of a data folder: images at the network's input size, masks on the same grid.

Knows how files become arrays. Resizing is the runtime's own function, so that training, evaluation and the line see
the same pixels. Does not know layouts (dataset.py), augmentation or networks.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from diffad_calibration.dataset import SHOWN, Sample
from diffad_runtime.errors import DataError, ImageError
from diffad_runtime.geometry import to_input
from diffad_runtime.imagefile import read_image, read_mask

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class LoadedImages:
    """Images in memory.

    Attributes:
        array: uint8 (N, S, S, 3), BGR.
        names: N names, each the file's name below its folder's, as in "scratch/003.png".
        problems: one line for each file that could not be read; always empty when loaded strictly.
    """

    array: npt.NDArray[np.uint8]
    names: list[str]
    problems: list[str] = field(default_factory=list)


def load_images(
    paths: Sequence[Path], size: int, progress: Progress | None = None, *, strict: bool = True
) -> LoadedImages:
    """Read images and resize each to size x size pixels.

    Args:
        paths: image files.
        size: side of the network's input, pixels.
        progress: called with (images done, images in all) after each.
        strict: refuse the whole set if one file cannot be read; else leave it out and report it in `problems`.

    Raises:
        DataError: files that cannot be read (all are tried, the first five are named, all are counted), or none can.
    """
    images: list[npt.NDArray[np.uint8]] = []
    names: list[str] = []
    problems: list[str] = []
    for done, path in enumerate(paths, start=1):
        try:
            images.append(to_input(read_image(path), size))
            names.append(f"{path.parent.name}/{path.name}")
        except ImageError as error:
            problems.append(error.what)
        if progress is not None:
            progress(done, len(paths))
    if problems and (strict or not images):
        raise _unreadable(problems, len(paths), "images")
    array = np.stack(images) if images else np.empty((0, size, size, 3), np.uint8)
    return LoadedImages(array, names, problems)


def load_masks(samples: Sequence[Sample], size: int) -> npt.NDArray[np.uint8]:
    """Masks of test images on the network's grid, uint8 (N, S, S), 0 or 255; good images have empty ones.

    Nearest neighbour at pixel centres, so that a mask stays binary and does not shift against its resized image.

    Raises:
        DataError: masks that cannot be read; named and counted as in load_images.
    """
    masks = np.zeros((len(samples), size, size), np.uint8)
    problems: list[str] = []
    for index, sample in enumerate(samples):
        if sample.mask is None:
            continue
        try:
            mask = read_mask(sample.mask)
        except ImageError as error:
            problems.append(error.what)
            continue
        masks[index] = cv2.resize(mask, (size, size), interpolation=cv2.INTER_NEAREST_EXACT)
    if problems:
        raise _unreadable(problems, sum(sample.mask is not None for sample in samples), "masks")
    return masks


def _unreadable(problems: list[str], total: int, what: str) -> DataError:
    more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
    return DataError(
        f"{len(problems)} of {total} {what} cannot be read: {'; '.join(problems[:SHOWN])}{more}",
        mend="Replace these files, or move them out of the folder",
    )
