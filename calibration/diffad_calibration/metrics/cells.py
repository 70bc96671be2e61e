"""A class's scores counted between a few thousand thresholds: what resampling, drawing and very large sets work on.

The thresholds are scores of the set, dense where normal pixels become rare. Every threshold is a cell of its own, so
that ties stay ties, and so is every gap between two. Counts are exact, only the order inside a gap is lost: within it
all kinds of pixels are taken as evenly mixed. A set with no more distinct scores than thresholds loses nothing.

A count is linear in its images, so a bootstrap resample is a weighted sum. Shapes: B rows (resamples), M cells from the
highest scores down. Knows sorted scores; no image files and no metric names.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from diffad_calibration.metrics.pixels import ImagePixels, PixelStore, Scores

Mass = npt.NDArray[np.float64]

_SAMPLE = 1 << 21  # scores that thresholds are chosen from; any choice is right, a sample's is as good
_CHUNK = 64  # images counted at once, 6 MB


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """Masses of B weightings of one class.

    Attributes:
        negative, positive: float64 (B, M), normal and defective pixels (or images) in each cell, highest scores first.
        share: float64 (B, M), sum over defective pixels of 1 / (pixels of their component); None for image scores.
        components: float64 (B,), defect components.
        tied: bool (M,), cells that hold one score only.
    """

    negative: Mass
    positive: Mass
    share: Mass | None
    components: Mass
    tied: npt.NDArray[np.bool_]


def count_pixels(store: PixelStore, weights: Mass) -> Cells:
    """Count every image `weights` times.

    Args:
        weights: float64 (B, images), how often each image counts in each row.

    Memory: 3 x B x M float64, 50 MB at 500 rows; images are counted a few dozen at a time.
    """
    thresholds = choose_thresholds(store)
    size = 2 * thresholds.size + 1
    negative, positive, share = (np.zeros((len(weights), size)) for _ in range(3))
    components = weights @ np.array([image.sizes.size for image in store.images], np.float64)
    for start in range(0, len(store.images), _CHUNK):
        images = store.images[start : start + _CHUNK]
        part = weights[:, start : start + _CHUNK]
        negative += part @ np.stack([_negative(image, thresholds) for image in images])
        defective = [row for row, image in enumerate(images) if image.positive.size]
        if defective:
            counted = [_positive(images[row], thresholds) for row in defective]
            positive += part[:, defective] @ np.stack([one[0] for one in counted])
            share += part[:, defective] @ np.stack([one[1] for one in counted])
    tied = np.arange(size) % 2 == 1
    return Cells(negative[:, ::-1], positive[:, ::-1], share[:, ::-1], components, tied)


def count_scores(scores: npt.NDArray[np.float64], labels: npt.NDArray[np.int64], weights: Mass) -> Cells:
    """The same for image scores: a cell a distinct score, nothing between.

    Args:
        scores: float64 (N,).
        labels: int64 (N,), 0 = good, 1 = defective.
        weights: float64 (B, N).
    """
    order = np.argsort(-scores, kind="stable")
    first = np.flatnonzero(np.diff(scores[order], prepend=np.inf))
    bad = (labels[order] == 1).astype(np.float64)
    ordered = weights[:, order]
    positive = np.add.reduceat(ordered * bad, first, axis=1)
    negative = np.add.reduceat(ordered * (1 - bad), first, axis=1)
    return Cells(negative, positive, None, np.zeros(len(weights)), np.ones(first.size, np.bool_))


def choose_thresholds(store: PixelStore, negatives: int = 1500, positives: int = 500) -> Scores:
    """About `negatives` + `positives` scores, ascending and distinct; all of them where there are no more."""
    low = _sample([image.negative for image in store.images])[::-1]
    high = _sample([image.positive for image in store.images])[::-1]
    chosen = []
    if high.size:
        ranks = [_even(0, high.size - 1, 3 * positives // 4), _top(high.size, positives // 4)]
        chosen.append(high if high.size <= positives else high[np.unique(np.concatenate(ranks))])
    if low.size:
        last, third = low.size - 1, negatives // 3
        # A third each up to a false positive rate of about 0.06 and 0.35; the rest over all ranks and to the very top.
        ranks = [_even(0, min(last, share * low.size), third) for share in (0.06, 0.35)]
        ranks += [_even(0, last, third // 2), _top(low.size, third // 2)]
        chosen.append(low if low.size <= negatives else low[np.unique(np.concatenate(ranks))])
    return np.unique(np.concatenate(chosen)) if chosen else np.empty(0, np.float32)


def _even(first: float, last: float, count: int) -> npt.NDArray[np.int64]:
    return np.unique(np.linspace(first, last, count).round().astype(np.int64))


def _top(size: int, count: int) -> npt.NDArray[np.int64]:
    """Ranks that thin out by a constant factor."""
    return np.unique((np.geomspace(1, size, count) - 1).round().astype(np.int64))


def _sample(parts: list[Scores]) -> Scores:
    """Every n-th score of each part from its highest down, ascending."""
    step = -(-sum(part.size for part in parts) // _SAMPLE)
    return np.sort(np.concatenate([part[::-1][::step] for part in parts if part.size])) if step else np.empty(0, "f4")


def _negative(image: ImagePixels, thresholds: Scores) -> Mass:
    """float64 (M,), ascending cells: below the first threshold, at it, between the first and the second, ..."""
    sides = [np.searchsorted(image.negative, thresholds, side=side) for side in ("left", "right")]
    edges = np.concatenate([[0], np.stack(sides, axis=1).ravel(), [image.negative.size]])
    scale = image.negatives / image.negative.size if image.negative.size else 0.0
    return np.diff(edges) * scale


def _positive(image: ImagePixels, thresholds: Scores) -> tuple[Mass, Mass]:
    """Pixels, and shares of their components, in each ascending cell."""
    cell = np.searchsorted(thresholds, image.positive, side="left")
    cell += np.searchsorted(thresholds, image.positive, side="right")
    size, kept = 2 * thresholds.size + 1, image.kept()
    pixels, shares = (image.sizes / kept)[image.component], (1.0 / kept)[image.component]
    counted = [np.bincount(cell, weight, minlength=size) for weight in (pixels, shares)]
    return np.asarray(counted[0], np.float64), np.asarray(counted[1], np.float64)


def rows(cells: Cells, most: int = 50) -> Iterator[Cells]:
    """The same, `most` rows at a time."""
    for start in range(0, len(cells.negative), most):
        part = slice(start, start + most)
        share = None if cells.share is None else cells.share[part]
        yield Cells(cells.negative[part], cells.positive[part], share, cells.components[part], cells.tied)
