"""The rule of choice against slow references, on fabricated figures."""

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffad_export.search.candidates import Candidate, Shape
from diffad_export.search.pareto import TIE, Limits, Row, Verdict, choose, verdicts, worth_training

SHAPES = [Shape(*pair) for pair in product((1, 2, 4), (8, 16, 24, 32))]
CANDIDATES = [Candidate(shape, name) for shape in SHAPES for name in ("fp32", "int8")]
LIMITS = Limits(budget_ms=10, max_drop=0.05, teacher=0.9)


def row(steps: int, width: int, p50: float | None, aupro: float | None = None, **more: object) -> Row:
    made = Row(Candidate(Shape(steps, width), "fp32"), gmacs=steps * width**2, p50=p50, p95=p50, aupro=aupro)
    return replace(made, torch_aupro=aupro, **more)  # type: ignore[arg-type]


@st.composite
def figures(draw: st.DrawFn) -> list[Row]:
    """Rows with any figures at all."""
    rows = []
    for candidate in draw(st.lists(st.sampled_from(CANDIDATES), unique=True, min_size=1)):
        p50 = draw(st.none() | st.floats(1, 20))
        aupro = None if p50 is None else draw(st.none() | st.floats(0.8, 0.95))
        lost = draw(st.sampled_from([0.0, 0.001, 0.2]))
        refused = draw(st.sampled_from(["", "", "parity"]))
        gmacs = candidate.shape.steps * candidate.shape.width**2 / 100
        rows.append(
            Row(candidate, gmacs, p50=p50, p95=p50, aupro=aupro, refused=refused, torch_aupro=aupro and aupro + lost)
        )
    return rows


@st.composite
def monotone(draw: st.DrawFn) -> tuple[list[Row], dict[Candidate, float]]:
    """Timed rows, nobody trained; and what training would give: more steps or channels are never less accurate."""
    gains = {shape: draw(st.sampled_from([0.0, 0.0005, 0.002, 0.02])) for shape in SHAPES}
    truth = {}
    for candidate in CANDIDATES:
        below = sum(gain for shape, gain in gains.items() if shape.within(candidate.shape))
        truth[candidate] = 0.8 + below - (0.004 if candidate.precision == "int8" else 0.0)
    rows = [
        Row(one, one.shape.steps * one.shape.width**2 / 100, p50=draw(st.floats(1, 15)), p95=16.0) for one in CANDIDATES
    ]
    return rows, truth


def measured(rows: list[Row], truth: dict[Candidate, float], shapes: list[Shape]) -> list[Row]:
    return [
        replace(one, aupro=truth[one.candidate], torch_aupro=truth[one.candidate])
        if one.shape in shapes and LIMITS.fast(one)
        else one
        for one in rows
    ]


@given(figures())
def test_who_is_chosen(rows: list[Row]) -> None:
    chosen = choose(rows, LIMITS)
    allowed = [
        one
        for one in rows
        if one.p50 is not None
        and one.p50 <= 10
        and one.aupro is not None
        and 0.9 - one.aupro <= 0.05
        and not one.refused
        and one.torch_aupro is not None
        and one.torch_aupro - one.aupro <= 0.05
    ]
    if chosen is None:
        assert allowed == []
        return
    assert chosen in allowed
    assert chosen.aupro is not None
    assert chosen.p50 is not None
    for other in allowed:
        assert other.aupro is not None
        assert other.p50 is not None
        assert other.aupro <= chosen.aupro + TIE
        if other.aupro >= max(one.aupro or 0 for one in allowed) - TIE:
            assert other.p50 >= chosen.p50


@given(figures())
def test_verdicts_say_what_holds(rows: list[Row]) -> None:
    found = verdicts(rows, LIMITS)
    chosen = choose(rows, LIMITS)
    assert [one for one, verdict in found.items() if verdict is Verdict.CHOSEN] == (
        [chosen.candidate] if chosen else []
    )
    front = [one for one in rows if found[one.candidate] in {Verdict.CHOSEN, Verdict.FRONT}]
    dominated = [one for one in rows if found[one.candidate] is Verdict.DOMINATED]

    def beats(a: Row, b: Row) -> bool:
        assert None not in {a.p50, b.p50, a.aupro, b.aupro}
        return a.p50 <= b.p50 and a.aupro >= b.aupro and (a.p50, a.aupro) != (b.p50, b.aupro)  # type: ignore[operator]

    assert not any(beats(a, b) for a in front for b in front)
    assert all(any(beats(a, b) for a in front) for b in dominated)
    assert all(LIMITS.admits(one) for one in front + dominated)
    for one in rows:
        if found[one.candidate] is Verdict.TOO_SLOW:
            assert one.p50 is not None
            assert one.p50 > 10


@given(monotone())
def test_few_trainings_choose_as_all_would(case: tuple[list[Row], dict[Candidate, float]]) -> None:
    rows, truth = case
    everything = choose(measured(rows, truth, SHAPES), LIMITS)
    trained: list[Shape] = []
    while shapes := worth_training(measured(rows, truth, trained), LIMITS):
        assert shapes[0] not in trained
        assert len(set(shapes)) == len(shapes)
        trained.append(shapes[0])
    chosen = choose(measured(rows, truth, trained), LIMITS)
    assert (chosen and chosen.candidate) == (everything and everything.candidate)


def test_the_largest_within_the_budget_comes_first() -> None:
    rows = [row(1, 8, 2), row(1, 32, 6), row(2, 24, 8), row(4, 32, 11)]
    assert worth_training(rows, LIMITS)[0] == Shape(2, 24)
    # width 32 has no trained student above it: nothing is known of it yet
    rows[2] = row(2, 24, 8, aupro=0.89)
    assert worth_training(rows, LIMITS)[0] == Shape(1, 32)


def test_a_smaller_student_is_tried_only_while_it_may_tie() -> None:
    rows = [row(1, 8, 2), row(1, 16, 3), row(1, 24, 4), row(1, 32, 6, aupro=0.9)]
    # the middle of what is faster than the best: one training halves the rest
    assert worth_training(rows, LIMITS)[0] == Shape(1, 16)
    lost = [rows[0], row(1, 16, 3, aupro=0.89), *rows[2:]]
    assert worth_training(lost, LIMITS) == [Shape(1, 24)]
    tied = [rows[0], row(1, 16, 3, aupro=0.8995), *rows[2:]]
    assert worth_training(tied, LIMITS) == [Shape(1, 8)]


def test_where_the_largest_is_too_inaccurate_nobody_below_is_trained() -> None:
    assert worth_training([row(1, 8, 2), row(1, 32, 6, aupro=0.8)], LIMITS) == []


def test_a_student_that_its_precision_spoiled_says_nothing_of_smaller_ones() -> None:
    spoiled = [row(1, 8, 2), row(1, 32, 6, aupro=0.5, refused="parity")]
    assert worth_training(spoiled, LIMITS) == [Shape(1, 8)]
    lost = [row(1, 8, 2), replace(row(1, 32, 6, aupro=0.5), torch_aupro=0.9)]
    assert worth_training(lost, LIMITS) == [Shape(1, 8)]
    assert verdicts(lost, LIMITS)[lost[1].candidate] is Verdict.FAILED


def test_a_training_that_failed_is_not_tried_again() -> None:
    rows = [replace(row(1, 32, 6), refused="the loss became nan")]
    assert worth_training(rows, LIMITS) == []
    assert verdicts(rows, LIMITS)[rows[0].candidate] is Verdict.FAILED


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (row(1, 8, None), Verdict.ESTIMATED_TOO_SLOW),
        (row(1, 8, 10.01), Verdict.TOO_SLOW),
        (row(1, 8, 9), Verdict.NOT_TRAINED),
        (row(1, 8, 9, aupro=0.849), Verdict.TOO_INACCURATE),
        (row(1, 8, 9, aupro=0.86), Verdict.DOMINATED),
        (row(1, 8, 2, aupro=0.86), Verdict.FRONT),
        (row(1, 8, 10, aupro=0.95), Verdict.CHOSEN),
    ],
)
def test_each_verdict(one: Row, expected: Verdict) -> None:
    assert verdicts([one, row(1, 16, 5, aupro=0.9)], LIMITS)[one.candidate] is expected
