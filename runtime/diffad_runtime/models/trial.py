"""Is a model on trial well? A pure function of what was seen: go on, commit, or roll back, and why.

Knows limits and how sure one must be. Does not know who counts (probation.py), nor what is done about it.

Four rules. The engine failed so many times in a row. Too many parts are ERROR by the model's fault. Too many are slower
than the generation before was at its 99th percentile, with some slack: more than one in a hundred is a higher
percentile. The share of NG parts lies outside the band that is expected. The last three are counts of parts, and a
limit is a chance that each part has: an exact binomial test says whether a count can be by chance, so ten parts are not
judged by what a thousand would show. While parts come in, a rule that is broken beyond doubt (p < `early_p`, as it is
asked at every look) ends the trial at once; at its end, p < `final_p` does, and without that the trial is committed.
"""

import math
from dataclasses import dataclass
from enum import Enum

from diffad_runtime.errors import InputError
from diffad_runtime.models.binomial import at_least, at_most

_LEAST_FOR_NG = 20


@dataclass(frozen=True, slots=True)
class TrialSettings:
    """Limits of a trial.

    Attributes:
        commit_parts, commit_s: a trial ends once it judged so many parts and runs so many seconds.
        steady_parts: after so many parts without a broken rule, the starts so far are forgotten.
        most_starts: a trial is started so often without reaching `steady_parts`; then it is rolled back.
        most_failures: of the engine in a row.
        error_share: parts that may be ERROR by the model's fault.
        p99_factor, p99_slack_ms: how much slower than the 99th percentile of the generation before.
        ng_band: (lowest, highest) expected share of NG parts; None: from the generation before, a quarter to four times
            its share and 2 % on top; without one, 0 to a half.
        early_p, final_p: how unlikely a count must be, at any look and at the end.
        automatic: commit by itself at the end; False: wait for a person. Rolled back is either way.

    Raises:
        InputError: a value out of its range.
    """

    commit_parts: int = 300
    commit_s: float = 600.0
    steady_parts: int = 50
    most_starts: int = 3
    most_failures: int = 3
    error_share: float = 0.02
    p99_factor: float = 1.5
    p99_slack_ms: float = 5.0
    ng_band: tuple[float, float] | None = None
    early_p: float = 1e-6
    final_p: float = 1e-3
    automatic: bool = True

    def __post_init__(self) -> None:
        low, high = (0.0, 1.0) if self.ng_band is None else self.ng_band
        good = {
            "commit_parts": self.commit_parts >= 1,
            "commit_s": 0 <= self.commit_s < math.inf,
            "steady_parts": self.steady_parts >= 1,
            "most_starts": self.most_starts >= 1,
            "most_failures": self.most_failures >= 1,
            "error_share": 0 < self.error_share < 1,
            "p99_factor": 1 <= self.p99_factor < math.inf,
            "p99_slack_ms": 0 <= self.p99_slack_ms < math.inf,
            "ng_band": 0 <= low <= high <= 1,
            "early_p": 0 < self.early_p <= self.final_p,
            "final_p": self.early_p <= self.final_p < 1,
        }
        for name, fits in good.items():
            if not fits:
                raise InputError(
                    f"the trial's {name} is {getattr(self, name)}, which is out of its range", mend="See docs/models.md"
                )


@dataclass(frozen=True, slots=True)
class Reference:
    """What the generation before did: parts judged, NG among them, 99th percentile of the judgement in milliseconds."""

    parts: int
    ng: int
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Observed:
    """What a trial did so far, parts that nobody could have judged (no picture, camera away) left out.

    Attributes:
        judged: parts that are OK or NG.
        ng: NG among them.
        slow: slower than `slow_from_ms` among them; 0 without a limit.
        errors: parts that are ERROR by the model's fault.
        failures: of the engine, in a row, until now.
        seconds: since the trial was started.
    """

    judged: int
    ng: int
    slow: int
    errors: int
    failures: int
    seconds: float


class Action(str, Enum):
    """What to do with a trial."""

    KEEP = "keep going"
    COMMIT = "commit"
    ROLL_BACK = "roll back"


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do, and why, in one line."""

    action: Action
    reason: str


def slow_from_ms(settings: TrialSettings, reference: Reference | None) -> float:
    """A judgement that takes longer counts as slow; infinite where nothing is known of the generation before."""
    return math.inf if reference is None else settings.p99_factor * reference.p99_ms + settings.p99_slack_ms


def ng_band(settings: TrialSettings, reference: Reference | None) -> tuple[float, float]:
    """(Lowest, highest) share of NG parts that is expected."""
    if settings.ng_band is not None:
        return settings.ng_band
    if reference is None:
        return 0.0, 0.5
    share = reference.ng / reference.parts
    return share / 4, min(1.0, 4 * share + 0.02)


def decide(
    settings: TrialSettings, seen: Observed, reference: Reference | None = None, *, alone: bool = False
) -> Decision:
    """What to do with a trial now.

    Args:
        settings: the limits.
        seen: so far.
        reference: what the generation before did on its own trial, where that is known.
        alone: there is no other generation: then the trial is never rolled back, only not committed.
    """
    if seen.failures >= settings.most_failures:
        return _broken(f"the engine failed {seen.failures} times in a row", alone)
    if fault := _fault(settings, seen, reference, settings.early_p):
        return _broken(fault, alone)
    if seen.judged < settings.commit_parts or seen.seconds < settings.commit_s:
        return Decision(
            Action.KEEP,
            f"{seen.judged} of {settings.commit_parts} parts, {seen.seconds:.0f} of {settings.commit_s:.0f} s",
        )
    if fault := _fault(settings, seen, reference, settings.final_p):
        return _broken(fault, alone)
    told = f"{seen.judged} parts, {seen.ng} NG, {seen.errors} ERROR, {seen.slow} slow in {seen.seconds:.0f} s"
    if not settings.automatic:
        return Decision(Action.KEEP, f"fit to be committed by hand: {told}")
    return Decision(Action.COMMIT, told)


def _fault(settings: TrialSettings, seen: Observed, reference: Reference | None, p: float) -> str:
    """The first rule that is broken and cannot be by chance, "" where none is."""
    parts, share = seen.judged + seen.errors, settings.error_share
    if at_least(seen.errors, parts, share) < p:
        return f"{seen.errors} of {parts} parts are ERROR by the model's fault, expected {share:.1%} at most"
    if at_least(seen.slow, seen.judged, 0.01) < p:
        limit = slow_from_ms(settings, reference)
        return f"{seen.slow} of {seen.judged} parts took longer than {limit:.1f} ms, expected 1 % at most"
    if seen.judged < _LEAST_FOR_NG:
        return ""
    low, high = ng_band(settings, reference)
    if at_least(seen.ng, seen.judged, high) < p or at_most(seen.ng, seen.judged, low) < p:
        return f"{seen.ng} of {seen.judged} parts are NG, expected {low:.2%} to {high:.2%}"
    return ""


def _broken(fault: str, alone: bool) -> Decision:
    if alone:
        return Decision(Action.KEEP, f"to be rolled back, but there is no other model: {fault}")
    return Decision(Action.ROLL_BACK, fault)
