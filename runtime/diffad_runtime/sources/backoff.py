"""How long to wait before the next attempt: longer after each failure, up to a cap, never the same for two cameras.

Pure: the random generator is an argument. Does not know what is attempted.
"""

import random


def backoff(failures: int, *, first_s: float, cap_s: float, jitter: float, rng: random.Random) -> float:
    """Seconds to wait after `failures` failures in a row.

    min(cap_s, first_s * 2 ** (failures - 1)), of which the share `jitter` is replaced by a uniform random part of it.
    Chance only shortens, so that the cap is a promise: whatever comes back is tried within cap_s.

    Args:
        failures: in a row, 1 or more; 0 waits not at all.
        first_s: the longest wait after the first failure, above 0.
        cap_s: the longest wait after any.
        jitter: in [0, 1].
    """
    if failures <= 0:
        return 0.0
    # 2.0 ** 1024 is no float; at 64 doublings any cap is long reached.
    longest = min(cap_s, first_s * 2.0 ** min(failures - 1, 64))
    return longest * (1 - jitter * rng.random())
