"""Nested phases as one number: closed forms, and what holds for any order that TensorRT may tell them in."""

from hypothesis import given
from hypothesis import strategies as st

from diffad_runtime.tensorrt.progress import Fraction


def test_steps_of_phases_within_phases() -> None:
    fraction = Fraction()
    assert fraction.value == 0
    fraction.start("build", None, 4)
    fraction.step("build", 0)
    assert fraction.value == 1 / 4
    fraction.start("optimise", "build", 2)
    fraction.step("optimise", 0)
    assert fraction.value == (1 + 1 / 2) / 4
    fraction.start("time", "optimise", 10)
    fraction.step("time", 4)
    assert fraction.value == (1 + (1 + 0.5) / 2) / 4
    fraction.finish("time")
    fraction.step("optimise", 1)
    fraction.finish("optimise")
    assert fraction.value == (1 + (1 + 0.5) / 2) / 4  # does not fall back before the step is told
    fraction.step("build", 1)
    assert fraction.value == 2 / 4
    fraction.finish("build")
    assert fraction.value == 1


def test_a_phase_without_steps_and_one_that_nobody_started() -> None:
    fraction = Fraction()
    fraction.start("empty", None, 0)
    fraction.step("other", 3)
    fraction.finish("other")
    fraction.step("empty", 7)
    assert fraction.value == 1


def test_phases_that_name_each_other() -> None:
    fraction = Fraction()
    fraction.start("a", "b", 2)
    fraction.start("b", "a", 2)
    assert fraction.value == 0


events = st.lists(
    st.one_of(
        st.tuples(
            st.just("start"), st.sampled_from("abcd"), st.sampled_from(["a", "b", "c", None]), st.integers(-1, 5)
        ),
        st.tuples(st.just("step"), st.sampled_from("abcd"), st.integers(0, 9)),
        st.tuples(st.just("finish"), st.sampled_from("abcd")),
    ),
    max_size=40,
)


@given(events)
def test_whatever_is_told_it_stays_within_and_never_falls(told: list[tuple[object, ...]]) -> None:
    fraction, before = Fraction(), 0.0
    for kind, *arguments in told:
        getattr(fraction, str(kind))(*arguments)
        assert before <= fraction.value <= 1
        before = fraction.value
