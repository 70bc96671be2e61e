"""The pixels of one class, collected map by map in bounded memory: exact up to a limit, thinned beyond it.

A thinned set keeps every second score, in order of size, of each image's normal pixels and of each defect component, as
often as needed. Each of these strata keeps its full weight, so an image counts by its pixels and a component by one.
Where the kept ranks begin varies from stratum to stratum (golden-ratio sequence), so that their errors cancel.

Memory: 4 bytes a normal pixel and 8 a defect pixel up to `limit`, at most; thinning works image by image. Error: after
k halvings an image's share of pixels above any threshold is off by at most 2^k / (its pixels), the pooled share by far
less. Knows maps and masks; no image scores, no metric.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from diffad_runtime.errors import DataError

Scores = npt.NDArray[np.float32]
Mask = npt.NDArray[np.generic] | None

EXACT_PIXELS: Final = 1 << 25
"""512 maps of 256 x 256 pixels, 134 MB of scores."""

_SMALLEST = 256  # strata of no more scores are never thinned: little to save, much to lose
_GOLDEN = 0.6180339887498949
_ABSENT: Final = "absent"


@dataclass(frozen=True, slots=True, eq=False)
class ImagePixels:
    """One image's scores.

    Attributes:
        negative: float32 (n,), scores of ground-truth-negative pixels, ascending.
        negatives: pixels that they stand for, n where nothing was thinned.
        positive: float32 (p,), scores of ground-truth-positive pixels, by component, ascending inside each.
        component: int32 (p,), the 8-connected component that each belongs to, from 0, ascending.
        sizes: int64 (c,), pixels in each component.
    """

    negative: Scores
    negatives: int
    positive: Scores
    component: npt.NDArray[np.int32]
    sizes: npt.NDArray[np.int64]

    def kept(self) -> npt.NDArray[np.int64]:
        """int64 (c,), scores kept of each component, at least one."""
        return np.bincount(self.component, minlength=self.sizes.size).astype(np.int64)

    @property
    def held(self) -> int:
        """Scores in memory."""
        return self.negative.size + self.positive.size


class PixelStore:
    """Maps in, sorted scores out.

    Args:
        limit: scores to hold; None for all of them. More pixels are thinned to at most this, as long as no stratum
            falls below 128 scores.

    Attributes:
        images: in the order they came.
        halvings: times that the scores were thinned; 0 = exact.
    """

    def __init__(self, limit: int | None = EXACT_PIXELS) -> None:
        self.limit = limit
        self.images: list[ImagePixels] = []
        self.halvings = 0
        self._held = 0

    def add(self, scores: Scores, mask: Mask) -> None:
        """Take one map.

        Args:
            scores: float32 (H, W); sizes may differ between images.
            mask: (H, W), non-zero = defect; None = no defect.

        Raises:
            DataError: the map holds NaN, or map and mask differ in shape.
        """
        index = len(self.images)
        image = _split(np.asarray(scores, np.float32), mask, index)
        for halving in range(self.halvings):
            image = _halve(image, index, halving)
        self.images.append(image)
        self._held += image.held
        while self.limit is not None and self._held > self.limit:
            before = self._held
            for place, old in enumerate(self.images):
                self.images[place] = _halve(old, place, self.halvings)
            self.halvings += 1
            self._held = sum(image.held for image in self.images)
            if self._held == before:
                break

    @property
    def negatives(self) -> int:
        """Normal pixels of all images."""
        return sum(image.negatives for image in self.images)

    @property
    def positives(self) -> int:
        """Defect pixels of all images."""
        return sum(int(image.sizes.sum()) for image in self.images)

    @property
    def components(self) -> int:
        """Defect components of all images."""
        return sum(image.sizes.size for image in self.images)


def paired(maps: Iterable[Scores], masks: Iterable[Mask]) -> Iterator[tuple[Scores, Mask]]:
    """Maps with their masks.

    Raises:
        DataError: there are not as many maps as masks.
    """
    for index, (scores, mask) in enumerate(zip_longest(maps, masks, fillvalue=_ABSENT)):
        if isinstance(scores, str) or isinstance(mask, str):
            raise DataError(
                f"maps and masks differ in number, one ends after {index}", mend="Give one mask, or None, a map"
            )
        yield scores, mask


def _split(scores: Scores, mask: Mask, index: int) -> ImagePixels:
    if np.isnan(scores).any():
        raise DataError(f"anomaly map {index} holds NaN", mend="Check the model that made it before measuring it")
    if mask is None or not mask.any():
        none = np.empty(0, np.float32)
        return ImagePixels(np.sort(scores, axis=None), scores.size, none, np.empty(0, np.int32), np.empty(0, np.int64))
    if mask.shape != scores.shape:
        raise DataError(
            f"anomaly map {index} is {scores.shape} and its mask is {mask.shape}",
            mend="Resize the mask (nearest) to the map's size",
        )
    defect = mask != 0
    count, labels = cv2.connectedComponents(defect.astype(np.uint8), connectivity=8)
    inside, component = scores[defect], labels[defect].astype(np.int32) - 1
    order = np.lexsort((inside, component))
    negative = np.sort(scores[~defect])
    sizes = np.bincount(component, minlength=count - 1).astype(np.int64)
    return ImagePixels(negative, negative.size, inside[order], component[order], sizes)


def _halve(image: ImagePixels, index: int, halving: int) -> ImagePixels:
    """Every second score of each stratum, beginning with the first or the second."""
    negative = image.negative
    if negative.size > _SMALLEST:
        negative = negative[_begin(float(index), halving) :: 2].copy()
    kept = image.kept()
    if not (kept > _SMALLEST).any():
        return ImagePixels(negative, image.negatives, image.positive, image.component, image.sizes)
    begins = np.array([_begin(index + _GOLDEN * (c + 1), halving) for c in range(kept.size)])
    rank = np.arange(image.positive.size) - np.repeat(np.cumsum(kept) - kept, kept)
    stay = (rank % 2 == begins[image.component]) | (kept <= _SMALLEST)[image.component]
    return ImagePixels(negative, image.negatives, image.positive[stay], image.component[stay], image.sizes)


def _begin(place: float, halving: int) -> int:
    """0 or 1: binary digit number `halving` of a sequence that fills the unit interval evenly."""
    return int((place * _GOLDEN % 1.0) * 2.0 ** (halving + 1)) & 1
