"""The handshake: hand-written sequences, and any interleaving of triggers, verdicts, acknowledgements and time."""

from dataclasses import dataclass, field
from datetime import datetime, timezone

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from diffad_runtime.line import handshake as hands
from diffad_runtime.line.handshake import Handshake, Rules, Signals, Step, signals
from diffad_runtime.line.job import Job, Outcome, Request
from diffad_runtime.result import ErrorCode, Result, Verdict


def _ready(**rules: float) -> Handshake[str]:
    return hands.stationed(Handshake(Rules(**rules)), True)  # type: ignore[arg-type]


def _shown(handshake: Handshake[str]) -> str | None:
    return handshake.shown.outcome if handshake.shown else None


def test_one_part_by_levels() -> None:
    step = hands.trigger_level(_ready(), True)
    assert step.job
    assert not hands.trigger_level(step.handshake, True).job
    step = hands.decided(hands.trigger_level(step.handshake, False).handshake, "a", 1.0)
    assert (step.raised, step.handshake.open, step.handshake.results_ready) == ("a", 0, True)
    step = hands.ack_level(step.handshake, True, 1.5)
    assert (step.handshake.results_ready, step.handshake.counts.acknowledged) == (False, 1)


def test_numbers_trigger_by_change_and_only_once() -> None:
    handshake = _ready()
    jobs = []
    for number in (0, 5, 5, 0, 5, 6, 6, 65535, 1, 5):
        step = hands.trigger_number(handshake, number)
        handshake = step.handshake
        jobs.append(step.job)
    assert jobs == [False, True, False, False, False, True, False, True, True, True]
    assert handshake.counts.repeated == 3


def test_a_level_that_is_still_high_acknowledges_nothing() -> None:
    handshake = hands.ack_level(_ready(), True, 0.0).handshake
    handshake = hands.decided(handshake, "a", 1.0).handshake
    handshake = hands.ack_level(handshake, True, 2.0).handshake
    assert _shown(handshake) == "a"
    handshake = hands.ack_level(hands.ack_level(handshake, False, 2.1).handshake, True, 2.2).handshake
    assert _shown(handshake) is None


def test_the_next_waits_until_the_level_is_low_but_not_for_ever() -> None:
    handshake = hands.decided(hands.decided(_ready(ack_timeout_s=5.0), "a", 1.0).handshake, "b", 1.1).handshake
    handshake = hands.ack_level(handshake, True, 2.0).handshake
    step = hands.ticked(handshake, 6.9)
    assert (step.raised, step.handshake.next_due) == (None, 7.0)
    assert hands.ticked(handshake, 7.0).raised == "b"
    step = hands.ack_level(handshake, False, 3.0)
    assert step.handshake.next_due == 2.0  # long past: at once
    assert hands.ticked(step.handshake, 3.0).raised == "b"


def test_a_number_acknowledges_what_has_it_and_nothing_else() -> None:
    handshake = hands.decided(hands.decided(_ready(), "a", 1.0).handshake, "b", 1.0).handshake
    assert handshake.shown is not None
    first = handshake.shown.number
    assert _shown(hands.ack_number(handshake, first + 1, 1.1).handshake) == "a"
    handshake = hands.ack_number(handshake, first, 1.2).handshake
    assert _shown(handshake) is None  # it falls before the next
    handshake = hands.ticked(handshake, 1.2).handshake
    assert _shown(handshake) == "b"
    assert _shown(hands.ack_number(handshake, first, 1.3).handshake) == "b"  # written again in every cycle
    assert _shown(hands.ack_number(handshake, first + 1, 1.4).handshake) is None


def test_a_number_that_stands_from_before_acknowledges_nothing() -> None:
    """Numbers go round; a register that was never changed is no acknowledgement."""
    handshake = hands.ack_number(_ready(), 1, 0.0).handshake
    handshake = hands.decided(handshake, "a", 1.0).handshake
    assert handshake.shown is not None
    assert handshake.shown.number == 1
    assert _shown(hands.ack_number(handshake, 1, 2.0).handshake) == "a"


def test_numbers_of_results_go_round_without_0() -> None:
    handshake: Handshake[str] = Handshake(Rules(), number=hands.NUMBERS)
    step = hands.decided(handshake, "a", 0.0)
    assert step.handshake.shown is not None
    assert step.handshake.shown.number == 1


def test_a_lost_acknowledgement_holds_up_nobody() -> None:
    handshake = hands.decided(
        hands.decided(_ready(ack_timeout_s=5.0, gap_s=0.5), "a", 1.0).handshake, "b", 2.0
    ).handshake
    assert handshake.next_due == 6.0
    step = hands.ticked(handshake, 6.0)
    assert (step.lost, step.raised, step.handshake.counts.lost) == ("a", None, 1)
    assert step.handshake.next_due == 6.5
    assert hands.ticked(step.handshake, 6.4).raised is None
    assert hands.ticked(step.handshake, 6.5).raised == "b"


def test_trigger_ready_counts_what_is_still_open() -> None:
    handshake = _ready()
    for number in range(1, 16):
        handshake = hands.trigger_number(handshake, number).handshake
        assert handshake.trigger_ready
    handshake = hands.trigger_number(handshake, 16).handshake
    assert not handshake.trigger_ready
    step = hands.trigger_number(handshake, 17)
    assert step.job  # a part is there all the same
    assert step.handshake.counts.early == 1
    assert hands.refused(hands.refused(step.handshake)).trigger_ready
    assert not hands.stationed(_ready(), False).trigger_ready


def test_with_no_room_the_oldest_that_waits_is_given_up() -> None:
    handshake = _ready()
    for number in range(16):
        handshake = hands.decided(handshake, str(number), 0.0, own=False).handshake
    step = hands.decided(handshake, "more", 0.0, own=False)
    assert (step.lost, _shown(step.handshake), step.handshake.waiting[-1]) == ("1", "0", "more")
    assert (step.handshake.kept, step.handshake.counts.overflowed) == (16, 1)


def test_a_heartbeat_that_stands_still() -> None:
    handshake: Handshake[str] = Handshake(Rules(plc_watchdog_s=2.0), beat_at=10.0)
    assert handshake.next_due == 12.0
    handshake = hands.beaten(handshake, 0, 11.0)
    handshake = hands.beaten(handshake, 0, 12.5)  # written, not moved
    assert not hands.ticked(handshake, 12.9).handshake.silent
    handshake = hands.ticked(handshake, 13.0).handshake
    assert (handshake.silent, handshake.next_due) == (True, None)
    assert not hands.beaten(handshake, 1, 14.0).silent
    assert not hands.ticked(Handshake(Rules()), 1e9).handshake.silent


@pytest.mark.parametrize(
    ("verdict", "code", "expected"),
    [
        (Verdict.OK, ErrorCode.NONE, Signals(ok=True)),
        (Verdict.NG, ErrorCode.NONE, Signals(ng=True)),
        (Verdict.ERROR, ErrorCode.LATE, Signals(ng=True, error=True, code=ErrorCode.LATE)),
    ],
)
def test_error_also_raises_ng(verdict: Verdict, code: ErrorCode, expected: Signals) -> None:
    none = np.zeros((0, 0), np.uint8)
    result = Result(
        frame_id=0, t_capture=datetime.now(timezone.utc), score=0.0, verdict=verdict, mask=none,
        anomaly_map=none.astype(np.float32), latency_ms={}, bundle_digest="", variant="", backend="",
        image_threshold=0.0, pixel_threshold=0.0, code=code,
    )  # fmt: skip
    job = Job(1, "j", "p", Request("x"), 0.0)
    assert signals(Outcome(job, result, 0.0)) == expected
    assert signals(None) == Signals()


@dataclass
class Seen:
    """What a PLC that looks after every step has seen."""

    shown: list[int] = field(default_factory=list)
    lost: set[int] = field(default_factory=set)
    now: tuple[int, int] | None = None


class Line(RuleBasedStateMachine):
    """Any order of events; time only goes forward, and `ticked` may be called at any time, or late."""

    @initialize(
        timeout=st.sampled_from([0.5, 3.0]), gap=st.sampled_from([0.0, 0.2, 4.0]), number=st.sampled_from([0, 65530])
    )
    def begin(self, timeout: float, gap: float, number: int) -> None:
        self.rules = Rules(ack_timeout_s=timeout, gap_s=gap, most=4)
        self.handshake: Handshake[int] = Handshake(self.rules, number=number)
        self.now = 0.0
        self.jobs = self.decided = self.number = 0
        self.seen = Seen()
        self.fell: float | None = None
        self.held_high = False  # ResultsReady fell by an edge, and the level has not been low since

    @property
    def fell_or_never(self) -> float:
        return float("-inf") if self.fell is None else self.fell

    def take(self, step: Step[int], *, may_ack: bool = False) -> None:
        before, after = self.handshake, step.handshake
        shown = (after.shown.outcome, after.shown.number) if after.shown else None
        if before.shown is not None and shown is not None:
            assert shown == self.seen.now, "values changed while ResultsReady was high"
        if before.shown is not None and shown is None:
            assert may_ack or self.now >= before.shown.since + self.rules.ack_timeout_s
            self.fell = self.now
        if before.shown is None and shown is not None:
            assert step.raised == shown[0]
            assert self.now >= self.fell_or_never + self.rules.gap_s
            assert not self.held_high or self.now >= self.fell_or_never + self.rules.ack_timeout_s
            self.held_high = False
            self.seen.shown.append(shown[0])
        else:
            assert step.raised is None
        if step.lost is not None and step.lost not in self.seen.shown:
            self.seen.lost.add(step.lost)
        self.seen.now, self.handshake = shown, after

    @rule(seconds=st.sampled_from([0.0, 0.1, 0.3, 1.0, 10.0]), tick=st.booleans())
    def time_goes_by(self, seconds: float, tick: bool) -> None:
        self.now += seconds
        if tick:
            self.take(hands.ticked(self.handshake, self.now))

    @rule(ready=st.booleans())
    def station(self, ready: bool) -> None:
        self.take(Step(hands.stationed(self.handshake, ready)))

    @rule(high=st.booleans())
    def trigger_by_level(self, high: bool) -> None:
        edge, before = high and not self.handshake.trigger_high, self.handshake
        step = hands.trigger_level(before, high)
        assert step.job == edge
        self.count(step, before)

    @rule(again=st.booleans())
    def trigger_by_number(self, again: bool) -> None:
        self.number += not again
        before = self.handshake
        step = hands.trigger_number(before, self.number)
        assert step.job == (not again)
        self.count(step, before)

    def count(self, step: Step[int], before: Handshake[int]) -> None:
        early = step.handshake.counts.early - before.counts.early
        assert early == (step.job and not before.trigger_ready)
        self.jobs += step.job
        self.take(step)

    @precondition(lambda self: self.handshake.open > 0)
    @rule()
    def verdict(self) -> None:
        self.take(hands.decided(self.handshake, self.decided, self.now))
        self.decided += 1

    @rule(parts=st.integers(1, 5))
    def parts_that_are_judged_at_once(self, parts: int) -> None:
        for _ in range(parts):
            self.trigger_by_number(again=False)
            self.verdict()

    @rule(high=st.booleans())
    def ack_by_level(self, high: bool) -> None:
        edge = high and not self.handshake.ack_high
        shown = self.handshake.shown
        self.take(hands.ack_level(self.handshake, high, self.now), may_ack=edge)
        assert not (edge and shown) or self.handshake.shown is None
        self.held_high = high and (self.held_high or (edge and shown is not None))

    @precondition(lambda self: self.handshake.ack_high and self.handshake.results_ready)
    @rule()
    def the_level_is_still_high(self) -> None:
        self.take(hands.ack_level(self.handshake, True, self.now))

    @rule(offset=st.sampled_from([-1, 0, 0, 0, 1]))
    def ack_by_number(self, offset: int) -> None:
        number = (self.handshake.number + offset) % (hands.NUMBERS + 1)
        right = self.handshake.shown is not None and number == self.handshake.shown.number != self.handshake.ack_number
        self.take(hands.ack_number(self.handshake, number, self.now), may_ack=right)
        assert not right or self.handshake.shown is None

    @invariant()
    def each_once_in_order_bounded(self) -> None:
        if not hasattr(self, "handshake"):
            return
        seen, handshake = self.seen, self.handshake
        assert seen.shown == sorted(set(seen.shown))
        assert not seen.lost & set(seen.shown)
        assert sorted([*seen.shown, *seen.lost, *handshake.waiting]) == list(range(self.decided))
        assert handshake.kept <= self.rules.most
        assert handshake.open == self.jobs - self.decided
        assert handshake.trigger_ready == (handshake.ready and handshake.open + handshake.kept < self.rules.most)
        counts = handshake.counts
        assert counts.shown == len(seen.shown) == counts.acknowledged + counts.lost + handshake.results_ready
        assert counts.overflowed == len(seen.lost)
        assert handshake.number != 0 or not seen.shown

    @invariant()
    def who_heeds_trigger_ready_loses_nothing(self) -> None:
        if hasattr(self, "handshake") and self.handshake.counts.early == 0:
            assert not self.seen.lost

    def teardown(self) -> None:
        """Progress: with `ticked` at `next_due` and nothing else all that waits comes to the PLC, in bounded time."""
        if not hasattr(self, "handshake"):
            return
        end = self.now + (self.handshake.kept + 1) * (2 * self.rules.ack_timeout_s + self.rules.gap_s)
        for _ in range(4 * self.rules.most):
            if not self.handshake.kept:
                break
            due = self.handshake.next_due
            assert due is not None
            self.now = max(self.now, due)
            self.take(hands.ticked(self.handshake, self.now))
        assert not self.handshake.kept
        assert self.now <= end
        self.each_once_in_order_bounded()


TestLine = Line.TestCase
TestLine.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
