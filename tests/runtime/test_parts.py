"""The ledger of parts: hand-written lines, and any interleaving of what can happen."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from diffad_runtime.parts import MOST_OPEN, Decision, Parts, Step, abandoned, captured, expired, judged, triggered
from diffad_runtime.result import ErrorCode, Verdict


def _decided(step: Step) -> list[tuple[int, Verdict]]:
    return [(decision.number, decision.verdict) for decision in step.decisions]


def test_one_part_one_picture_one_verdict() -> None:
    step = triggered(Parts(), 1.0, 2.0)
    assert (step.decisions, step.claim, step.parts.next_deadline) == ((), None, 2.0)
    step = captured(step.parts, 7, 0.9)  # before the trigger: of another part
    assert step.claim is None
    step = captured(step.parts, 8, 1.1)
    assert step.claim == (0, 8)
    assert captured(step.parts, 9, 1.2).claim is None  # one picture is enough
    step = judged(step.parts, 0, Verdict.OK, "", 1.3)
    assert step.decisions == (Decision(0, Verdict.OK, ""),)
    assert judged(step.parts, 0, Verdict.OK, "", 1.4).decisions == ()
    assert expired(step.parts, 9.9).decisions == ()
    assert step.parts.next_deadline is None


def test_a_missed_part_never_takes_its_neighbours_picture() -> None:
    parts = triggered(triggered(Parts(), 1.0, 9.0).parts, 2.0, 9.0).parts
    step = captured(parts, 5, 2.1)
    assert step.claim == (1, 5)
    assert _decided(step) == [(0, Verdict.ERROR)]
    assert "before the next part's trigger" in step.decisions[0].reason


def test_a_picture_may_arrive_after_the_next_trigger() -> None:
    """What counts is when it was captured."""
    parts = triggered(triggered(Parts(), 1.0, 9.0).parts, 2.0, 9.0).parts
    step = captured(parts, 5, 1.9)
    assert (step.claim, step.decisions) == ((0, 5), ())
    assert captured(step.parts, 6, 2.0).claim == (1, 6)


def test_the_window_of_a_decided_part_still_ends_that_of_the_one_before() -> None:
    parts = triggered(triggered(Parts(), 1.0, 9.0).parts, 2.0, 2.5).parts
    parts = expired(parts, 3.0).parts  # the second had a short deadline
    step = captured(parts, 5, 3.1)  # its picture, too late: not the first one's
    assert (step.claim, _decided(step)) == (None, [(0, Verdict.ERROR)])


def test_a_trigger_may_come_after_its_picture() -> None:
    """`at` lies before the trigger where the line says that triggers come late."""
    parts = captured(Parts(), 4, 1.0).parts
    assert triggered(parts, 1.05, 2.0).claim is None
    step = triggered(parts, 0.95, 2.0)
    assert step.claim == (0, 4)
    # The next picture comes while the first part is judged, and its trigger after it.
    parts = captured(step.parts, 5, 1.5).parts
    assert triggered(parts, 1.45, 3.0).claim == (1, 5)
    # No picture is taken twice, and no window opens before the one before.
    assert triggered(step.parts, 0.5, 3.0).claim is None


def test_late_is_an_error_whatever_was_found() -> None:
    parts = captured(triggered(Parts(), 1.0, 2.0).parts, 3, 1.5).parts
    step = judged(parts, 0, Verdict.OK, "", 2.001)
    assert _decided(step) == [(0, Verdict.ERROR)]
    assert "1001 ms" in step.decisions[0].reason
    assert step.decisions[0].code is ErrorCode.LATE
    late = expired(parts, 2.0)
    assert "judgement" in late.decisions[0].reason
    assert late.decisions[0].code is ErrorCode.LATE
    assert judged(late.parts, 0, Verdict.NG, "", 2.1).decisions == ()
    waiting = expired(triggered(Parts(), 1.0, 2.0).parts, 2.5, ": the camera is stalled")
    assert waiting.decisions[0].reason == "no picture came within 1500 ms: the camera is stalled"
    assert waiting.decisions[0].code is ErrorCode.NO_PICTURE


def test_abandoned() -> None:
    parts = captured(triggered(Parts(), 1.0, 9.0).parts, 3, 1.5).parts
    parts = triggered(parts, 2.0, 9.0).parts
    step = abandoned(parts, "the camera is gone", waiting_only=True)
    assert step.decisions == (Decision(1, Verdict.ERROR, "the camera is gone", ErrorCode.CAMERA),)
    assert _decided(judged(step.parts, 0, Verdict.NG, "", 3.0)) == [(0, Verdict.NG)]
    assert _decided(abandoned(parts, "closed")) == [(0, Verdict.ERROR), (1, Verdict.ERROR)]


def test_a_flood_of_triggers_is_bounded() -> None:
    parts, refused = Parts(), 0
    for number in range(3 * MOST_OPEN):
        step = triggered(parts, float(number), 1e9)
        parts, refused = step.parts, refused + len(step.decisions)
    assert (len(parts.parts), refused, parts.triggers) == (MOST_OPEN, 2 * MOST_OPEN, 3 * MOST_OPEN)


class Line(RuleBasedStateMachine):
    """Triggers, frames, judgements in any order, time that passes, ends. What must hold is in the invariants."""

    @initialize(lead=st.sampled_from([0.0, 0.05]))
    def begin(self, lead: float) -> None:
        self.parts, self.now, self.lead, self.frames = Parts(), 0.0, lead, 0
        self.verdicts: dict[int, Verdict] = {}
        self.found: dict[int, Verdict] = {}  # what the judge said, of what was claimed
        self.claims: dict[int, int] = {}  # part -> frame
        self.captures: dict[int, float] = {}
        self.opened: dict[int, float] = {}
        self.last_capture = 0.0

    def _take(self, step: Step) -> None:
        self.parts = step.parts
        for decision in step.decisions:
            assert decision.number not in self.verdicts, "a second verdict"
            self.verdicts[decision.number] = decision.verdict
            assert (decision.verdict is Verdict.ERROR) >= (not self.found.get(decision.number))
        if step.claim:
            number, frame = step.claim
            assert number not in self.claims
            assert frame not in self.claims.values()
            assert number not in self.verdicts
            assert number == max(other for other, at in self.opened.items() if at <= self.captures[frame])
            self.claims[number] = frame

    @rule(deadline=st.floats(0.01, 2))
    def trigger(self, deadline: float) -> None:
        number = self.parts.triggers
        self.opened[number] = max([self.now - self.lead, *self.opened.values()])
        self._take(triggered(self.parts, self.now - self.lead, self.now + deadline))

    @rule(age=st.floats(0, 0.3))
    def frame(self, age: float) -> None:
        self.last_capture = max(self.last_capture, self.now - age)
        self.captures[self.frames] = self.last_capture
        self.frames += 1
        self._take(captured(self.parts, self.frames - 1, self.last_capture))

    @precondition(lambda self: any(number not in self.found for number in self.claims))
    @rule(verdict=st.sampled_from(Verdict), data=st.data())
    def judge(self, verdict: Verdict, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from([number for number in self.claims if number not in self.found]))
        self.found[number] = verdict
        self._take(judged(self.parts, number, verdict, "", self.now))

    @rule(seconds=st.floats(0, 1))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self._take(expired(self.parts, self.now))

    @rule(waiting_only=st.booleans())
    def end(self, waiting_only: bool) -> None:
        self._take(abandoned(self.parts, "over", waiting_only=waiting_only))

    @invariant()
    def ok_means_that_it_was_found_ok_in_time(self) -> None:
        for number, verdict in self.verdicts.items():
            if verdict is not Verdict.ERROR:
                assert self.found[number] is verdict

    @invariant()
    def no_part_is_forgotten(self) -> None:
        open_ = {part.number for part in self.parts.open}
        assert open_ | set(self.verdicts) == set(range(self.parts.triggers))
        assert not open_ & set(self.verdicts)
        assert len(self.parts.parts) <= 2 * MOST_OPEN

    @invariant()
    def nobody_is_open_beyond_its_deadline(self) -> None:
        step = expired(self.parts, self.now)
        assert all(part.deadline > self.now for part in step.parts.open)

    def teardown(self) -> None:
        if hasattr(self, "parts"):
            self._take(abandoned(self.parts, "closed"))
            assert set(self.verdicts) == set(range(self.parts.triggers))


Line.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
TestLine = Line.TestCase
