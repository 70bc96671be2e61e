"""The state machine of a camera, over any script of what a device can do, against time that the test makes up.

A shell of twenty lines stands for the threads of `supervised.py`: it asks what is due, lets the time pass and reports.
"""

import math
import random
from dataclasses import dataclass, field, replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffad_runtime.result import SourceState
from diffad_runtime.sources import watch as machine
from diffad_runtime.sources.limits import Limits
from diffad_runtime.sources.watch import Watch

LIMITS = Limits(
    stall_s=2, frozen_s=3, reopen_s=3, open_s=10, backoff_s=0.25, backoff_cap_s=2, jitter=0.5, settle_s=2, wait_s=None
)
# What the device does in each step of a tenth of a second.
WORDS = ("open", "frame", "same", "late", "garbage", "nothing", "lost", "stale")
LEGAL = {
    (SourceState.CONNECTING, SourceState.STREAMING),
    (SourceState.CONNECTING, SourceState.STALLED),
    (SourceState.STREAMING, SourceState.STALLED),
    (SourceState.STREAMING, SourceState.CONNECTING),
    (SourceState.STALLED, SourceState.STREAMING),
    (SourceState.STALLED, SourceState.CONNECTING),
    *((state, over) for state in SourceState for over in machine.OVER),
}
STEP = 0.1


@dataclass
class Shell:
    """Time in steps, and a device that does what a word says; keeps its own books."""

    limits: Limits = LIMITS
    now: float = 100.0
    watch: Watch = field(default_factory=lambda: machine.begin(100.0))
    rng: random.Random = field(default_factory=lambda: random.Random(0))
    trail: list[Watch] = field(default_factory=list)
    frames: int = 0
    garbage: int = 0
    openings: int = 0
    on_time_at: float = 100.0
    changed_at: float = 100.0

    def step(self, word: str) -> None:
        self.now += STEP
        generation = self.watch.generation
        if word == "stale":
            generation -= 1
        if self.watch.concerns(generation):
            is_open = self.watch.opened_at is not None
            if word == "open" and not is_open:
                self.openings += 1
                self.watch = machine.opened(self.watch, self.now)
            elif word == "lost":
                self.watch = machine.lost(self.watch, self.now, self.limits, self.rng, "gone")
            elif is_open and word in {"frame", "same", "late"}:
                self.frames += 1
                captured = self.now - (5 if word == "late" else 0)
                if word != "late":
                    self.on_time_at = self.now
                if word != "same":
                    self.changed_at = self.now
                self.watch = machine.arrived(self.watch, self.now, self.limits, captured=captured, same=word == "same")
            elif is_open and word == "garbage":
                self.garbage += 1
                self.watch = machine.rejected(self.watch, "empty")
            self.trail.append(self.watch)
        self.watch = machine.ticked(self.watch, self.now, self.limits, self.rng, room=True)
        self.trail.append(self.watch)


@given(st.lists(st.tuples(st.sampled_from(WORDS), st.integers(1, 60)), max_size=40))
@settings(max_examples=300, deadline=None)
def test_over_any_script_counts_are_true_states_legal_and_every_stall_is_seen(script: list[tuple[str, int]]) -> None:
    shell = Shell()
    before = shell.watch
    for word, times in script:
        for _ in range(times):
            shell.step(word)
            watch = shell.watch
            assert (watch.frames, watch.rejected, watch.openings) == (shell.frames, shell.garbage, shell.openings)
            assert watch.reconnects == max(0, shell.openings - 1)
            if watch.state is SourceState.STREAMING:
                # Pictures that are new, and pictures on time, have come not longer ago than the limits allow.
                assert watch.wanted
                assert watch.opened_at is not None
                assert shell.now - max(shell.on_time_at, watch.opened_at) <= LIMITS.stall_s + STEP
                assert shell.now - max(shell.changed_at, watch.opened_at) <= LIMITS.frozen_s + LIMITS.stall_s + STEP
            if watch.wanted and watch.opened_at is None:
                assert shell.now - watch.since <= LIMITS.open_s + STEP
            if watch.state is SourceState.STALLED:
                assert shell.now - watch.since <= LIMITS.reopen_s + STEP
            if not watch.wanted:
                assert watch.retry_at - shell.now <= LIMITS.backoff_cap_s
            assert not watch.over
            if watch.state is not SourceState.STREAMING:
                assert watch.detail
    states = [before.state, *(watch.state for watch in shell.trail)]
    for one, two in pairwise(states):
        assert one is two or (one, two) in LEGAL
    entered = sum(two is SourceState.STALLED and one is not SourceState.STALLED for one, two in pairwise(states))
    assert shell.watch.stalls <= entered
    if not shell.watch.frozen:
        assert shell.watch.stalls == entered


@given(st.sampled_from(["nothing", "garbage", "late"]), st.integers(1, 50))
def test_silence_is_a_stall_within_its_limit_and_leads_to_a_new_connection(word: str, good: int) -> None:
    shell = Shell()
    shell.step("nothing")
    shell.step("open")
    for _ in range(good):
        shell.step("frame")
    start = shell.now
    while shell.watch.state is SourceState.STREAMING:
        shell.step(word)
    assert shell.watch.state is SourceState.STALLED
    assert shell.watch.stalls == 1
    assert shell.now - start <= LIMITS.stall_s + 2 * STEP
    while shell.watch.generation == 1:
        shell.step(word)
    assert shell.now - start <= LIMITS.stall_s + LIMITS.reopen_s + LIMITS.backoff_cap_s + 4 * STEP
    shell.step("open")
    shell.step("frame")
    assert (shell.watch.state, shell.watch.reconnects) == (SourceState.STREAMING, 1)


def _run(shell: Shell, word: str, seconds: float) -> None:
    for _ in range(round(seconds / STEP)):
        shell.step(word)


def test_a_frozen_picture_is_counted_once_survives_a_new_connection_and_ends_with_another_picture() -> None:
    shell = Shell()
    for word in ("nothing", "open", "frame"):
        shell.step(word)
    start = shell.now
    _run(shell, "same", LIMITS.frozen_s)
    assert shell.watch.state is SourceState.STREAMING
    _run(shell, "same", 2 * STEP)
    assert shell.watch.state is SourceState.STALLED
    assert "not changed for 3." in shell.watch.detail
    _run(shell, "same", LIMITS.reopen_s + LIMITS.backoff_cap_s)
    assert (shell.watch.generation, shell.watch.opened_at) == (2, None)
    shell.step("open")
    shell.step("same")
    assert shell.watch.state is SourceState.STALLED
    assert f"{shell.now - start:.1f} s" in shell.watch.detail
    shell.step("frame")
    assert (shell.watch.state, shell.watch.frozen, shell.watch.stalls) == (SourceState.STREAMING, 1, 0)


def test_a_camera_that_was_away_may_come_back_with_the_same_picture() -> None:
    shell = Shell()
    for word in ("nothing", "open", "frame", "lost"):
        shell.step(word)
    _run(shell, "nothing", 60)
    for word in ("nothing", "open", "same"):
        shell.step(word)
    assert shell.watch.generation > 1
    assert shell.watch.state is SourceState.STREAMING


def test_without_a_limit_a_picture_may_stand_still_for_ever() -> None:
    shell = Shell(limits=LIMITS.model_copy(update={"frozen_s": None}))
    for word in ("nothing", "open"):
        shell.step(word)
    _run(shell, "same", 100)
    assert (shell.watch.state, shell.watch.frozen) == (SourceState.STREAMING, 0)


def test_what_an_old_connection_reports_does_not_count() -> None:
    shell = Shell()
    for word in ("nothing", "open", "frame", "lost"):
        shell.step(word)
    _run(shell, "nothing", 3)
    assert shell.watch.generation == 2
    assert not shell.watch.concerns(1)
    assert shell.watch.concerns(2)


def test_waits_grow_to_the_cap_and_begin_anew_only_after_a_camera_that_stays() -> None:
    limits = LIMITS.model_copy(update={"jitter": 0.0})
    shell = Shell(limits=limits)
    waits = []
    for word in ("frame", "frame", "frame", "frame", "frame"):  # it opens, gives one frame and breaks
        while not shell.watch.wanted:
            shell.step("nothing")
        shell.step("open")
        shell.step(word)
        shell.step("lost")
        waits.append(round(shell.watch.retry_at - shell.now, 6))
    assert waits == [0.25, 0.5, 1.0, 2.0, 2.0]
    while not shell.watch.wanted:
        shell.step("nothing")
    shell.step("open")
    _run(shell, "frame", limits.settle_s + 0.2)
    shell.step("lost")
    assert shell.watch.retry_at - shell.now == pytest.approx(0.25)


@pytest.mark.parametrize("state", sorted(machine.OVER))
def test_over_is_over(state: SourceState) -> None:
    over = replace(machine.begin(0.0), state=state, detail="why", generation=3, openings=2)
    assert not over.concerns(3)
    assert machine.ticked(over, 1e9, LIMITS, random.Random(0), room=True) is over
    assert machine.ended(over, "x") is over
    assert machine.failed(over, "x") is over
    assert machine.due(over, LIMITS) is None


def test_it_gives_up_only_where_it_is_told_to() -> None:
    patient = Shell()
    _run(patient, "lost", 3600)
    assert patient.watch.state is SourceState.CONNECTING
    assert patient.watch.failures > 3600 / (LIMITS.backoff_cap_s + 3 * STEP)
    for openings, limits in ((0, {"wait_s": 20.0}), (1, {"give_up_s": 20.0})):
        shell = Shell(limits=LIMITS.model_copy(update=limits))
        for word in ("nothing", *["open", "frame"] * openings):
            shell.step(word)
        start = shell.watch.good_at
        while not shell.watch.over:
            shell.step("lost")
        assert shell.watch.state is SourceState.FAILED
        assert shell.now - start == pytest.approx(20, abs=2 * STEP)
        assert shell.watch.detail.endswith("last of all: gone")


def test_a_camera_that_came_late_is_not_given_up_for_the_time_before() -> None:
    shell = Shell(limits=LIMITS.model_copy(update={"wait_s": None, "give_up_s": 5.0}))
    _run(shell, "lost", 60)
    while not shell.watch.wanted:
        shell.step("nothing")
    shell.step("open")
    shell.step("frame")
    assert shell.watch.state is SourceState.STREAMING


@given(st.lists(st.tuples(st.sampled_from(WORDS), st.integers(1, 40)), max_size=20))
@settings(max_examples=100, deadline=None)
def test_nothing_changes_with_time_before_it_is_due(script: list[tuple[str, int]]) -> None:
    shell = Shell(limits=LIMITS.model_copy(update={"give_up_s": 30.0, "wait_s": 20.0}))
    for word, times in script:
        for _ in range(times):
            shell.step(word)
            at = machine.due(shell.watch, shell.limits)
            early = math.inf if at is None else at - 1e-6
            if early > shell.now:
                probe = min(early, shell.now + 1e6)
                assert machine.ticked(shell.watch, probe, shell.limits, random.Random(0), room=True) == shell.watch


def test_no_room_no_attempt() -> None:
    watch = machine.begin(0.0)
    assert machine.ticked(watch, 1.0, LIMITS, random.Random(0), room=False) is watch
    assert machine.ticked(watch, 1.0, LIMITS, random.Random(0), room=True).generation == 1
