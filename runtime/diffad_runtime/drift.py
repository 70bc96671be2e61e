"""Has the line changed? How likely a window of scores is, beside the scores of the good parts that set the threshold.

Knows the manifest's normal scores and numbers. Does not know frames, nor what to do about it. A window of good parts is
asked for: a defective part scores high, so a window with many of them is unusual, as it should be.

The test is Cucconi's (O. Cucconi, Giornale degli Economisti 1968; M. Marozzi, Journal of Nonparametric Statistics 21,
2009): sums of squared ranks and of squared contrary ranks, which feel a shift up, a shift down, and a spread that grows
or shrinks, all in one figure whose null distribution is close to exponential. Ranks only: the scores' own distribution
does not matter.

Chosen by simulation: normal scores and windows of a skewed distribution (gamma, shape 4), 300 pairs a cell (3,000 for
"nothing"), share with p < 0.01 for 200 normal scores and a window of 10 / 50 / 200. KS and Kuiper with Stephens'
small-sample corrections, AD is the two-sample Anderson-Darling test:

    change                 Cucconi               KS                    Kuiper                AD
    nothing                .009 / .009 / .007    .009 / .009 / .006    .011 / .008 / .007    .010 / .009 / .007
    up by 0.5 deviations   .09 / .78 / 1.0       .11 / .74 / .99       .04 / .46 / .94       .12 / .83 / 1.0
    down by 0.5            .24 / .82 / .99       .15 / .67 / .99       .07 / .42 / .94       .29 / .85 / 1.0
    up by 1                .58 / 1.0 / 1.0       .69 / 1.0 / 1.0       .41 / 1.0 / 1.0       .77 / 1.0 / 1.0
    down by 1              .72 / 1.0 / 1.0       .56 / 1.0 / 1.0       .34 / 1.0 / 1.0       .81 / 1.0 / 1.0
    spread doubled         .48 / .99 / 1.0       .09 / .45 / 1.0       .28 / .96 / 1.0       .39 / .93 / 1.0
    spread halved          .06 / 1.0 / 1.0       .01 / .36 / 1.0       .23 / .98 / 1.0       .00 / .62 / 1.0
    every fifth part bad   .16 / .59 / .96       .06 / .33 / .87       .03 / .23 / .73       .17 / .56 / .95

AD sees a shift a little sooner, Cucconi a spread much sooner; KS lags behind both. With 40 normal scores instead of 200
a window of 200 has .74 for a shift up by 0.5 and 1.0 for one by 1: few normal scores bound what any window can show.
Far out the exponential is exact enough for windows of 50 (p < 1e-4 in .009 % of 400,000 pairs with nothing changed);
those of 10 have p < 1e-3 in .14 % and p < 1e-5 in .003 % (2,000,000 pairs).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from diffad_runtime.errors import InputError
from diffad_runtime.manifest import NormalScores

LEAST_WINDOW = 5
_NORMAL_IQR = 1.349  # interquartile range of a normal distribution, in standard deviations


@dataclass(frozen=True, slots=True)
class Drift:
    """How a window of scores lies beside the normal ones.

    Attributes:
        p_value: chance of a window at least this unusual if nothing changed, in (0, 1]. One window in a hundred is
            below 0.01 by itself: a line that looks every minute wants a limit far lower, such as 1e-6.
        shift: median of the window minus that of the normal scores, in robust standard deviations of these
            (interquartile range / 1.349); above 0 parts look more anomalous than they did. Infinite where the normal
            scores have no spread.
        window: scores looked at.
    """

    p_value: float
    shift: float
    window: int


def drift(normal: NormalScores, window: Sequence[float] | npt.NDArray[np.floating]) -> Drift:
    """Compare a window of new scores with the normal ones; their order does not matter.

    The chance is taken over both, new scores and normal ones. For one bundle the normal scores are what they are: few
    of them, drawn unluckily, look unlike every later window, and the larger the window, the more surely so.

    Args:
        normal: of the manifest.
        window: image scores of parts, at least 5.

    Raises:
        InputError: fewer scores, or one that is not finite.
    """
    new = np.sort(np.asarray(window, np.float64).ravel())
    if new.size < LEAST_WINDOW or not np.isfinite(new).all():
        raise InputError(
            f"drift is judged on at least {LEAST_WINDOW} finite scores, got {np.isfinite(new).sum()} of {new.size}",
            mend="Wait for more parts, and leave out those without a score",
        )
    low, middle, high = np.interp(
        [0.25, 0.5, 0.75], (np.array(normal.ranks) - 1) / (normal.count - 1), np.array(normal.values)
    )
    deviation, moved = (high - low) / _NORMAL_IQR, float(np.median(new) - middle)
    shift = moved / deviation if deviation > 0 else math.copysign(math.inf, moved) if moved else 0.0
    return Drift(_p_value(normal, new), float(shift), int(new.size))


def _p_value(normal: NormalScores, new: npt.NDArray[np.float64]) -> float:
    """exp(-C) with Cucconi's C (Marozzi 2009, section 2), in his letters: n normal scores, m new ones."""
    n, m = normal.count, new.size
    N = n + m
    squares, contrary = _squared_ranks(normal, new)
    mean = m * (N + 1) * (2 * N + 1)
    deviation = math.sqrt(m * n * (N + 1) * (2 * N + 1) * (8 * N + 11) / 5)
    U, V = (6 * squares - mean) / deviation, (6 * contrary - mean) / deviation
    rho = 2 * (N * N - 4) / ((2 * N + 1) * (8 * N + 11)) - 1
    C = (U * U + V * V - 2 * rho * U * V) / (2 * (1 - rho * rho))
    return math.exp(-min(C, 700.0))


def _squared_ranks(normal: NormalScores, new: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Sums over the new scores of the squared rank among all, and of the squared rank counted from above.

    Equal scores share the mean of the squares of the ranks that they take up: with the square of their mean rank,
    scores that are all equal would look like a change.
    """
    below, upto = _counts(normal, new)
    first = below + np.searchsorted(new, new, side="left")
    last = upto + np.searchsorted(new, new, side="right")
    all_scores = normal.count + new.size
    return float(_mean_square(first, last).sum()), float(_mean_square(all_scores - last, all_scores - first).sum())


def _mean_square(first: npt.NDArray[np.float64], last: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Mean of r^2 over the ranks first + 1 .. last."""
    t = last - first
    return first * first + first * (t + 1) + (t + 1) * (2 * t + 1) / 6


def _counts(
    normal: NormalScores, new: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """How many normal scores lie below each new one, and how many not above it; exact where all were kept.

    Between two kept scores of ranks a < b there are b - a - 1 others: a new score there has between a and b - 1 below
    it, interpolated by where it lies.
    """
    ranks, values = np.array(normal.ranks, np.float64), np.array(normal.values)
    left, right = np.searchsorted(values, new, side="left"), np.searchsorted(values, new, side="right")
    a = np.concatenate([[0.0], ranks])[left]
    b = np.concatenate([ranks, [normal.count + 1.0]])[left]
    edges = np.concatenate([values[:1], values, values[-1:]])
    gap = edges[left + 1] - edges[left]
    share = np.divide(new - edges[left], gap, out=np.zeros_like(new), where=gap > 0)
    between = a + share.clip(0, 1) * (b - 1 - a)
    kept = right > left
    return np.where(kept, b - 1, between), np.where(kept, ranks[np.maximum(right, 1) - 1], between)
