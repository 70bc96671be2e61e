"""When which fault comes: properties of the seeded table, and lists written by hand."""

from collections import Counter
from itertools import islice, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffad_runtime.chaos.kinds import FAULTS, GROUPS, FaultKind, Sign, kinds_named
from diffad_runtime.chaos.timetable import ScriptedFault, check_order, seeded, until
from diffad_runtime.errors import SourceError
from diffad_runtime.sources import SourceStatus

_kinds = st.lists(st.sampled_from(list(FaultKind)), min_size=1, unique=True)
_seeds = st.integers(0, 2**63 - 1)


@settings(max_examples=40)
@given(kinds=_kinds, seed=_seeds, every=st.floats(0.1, 100), length=st.floats(0.1, 100), count=st.integers(1, 60))
def test_seeded(kinds: list[FaultKind], seed: int, every: float, length: float, count: int) -> None:
    faults = list(islice(seeded(kinds, seed=seed, every_s=every, length_s=length), count))
    assert faults == list(islice(seeded(kinds, seed=seed, every_s=every, length_s=length), count))
    assert [fault.number for fault in faults] == list(range(count))
    check_order(faults)
    assert 0.75 * every <= faults[0].at_s <= 1.25 * every
    for before, after in pairwise(faults):
        pause = after.at_s - (before.at_s + before.length_s)
        assert 0.75 * every * (1 - 1e-9) <= pause <= 1.25 * every * (1 + 1e-9)
    for fault in faults:
        assert fault.amount == FAULTS[fault.kind].amount
        lasts = length <= fault.length_s <= 1.25 * length
        assert lasts if FAULTS[fault.kind].lasting else fault.length_s == 0
    for start in range(0, count - len(kinds) + 1, len(kinds)):  # whole rounds
        assert {fault.kind for fault in faults[start : start + len(kinds)]} == set(kinds)


@settings(max_examples=30)
@given(seed=_seeds, seconds=st.floats(0, 500))
def test_a_longer_run_has_the_same_beginning(seed: int, seconds: float) -> None:
    def run(end: float) -> list[ScriptedFault]:
        return until(seeded(tuple(FaultKind), seed=seed, every_s=12, length_s=8), end)

    short, long = run(seconds), run(seconds + 100)
    assert long[: len(short)] == short
    assert all(fault.at_s < seconds for fault in short)
    assert len(long) <= len(short) or long[len(short)].at_s >= seconds


def test_seeds_differ_and_rounds_are_shuffled_anew() -> None:
    def order(seed: int, round_number: int) -> list[FaultKind]:
        kinds = tuple(FaultKind)
        run = islice(seeded(kinds, seed=seed, every_s=1, length_s=1), len(kinds) * (round_number + 1))
        return [fault.kind for fault in run][-len(kinds) :]

    assert len({tuple(order(seed, 0)) for seed in range(20)}) == 20
    assert len({tuple(order(3, number)) for number in range(10)}) == 10


def test_no_kind_no_fault() -> None:
    assert until(seeded((), seed=1, every_s=1, length_s=1), 1e9) == []


def test_a_list_must_be_in_order() -> None:
    def fault(number: int, at: float, length: float) -> ScriptedFault:
        return ScriptedFault(number, FaultKind.FREEZE, at, length, 0)

    check_order([])
    check_order([fault(0, 1, 2), fault(1, 3, 0)])
    with pytest.raises(
        SourceError, match=r"fault 2 \(freeze\) begins at 2\.9 s, before fault 1 \(freeze, 1 s to 3 s\)"
    ):
        check_order([fault(0, 1, 2), fault(1, 2.9, 0)])
    with pytest.raises(SourceError, match="fault 2"):
        check_order([fault(0, 1, 0), fault(1, 1, 0)])


def test_names() -> None:
    assert kinds_named("silence, freeze,silence") == (FaultKind.FREEZE, FaultKind.SILENCE)
    assert kinds_named("all") == tuple(FaultKind)
    assert kinds_named("none") == ()
    assert kinds_named("colour,end") == (FaultKind.END, FaultKind.GREY, FaultKind.SWAP, FaultKind.GAIN)
    with pytest.raises(SourceError, match=r"no fault 'frieze'.*freeze, drop.*corrupt"):
        kinds_named("freeze,frieze")


def test_every_kind_has_a_row_and_counters_exist() -> None:
    assert set(FAULTS) == set(FaultKind)
    assert max(Counter(kind for group, kinds in GROUPS.items() if group != "all" for kind in kinds).values()) == 1
    for sign in (Sign.FROZEN, Sign.STALLS, Sign.RECONNECTS, Sign.REJECTED):
        assert sign.value in SourceStatus.__slots__
