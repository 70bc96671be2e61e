"""What n good images can promise of the next one: ranks and bounds, for every n and any distribution of scores.

All hold where new good parts are exchangeable with the n images, and where nothing else was fitted on these.

Image threshold, the k-th smallest of n scores (split conformal):
  marginal     The next good part is rejected with probability at most (n + 1 - k) / (n + 1), over the draw of the n
               images and of the part. Vovk et al., "Algorithmic Learning in a Random World", 2005, section 4.1.
  conditional  Once the n images are drawn, the share of good parts rejected is a fixed number, by luck above or below
               that. For independent draws it has the distribution Beta(n + 1 - k, k), or lies below it where scores
               tie; its 95 % quantile is exceeded by 5 % of all draws of n images at most. Vovk, "Conditional validity
               of inductive conformal predictors", ACML 2012.

Pixel threshold, a quantile of all pixels of the n maps (conformal risk control: Angelopoulos et al., ICLR 2024,
Theorem 1). The loss of an image is the share of its pixels above the threshold l: it falls with l, is continuous from
the right, and 1 bounds it. With R(l) its mean over the n images, the smallest l with (n R(l) + 1) / (n + 1) <= a has an
expected loss of at most a on the next good image, for an `a` that is fixed before the images are seen.
  The pooled quantile, the smallest l with R(l) <= r, is this same l for a = (n r + 1) / (n + 1): that number is its
  bound. Putting the R that the images came out with in the place of r would be a bound chosen after the fact, which the
  theorem does not cover; where pixels tie, that R is smaller.

Knows counts only; no scores, maps or manifests.
"""

import math
from typing import Final

import numpy as np

CONFIDENCE: Final = 0.95

# (n + 1)(1 - rate) is often a whole number in decimals and just above it in binary; ceil must not see that.
ROUNDING: Final = 1e-9
_PIXEL_ROUNDING = 1e-6  # the same after the product with the pixels of a map, in pixels


def image_rank(images: int, rate: float) -> int:
    """k = ceil((n + 1)(1 - rate)): the k-th smallest score promises the rate; n where so few images cannot."""
    return max(1, min(math.ceil((images + 1) * (1 - rate) - ROUNDING), images))


def marginal_bound(images: int, rank: int) -> float:
    """(n + 1 - k) / (n + 1), see above."""
    return (images + 1 - rank) / (images + 1)


def conditional_bound(images: int, rank: int, confidence: float = CONFIDENCE) -> float:
    """The `confidence` quantile of Beta(n + 1 - k, k), see above; for k = n it is 1 - (1 - confidence)^(1 / n).

    For whole numbers a beta distribution function is a binomial sum, P(Beta(n + 1 - k, k) > x) = P(Bin(n, x) <= n - k);
    it falls with x, so halving an interval finds the quantile.
    """
    above = np.arange(1, images - rank + 1)
    log_choose = np.concatenate([[0.0], np.cumsum(np.log((images - above + 1) / above))])
    hits = np.arange(images - rank + 1)
    low, high = 0.0, 1.0
    for _ in range(100):
        middle = (low + high) / 2
        if middle in {low, high}:
            break
        log_terms = log_choose + hits * math.log(middle) + (images - hits) * math.log1p(-middle)
        if np.exp(log_terms).sum() > 1 - confidence:
            low = middle
        else:
            high = middle
    return high


def uniform_bound(images: int, rejected: int, confidence: float = CONFIDENCE) -> float:
    """Upper bound on the share of good parts above a threshold that may have been chosen in any way, on any images.

    The observed share of n good images plus sqrt(ln(1 / (1 - confidence)) / 2n): the Dvoretzky-Kiefer-Wolfowitz
    inequality with Massart's constant (Annals of Probability 1990, Corollary 1) holds for all thresholds at once.
    """
    return min(1.0, rejected / images + math.sqrt(math.log(1 / (1 - confidence)) / (2 * images)))


def images_needed(rate: float) -> int:
    """Least n whose largest score promises the rate: 1 / (n + 1) <= rate."""
    return max(1, math.ceil(1 / rate - ROUNDING) - 1)


def pixel_images_needed(rate: float) -> int:
    """Images from which the pixel threshold promises its rate: 2 / (n + 1) <= rate.

    The theorem asks for half as many, but grants these a threshold at the largest pixel of all, where one odd pixel
    decides what every mask shows. From here on it leaves half of the rate or more.
    """
    return max(1, math.ceil(2 / rate - ROUNDING) - 1)


def pixels_above(images: int, pixels: int, rate: float) -> int:
    """How many of the n maps' pixels may lie above the pixel threshold.

    With pixel_images_needed(rate) images or more, so many that the theorem promises the rate. With fewer, so many that
    their share is the rate: the pooled quantile.

    Args:
        images: n; pixels: of one map.
    """
    few = images < pixel_images_needed(rate)
    share = rate * images if few else (images + 1) * rate - 1
    return min(math.floor(share * pixels + _PIXEL_ROUNDING), images * pixels - 1)


def pixel_bound(images: int, pixels: int, above: int) -> float:
    """Bound on the expected share of a new good image's pixels above a threshold that leaves `above` of all above it.

    `above` is what was allowed, a function of counts alone, and not how many came out above where pixels tie.
    """
    return min(1.0, (above / pixels + 1) / (images + 1))
