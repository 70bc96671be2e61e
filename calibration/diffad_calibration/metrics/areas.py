"""Metrics of counted cells, many weightings at once. The same definitions as aupro.py and curves.py, on Cells.

Every function takes Cells of B rows and gives float64 (B,), NaN in rows that lack normal or defective mass.
"""

import numpy as np
import numpy.typing as npt

from diffad_calibration.metrics.cells import Cells, Mass


def curve(cells: Cells) -> tuple[Mass, Mass, Mass]:
    """False positive rate, true positive rate and PRO at every cell's end, each float64 (B, M + 1) and from 0."""
    share = np.zeros_like(cells.positive) if cells.share is None else cells.share
    return (
        _rising(cells.negative, cells.negative.sum(axis=1)),
        _rising(cells.positive, cells.positive.sum(axis=1)),
        _rising(share, cells.components),
    )


def area_under_pro(cells: Cells, limit: float) -> Mass:
    """(1 / limit) * integral of PRO d(FPR) from 0 to `limit`, the last segment interpolated."""
    fpr, _, pro = curve(cells)
    start, end, low, high = fpr[:, :-1], fpr[:, 1:], pro[:, :-1], pro[:, 1:]
    width = np.clip(np.minimum(end, limit) - start, 0, None)
    at_end = low + (high - low) * _ratio(width, end - start)
    return _where_defined(cells, (width * (low + at_end)).sum(axis=1) / (2 * limit))


def area_under_roc(cells: Cells) -> Mass:
    """Probability that a positive lies above a negative, ties counted half."""
    fpr, tpr, _ = curve(cells)
    return _where_defined(cells, (np.diff(fpr, axis=1) * (tpr[:, 1:] + tpr[:, :-1])).sum(axis=1) / 2)


def average_precision(cells: Cells) -> Mass:
    """Sum of precision times recall gained: the precision at its end for a tie, averaged over the cell for a gap."""
    true, false = np.cumsum(cells.positive, axis=1), np.cumsum(cells.negative, axis=1)
    before_true, before_false = true - cells.positive, false - cells.negative
    end = _ratio(true, true + false)
    middle = _ratio(before_true + true, before_true + true + before_false + false)
    # Where nothing lies above the cell, precision starts at the cell's own mixture.
    start = np.where(before_true + before_false > 0, _ratio(before_true, before_true + before_false), end)
    mean = np.where(cells.tied, end, (start + 4 * middle + end) / 6)  # Simpson's rule
    return _where_defined(cells, _ratio((cells.positive * mean).sum(axis=1), true[:, -1]))


def best_f1(cells: Cells) -> Mass:
    """Largest F1 over the cells' ends."""
    true, false = np.cumsum(cells.positive, axis=1), np.cumsum(cells.negative, axis=1)
    return _where_defined(cells, _ratio(2 * true, true + false + true[:, -1:]).max(axis=1))


def _where_defined(cells: Cells, values: Mass) -> Mass:
    both = (cells.negative.sum(axis=1) > 0) & (cells.positive.sum(axis=1) > 0)
    return np.where(both, values, np.nan)


def _rising(mass: Mass, total: npt.NDArray[np.float64]) -> Mass:
    share = _ratio(np.cumsum(mass, axis=1), total[:, None])
    rising: Mass = np.concatenate([np.zeros((len(mass), 1)), share], axis=1)
    return rising


def _ratio(above: Mass, below: Mass) -> Mass:
    """above / below, 0 where below is 0."""
    return np.divide(above, below, out=np.zeros(np.broadcast_shapes(above.shape, below.shape)), where=below > 0)
