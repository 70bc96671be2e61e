"""The last results, and what is looked for among them."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffad_runtime.line.job import Outcome
from diffad_runtime.line.opcua.results import Results, ResultState, Wanted, result_id, result_state
from diffad_runtime.result import ErrorCode, Result, Verdict


@pytest.mark.parametrize(
    ("verdict", "code", "expected"),
    [
        (Verdict.OK, ErrorCode.NONE, ResultState.COMPLETED),
        (Verdict.NG, ErrorCode.NONE, ResultState.COMPLETED),
        (Verdict.ERROR, ErrorCode.LATE, ResultState.FAILED),
        (Verdict.ERROR, ErrorCode.CLOSED, ResultState.ABORTED),
    ],
)
def test_the_state_of_a_result(
    verdict: Verdict,
    code: ErrorCode,
    expected: ResultState,
    make_outcome: Callable[..., Outcome],
    make_result: Callable[..., Result],
) -> None:
    assert result_state(make_outcome(1, make_result(verdict, code=code))) is expected


def test_a_name_says_run_and_job() -> None:
    assert result_id("2026-03-04", 12) == "2026-03-04-12"


@given(count=st.integers(0, 30), most=st.integers(1, 10))
def test_the_last_are_kept_and_found_newest_first(count: int, most: int, make_outcome: Callable[..., Outcome]) -> None:
    results = Results(most)
    for number in range(count):
        results.keep(str(number), make_outcome(number))
    assert len(results) == min(count, most)
    found = results.find(Wanted())
    assert [name for name, _ in found.results] == [str(n) for n in reversed(range(max(0, count - most), count))]
    assert found.complete
    for number in range(count):
        assert (results.get(str(number)) is None) == (number < count - most)


@given(count=st.integers(0, 12), page=st.integers(1, 5))
def test_pages_are_the_whole(count: int, page: int, make_outcome: Callable[..., Outcome]) -> None:
    results = Results(20)
    for number in range(count):
        results.keep(str(number), make_outcome(number))
    seen: list[str] = []
    while True:
        found = results.find(Wanted(), page, len(seen))
        seen += [name for name, _ in found.results]
        if found.complete:
            break
        assert len(found.results) == page
    assert seen == [str(number) for number in reversed(range(count))]


def test_filters(make_outcome: Callable[..., Outcome], make_result: Callable[..., Result]) -> None:
    results = Results(10)
    results.keep("a", make_outcome(1, part_id="p1"))
    results.keep("b", make_outcome(2, make_result(Verdict.ERROR, code=ErrorCode.LATE, recipe="right"), part_id="p1"))
    results.keep("c", make_outcome(3, job_id="mine"))
    for wanted, names in (
        (Wanted(part_id="p1"), ["b", "a"]),
        (Wanted(state=ResultState.FAILED), ["b"]),
        (Wanted(job_id="mine"), ["c"]),
        (Wanted(recipe="left"), ["c", "a"]),
        (Wanted(recipe="left", part_id="p1"), ["a"]),
        (Wanted(state=ResultState.ABORTED), []),
    ):
        assert [name for name, _ in results.find(wanted).results] == names


def test_pictures_are_not_kept(make_outcome: Callable[..., Outcome], make_result: Callable[..., Result]) -> None:
    results = Results(1)
    results.keep("a", make_outcome(1, make_result(mask=np.zeros((1080, 1920), np.uint8))))
    kept = results.get("a")
    assert kept is not None
    assert kept.result.mask.nbytes == kept.result.anomaly_map.nbytes == 0


def test_told_again_takes_no_second_place(make_outcome: Callable[..., Outcome]) -> None:
    results = Results(2)
    for name in ("a", "b", "a", "a"):
        results.keep(name, make_outcome(1))
    assert len(results) == 2
