"""Do the scores of a run still look like those of the good parts that set the threshold? Said when they begin not to.

Knows a window of scores and when to speak. Does not know the test (drift.py), nor frames.

A window holds the scores of parts that were called good, and is compared with the normal scores that a part called good
can have: both are cut at the threshold. So it does not matter how many defective parts come: they are left out on one
side and could not be on the other. What that misses: defects that pass as good are in the window, and look like drift
where they are many; and a change that only makes good parts NG shows late or not at all, as they leave the window. For
that the share of NG among the last parts is watched too, against a plain limit.

How often that is wrong and how soon it is right (docs/drift_watch_figures.py, skewed scores, a fifth of the parts
defective, 200 normal scores): no alarm in 800,000 parts where nothing changed; a shift up by one standard deviation is
said after 186 parts, down by half of one after 251, spread doubled after 185 (medians of 20). More in
docs/operations.md.
"""

import logging
import math
import threading
from collections import deque

from diffad_runtime.drift import LEAST_WINDOW, Drift, drift
from diffad_runtime.errors import InputError
from diffad_runtime.health.logs import event
from diffad_runtime.manifest import NormalScores
from diffad_runtime.result import Verdict

_LOG = logging.getLogger(__name__)
_LEAST_NORMAL = 20


class DriftWatch:
    """Takes every verdict's score, any thread.

    Args:
        normal_scores: of the manifest, or of the variant that judges.
        image_threshold: in force; scores above it are left out.
        window: scores of parts called good that are compared.
        limit: of the chance that nothing changed; below it drift begins. It ends above the square root of the limit,
            once the window holds only scores that came after the beginning.
        every: parts called good between two comparisons.
        ng_share: of the last `window` parts judged; more NG than that is said as well.

    Raises:
        InputError: a window or a limit that means nothing.
    """

    def __init__(
        self,
        normal_scores: NormalScores,
        image_threshold: float,
        *,
        window: int = 200,
        limit: float = 1e-6,
        every: int = 20,
        ng_share: float = 0.5,
    ) -> None:
        if window < LEAST_WINDOW or not 0 < limit < 1 or every < 1 or not 0 < ng_share <= 1:
            raise InputError(
                f"expected a window of {LEAST_WINDOW} or more, a limit and a share of NG between 0 and 1, a step of 1 "
                f"or more, got {window}, {limit:g}, {ng_share:g} and {every}",
                mend="Leave them at what they are by default",
            )
        self._normal, self._cut = cut_at(normal_scores, image_threshold)
        self._limit, self._every, self._ng_share = limit, every, ng_share
        self._scores: deque[float] = deque(maxlen=window)
        self._ng: deque[bool] = deque(maxlen=window)
        self._fresh = 0  # scores since the last comparison
        self._since = 0  # scores since drift began
        self._drifting = self._storm = False
        self._last: Drift | None = None
        self._lock = threading.Lock()
        self._faults: tuple[str, ...] = ()

    def add(self, score: float, verdict: Verdict) -> None:
        """Take one judgement into account; ERROR and scores that are not finite pass by."""
        if verdict is Verdict.ERROR or not math.isfinite(score):
            return
        with self._lock:
            self._ng.append(verdict is Verdict.NG)
            before = self._faults
            if verdict is Verdict.OK and score <= self._cut:
                self._scores.append(score)
                self._fresh, self._since = self._fresh + 1, self._since + 1
                if self._fresh >= self._every and len(self._scores) == self._scores.maxlen:
                    self._fresh = 0
                    self._compare()
            if len(self._ng) == self._ng.maxlen and (verdict is Verdict.NG or self._storm):
                share = sum(self._ng) / len(self._ng)
                self._storm = share > self._ng_share * (0.8 if self._storm else 1.0)
            self._faults = self._lines()
        self._tell(before, self._faults)

    def faults(self) -> tuple[str, ...]:
        """What is unusual now, a line each."""
        return self._faults

    def gauges(self) -> dict[str, float]:
        """For metrics; nothing before the first comparison."""
        last = self._last
        if last is None:
            return {}
        return {
            "drift_p_value": last.p_value,
            "drift_shift_deviations": last.shift,
            "drift_active": float(self._drifting),
        }

    def _compare(self) -> None:
        if self._normal is None:
            return
        self._last = drift(self._normal, self._scores)
        if not self._drifting and self._last.p_value < self._limit:
            self._drifting, self._since = True, 0
        elif self._drifting and self._last.p_value > math.sqrt(self._limit) and self._since >= len(self._scores):
            self._drifting = False

    def _lines(self) -> tuple[str, ...]:
        lines = []
        if self._drifting and self._last is not None:
            lines.append(
                f"SETUP: scores drift: the last {self._last.window} parts called good lie "
                f"{self._last.shift:+.1f} deviations from those that set the threshold"
            )
        if self._storm:
            lines.append(f"SETUP: many NG: {sum(self._ng)} of the last {len(self._ng)} parts")
        return tuple(lines)

    def _tell(self, before: tuple[str, ...], after: tuple[str, ...]) -> None:
        """Once for each kind that begins, and once for each that ends."""
        kinds_before, kinds_after = ({line.split(":")[1] for line in lines} for lines in (before, after))
        for line in after:
            if line.split(":")[1] not in kinds_before:
                event(_LOG, logging.WARNING, "drift", line)
        for kind in sorted(kinds_before - kinds_after):
            event(_LOG, logging.WARNING, "drift_over", f"no longer:{kind}")


def cut_at(normal: NormalScores, threshold: float) -> tuple[NormalScores | None, float]:
    """The normal scores that a part called good can have, and the largest score to compare with them.

    Only some order statistics are kept, so the cut is at the last of them that is not above the threshold; where none
    of them is above it, at the threshold itself. None where fewer than 20 scores are left: too few to say anything by.
    """
    if normal.values[-1] <= threshold:
        kept, cut = len(normal.values), threshold
    else:
        kept = sum(value <= threshold for value in normal.values)
        cut = normal.values[kept - 1] if kept else -math.inf
    if kept < 2 or normal.ranks[kept - 1] < _LEAST_NORMAL:
        return None, cut
    return NormalScores(count=normal.ranks[kept - 1], ranks=normal.ranks[:kept], values=normal.values[:kept]), cut
