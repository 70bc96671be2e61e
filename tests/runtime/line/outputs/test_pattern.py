"""What is on when: the document's example by hand, and any verdicts at any times."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from diffad_runtime.line.outputs import pattern as patterns
from diffad_runtime.line.outputs.pattern import MOST_WAITING, Pattern, Rules, Step
from diffad_runtime.line.outputs.settings import Signal

OK, NG, ERROR = frozenset({Signal.OK}), frozenset({Signal.NG}), frozenset({Signal.NG, Signal.ERROR})
MS = 1e-3


def _run(rules: Rules, verdicts: list[tuple[float, frozenset[Signal]]]) -> list[tuple[float, frozenset[Signal]]]:
    """Every change of the verdict's lines, with `ticked` called exactly when it is due."""
    pattern: Pattern[int] = Pattern(rules)
    changes = [(float("-inf"), pattern.on)]
    left = list(verdicts)

    def take(step: Step[int], now: float) -> None:
        nonlocal pattern
        if step.pattern.on != pattern.on:
            changes.append((now, step.pattern.on))
        assert (step.raised is not None) == (bool(step.pattern.on) and not pattern.on)
        pattern = step.pattern

    number = 0
    while True:
        due = pattern.next_due
        if left and (due is None or left[0][0] <= due):
            at, on = left.pop(0)
            take(patterns.decided(pattern, number, on, at), at)
            number += 1
        elif due is not None:
            take(patterns.ticked(pattern, due), due)
        else:
            return changes[1:]


def test_the_example_of_the_document() -> None:
    changes = _run(Rules(50 * MS, 10 * MS), [(0.0, OK), (30 * MS, OK), (35 * MS, ERROR)])
    assert [(round(at / MS), sorted(signal.value for signal in on)) for at, on in changes] == [
        (0, ["ok"]),
        (30, []),
        (40, ["ok"]),
        (50, []),
        (60, ["error", "ng"]),
        (110, []),
    ]


def test_latched_until_the_next() -> None:
    changes = _run(Rules(None, 10 * MS), [(0.0, OK), (0.5, OK), (0.505, ERROR)])
    assert [round(at / MS) for at, _ in changes] == [0, 500, 510, 520, 530]
    assert changes[-1][1] == ERROR


@settings(deadline=None)
@given(
    pulse=st.one_of(st.none(), st.floats(0.001, 1.0)),
    gap=st.floats(0.001, 0.2),
    times=st.lists(
        st.tuples(st.floats(0.0, 0.5), st.sampled_from([OK, frozenset({Signal.NG}), ERROR])), max_size=MOST_WAITING
    ),
)
def test_every_verdict_has_an_edge_and_stands_long_enough(
    pulse: float | None, gap: float, times: list[tuple[float, frozenset[Signal]]]
) -> None:
    at, verdicts = 0.0, []
    for wait, on in times:
        at += wait
        verdicts.append((at, on))
    changes = _run(Rules(pulse, gap), verdicts)
    assert [on for _, on in changes if on] == [on for _, on in verdicts]
    shortest = gap if pulse is None else min(gap, pulse)
    for (began, on), (ended, off) in pairwise(changes):
        assert bool(on) != bool(off)
        assert ended - began >= (shortest if on else gap) - 1e-9
        assert not on or pulse is None or ended - began <= pulse + 1e-9
    # Nobody waits longer than those before him need.
    for index, (came, _) in enumerate(verdicts):
        assert [moment for moment, on in changes if on][index] <= came + (index + 1) * 2 * max(gap, shortest) + 1e-9


def test_with_no_room_the_oldest_is_lost() -> None:
    pattern: Pattern[int] = Pattern(Rules(1.0, 1.0))
    lost = []
    for number in range(MOST_WAITING + 3):
        step = patterns.decided(pattern, number, OK, 0.0)
        pattern = step.pattern
        lost.append(step.lost)
    assert lost[-3:] == [None, 1, 2]
    assert len(pattern.waiting) == MOST_WAITING


def test_ready_needs_a_station_that_is_heard_of() -> None:
    pattern: Pattern[int] = Pattern(Rules(1.0, 1.0))
    assert not any(pattern.levels.values())
    pattern = patterns.stationed(pattern, True, 3, 0.5, 10.0)
    assert (pattern.levels[Signal.READY], pattern.levels[Signal.HEARTBEAT]) == (True, True)
    assert pattern.next_due == 11.5
    pattern = patterns.ticked(pattern, 11.5).pattern
    assert not pattern.levels[Signal.READY]
    assert patterns.stationed(pattern, True, 4, 0.5, 12.0).levels[Signal.READY]
    assert not patterns.stationed(pattern, False, 4, 0.5, 12.0).levels[Signal.READY]
    assert not any(patterns.stopped(patterns.decided(pattern, 1, OK, 13.0).pattern).levels.values())
