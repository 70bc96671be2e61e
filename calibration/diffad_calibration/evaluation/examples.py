"""Which test frames are worth a picture: typical ones of each kind, the worst misses, the worst false alarms.

Knows scores and labels. The pictures' look belongs to report/.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from diffad_calibration.evaluation.contestants import Contestant, Display
from diffad_calibration.evaluation.results import ClassResult, Pictures
from diffad_calibration.report.data import Example
from diffad_runtime.masks import defect_mask
from diffad_runtime.result import Image

Scores = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PictureCounts:
    """How many frames to show at most: typical ones, and of the misses and the false alarms each."""

    typical: int = 10
    worst: int = 6


@dataclass(frozen=True, slots=True)
class Choice:
    """Rows of the test set."""

    typical: list[int]
    misses: list[int]
    alarms: list[int]

    @property
    def rows(self) -> list[int]:
        """All of them."""
        return [*self.typical, *self.misses, *self.alarms]


def choose(result: ClassResult, scores: Scores, threshold: float | None, counts: PictureCounts) -> Choice:
    """Pick rows; none is picked twice.

    Without a threshold nothing is a miss: then the defective parts that most good ones outscore, and the good parts
    that outscore most defective ones.
    """
    bad, good = np.flatnonzero(result.labels == 1), np.flatnonzero(result.labels == 0)
    missed, alarming = bad[np.argsort(scores[bad], kind="stable")], good[np.argsort(-scores[good], kind="stable")]
    if threshold is not None:
        missed, alarming = missed[scores[missed] <= threshold], alarming[scores[alarming] > threshold]
    misses, alarms = missed[: counts.worst].tolist(), alarming[: counts.worst].tolist()
    return Choice(_typical(result, scores, counts.typical, {*misses, *alarms}), misses, alarms)


def _typical(result: ClassResult, scores: Scores, most: int, taken: set[int]) -> list[int]:
    """For each kind of defect the median find, then better and worse ones; last the median good part."""
    rows: list[int] = []
    kinds = sorted({kind for kind, label in zip(result.kinds, result.labels, strict=True) if label})
    for rank in (0.5, 0.8, 0.2):
        for kind in kinds:
            rows.append(_at_rank(scores, np.array([k == kind for k in result.kinds]), rank))
    good = result.labels == 0
    tail = [row for row in ([_at_rank(scores, good, 0.5)] if good.any() else []) if row not in taken][:most]
    return [row for row in dict.fromkeys(rows) if row not in taken][: most - len(tail)] + tail


def _at_rank(scores: Scores, chosen: npt.NDArray[np.bool_], rank: float) -> int:
    rows = np.flatnonzero(chosen)
    order = rows[np.argsort(scores[rows], kind="stable")]
    return int(order[round(rank * (len(order) - 1))])


def make_pictures(
    result: ClassResult, choice: Choice, scores: Scores, shown: Contestant, images: Image, masks: Image
) -> Pictures:
    """Ask the model for the parts of its answer on the rows chosen.

    Args:
        scores: of the whole class by `shown`, whose `display` makes the pictures; without one there are none.
        images: uint8 (len(choice.rows), S, S, 3); masks: uint8 (.., S, S).
    """
    if shown.display is None:
        return Pictures()
    made = {
        row: _example(result, row, scores, shown, shown.display, image, mask)
        for row, image, mask in zip(choice.rows, images, masks, strict=True)
    }
    return Pictures(*([made[row] for row in rows] for rows in (choice.typical, choice.misses, choice.alarms)))


def _example(
    result: ClassResult, row: int, scores: Scores, shown: Contestant, display: Display, image: Image, truth: Image
) -> Example:
    parts = display.parts(image)
    height, width = image.shape[:2]
    score, threshold = float(scores[row]), shown.threshold
    return Example(
        name=result.names[row],
        kind=result.kinds[row],
        image=image,
        truth=truth if result.labels[row] else None,
        pixel=parts.pixel,
        feature=parts.feature,
        fused=parts.fused,
        mask=defect_mask(parts.fused, display.pixel_threshold, display.min_defect_pixels, height, width),
        score=score,
        threshold=float("nan") if threshold is None else threshold,
        verdict="" if threshold is None else "NG" if score > threshold else "OK",
        remark=_rank(result.labels, scores, row),
    )


def _rank(truth: npt.NDArray[np.int64], scores: Scores, row: int) -> str:
    """As in "rank 3 of 72 defective parts from the lowest; 5 of 30 good parts score higher"."""
    defective = bool(truth[row] == 1)
    same, other = scores[truth == truth[row]], scores[truth != truth[row]]
    ahead = int((same < scores[row]).sum() if defective else (same > scores[row]).sum())
    beyond = int((other > scores[row]).sum() if defective else (other < scores[row]).sum())
    kind, end = ("defective", "lowest") if defective else ("good", "highest")
    rank = f"rank {ahead + 1} of {same.size} {kind} parts from the {end}"
    if other.size == 0:
        return rank
    return (
        f"{rank}; {beyond} of {other.size} {'good parts score higher' if defective else 'defective parts score lower'}"
    )
