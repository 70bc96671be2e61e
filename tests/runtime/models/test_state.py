"""Whatever happens in whatever order, the state makes sense: played against a model of three words."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from diffad_runtime.errors import InputError
from diffad_runtime.models.state import (
    MOST_BYTES,
    MOST_EVENTS,
    Generation,
    State,
    parse_state,
    state_bytes,
    with_commit,
    with_fallback,
    with_health,
    with_rollback,
    with_start,
    with_trial,
)

NOW = "2026-11-27T12:00:00Z"


def generation(number: int, version: int = 1) -> Generation:
    return Generation(
        number=number,
        model_id="tiny",
        version=version,
        digest=f"{version:064x}",
        size_bytes=100,
        key_id="",
        installed=NOW,
    )


class Life(RuleBasedStateMachine):
    """Install, commit, rollback, start, damage in any order; `expected` is (current, previous, trial) by version."""

    @initialize()
    def fresh(self) -> None:
        self.state = State()
        self.expected: tuple[int | None, int | None, int | None] = (None, None, None)
        self.installs = self.starts = self.changes = 0

    @rule(text=st.text(max_size=500))
    def install(self, text: str) -> None:
        current, previous, trial = self.expected
        one = generation(self.state.next_number, self.installs + 1)
        if trial is not None:
            with pytest.raises(InputError, match="still on trial"):
                with_trial(self.state, one, NOW)
            return
        self.installs += 1
        self._take(with_trial(self.state, one, NOW, text))
        self.expected, self.starts = (current, previous, self.installs), 0

    @rule(text=st.text(max_size=500))
    def commit(self, text: str) -> None:
        current, _, trial = self.expected
        if trial is None:
            with pytest.raises(InputError, match="nothing is on trial"):
                with_commit(self.state, NOW)
            return
        self._take(with_commit(self.state, NOW, None, text))
        self.expected, self.starts = (trial, current, None), 0

    @rule(text=st.text(max_size=500))
    def rollback(self, text: str) -> None:
        current, previous, trial = self.expected
        if trial is None and previous is None:
            with pytest.raises(InputError, match="no generation to go back to"):
                with_rollback(self.state, NOW)
            return
        self._take(with_rollback(self.state, NOW, text))
        self.expected = (current, previous, None) if trial is not None else (previous, None, None)
        self.starts = 0

    @rule()
    def damage(self) -> None:
        _, previous, trial = self.expected
        if previous is None:
            with pytest.raises(InputError, match="fall back"):
                with_fallback(self.state, NOW, "damaged")
            return
        self._take(with_fallback(self.state, NOW, "damaged"))
        self.expected = (previous, None, trial)

    @precondition(lambda self: self.expected[2] is not None)
    @rule(well=st.booleans())
    def start(self, well: bool) -> None:
        self.starts += 1
        self._take(with_start(self.state))
        if well:
            self.starts = 0
            self._take(with_health(self.state))

    def _take(self, after: State) -> None:
        assert after.serial == self.state.serial + 1
        self.state = after

    @invariant()
    def holds(self) -> None:
        state = self.state
        found = tuple(one and one.version for one in (state.current, state.previous, state.trial))
        assert found == self.expected
        assert state.starts == self.starts
        assert all(one.committed for one in state.committed)
        assert state.trial is None or state.trial.committed is None
        assert state.wanted is (state.trial or state.current)
        assert len(state.events) <= MOST_EVENTS
        raw = state_bytes(state)
        assert len(raw) < MOST_BYTES
        assert parse_state(raw, "state.json") == state


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def _committed(version: int, state: State | None = None) -> State:
    state = state or State()
    return with_commit(with_trial(state, generation(state.next_number, version), NOW), NOW)


def test_something_committed_is_never_lost() -> None:
    state = _committed(1)
    with pytest.raises(InputError):
        with_rollback(state, NOW)
    with pytest.raises(InputError):
        with_fallback(state, NOW, "damaged")
    assert with_rollback(with_trial(state, generation(2, 2), NOW), NOW).current == state.current


@settings(max_examples=200)
@given(st.binary(max_size=200))
def test_no_garbage_gets_past(raw: bytes) -> None:
    with pytest.raises(InputError, match=r"state\.json is damaged") as caught:
        parse_state(raw, "state.json")
    assert "\n" not in str(caught.value)


@settings(max_examples=300)
@given(st.data())
def test_a_state_cut_short_or_changed_is_damaged_or_makes_sense(data: st.DataObject) -> None:
    raw = bytearray(state_bytes(_committed(2, _committed(1))))
    at = data.draw(st.integers(0, len(raw) - 1))
    if data.draw(st.booleans()):
        del raw[at:]
    else:
        raw[at] = data.draw(st.integers(0, 255))
    try:
        state = parse_state(bytes(raw), "state.json")
    except InputError:
        return
    assert state.current is not None


@pytest.mark.parametrize(
    "change",
    [
        {"next_number": 1},
        {"current": None},
        {"starts": 1},
        {"previous": generation(1, 1).model_copy(update={"number": 2, "committed": NOW})},
        {"current": generation(2, 2)},
        {"schema_version": 2},
    ],
)
def test_what_makes_no_sense(change: dict[str, object]) -> None:
    state = _committed(2, _committed(1))
    raw = state_bytes(state.model_copy(update=change))
    with pytest.raises(InputError, match="is damaged"):
        parse_state(raw, "state.json")
