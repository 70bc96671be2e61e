"""How likely so many of so many are, exactly, where each is one with the same chance.

Knows the binomial distribution's tails. Does not know parts.
"""

import math


def at_least(k: int, n: int, p: float) -> float:
    """P(X >= k) for X ~ Binomial(n, p).

    Summed from k on, away from the mean where k lies above it, so that small tails are as exact as large ones. A tail
    across the mean is one minus the other.
    """
    if k <= 0:
        return 1.0
    if k > n or p <= 0:
        return 0.0
    if p >= 1:
        return 1.0
    if k <= n * p:
        return max(0.0, 1.0 - _upper(n - k + 1, n, 1 - p))
    return _upper(k, n, p)


def at_most(k: int, n: int, p: float) -> float:
    """P(X <= k) for X ~ Binomial(n, p)."""
    return at_least(n - k, n, 1 - p)


def _upper(k: int, n: int, p: float) -> float:
    """P(X >= k) for k above the mean: terms fall from the first on, each a known share of the one before."""
    log_first = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) + k * math.log(p)
    term = math.exp(log_first + (n - k) * math.log1p(-p))
    total, odds = term, p / (1 - p)
    for j in range(k, n):
        term *= (n - j) / (j + 1) * odds
        total += term
        if term <= total * 1e-17:
            break
    return min(1.0, total)
