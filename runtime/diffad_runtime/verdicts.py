"""How verdicts combine: a part is as bad as the worst that was found, and nothing makes it better.

Knows the order OK < NG < ERROR. Does not know maps, thresholds or parts.

With `worst` as join the three verdicts are a bounded chain: order and grouping do not matter, repeats change nothing,
and adding a verdict never lowers the outcome. What nobody looked at is ERROR, not OK.
"""

from collections.abc import Iterable

from diffad_runtime.result import Verdict

_SEVERITY = {Verdict.OK: 0, Verdict.NG: 1, Verdict.ERROR: 2}


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """ERROR where one is ERROR or there is none at all, else NG where one is NG, else OK."""
    return max(verdicts, key=_SEVERITY.__getitem__, default=Verdict.ERROR)


def rejects(verdict: Verdict) -> bool:
    """Whether the part leaves the line: everything but OK."""
    return verdict is not Verdict.OK
