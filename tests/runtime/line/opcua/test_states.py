"""Where OPC 40100-1 says that a station is."""

from collections.abc import Callable
from itertools import product

import pytest

from diffad_runtime.line.job import LineState, Phase
from diffad_runtime.line.opcua.states import BEGIN, Auto, Place, Top, place, way

PLACES = [Place(top) for top in Top if top is not Top.OPERATIONAL] + [Place(Top.OPERATIONAL, auto) for auto in Auto]


@pytest.mark.parametrize(
    ("phase", "top"),
    [
        (Phase.STARTING, Top.PREOPERATIONAL),
        (Phase.READY, Top.OPERATIONAL),
        (Phase.FAULT, Top.ERROR),
        (Phase.STOPPED, Top.HALTED),
    ],
)
def test_every_phase_has_its_state(phase: Phase, top: Top, make_state: Callable[..., LineState]) -> None:
    found = place(make_state(phase), recipes=True, working=False)
    assert found.top is top
    assert (found.auto is not None) == (top is Top.OPERATIONAL)


@pytest.mark.parametrize(
    ("recipe", "recipes", "working", "open_", "auto"),
    [
        ("left", True, False, 0, Auto.READY),
        ("", False, False, 0, Auto.READY),  # the whole frame is looked at: nothing to prepare
        ("", True, False, 0, Auto.INITIALIZED),
        ("", True, True, 1, Auto.INITIALIZED),
        ("left", True, True, 0, Auto.SINGLE_EXECUTION),
        ("left", True, False, 2, Auto.SINGLE_EXECUTION),  # asked for by another channel
    ],
)
def test_the_automatic_mode(
    recipe: str, recipes: bool, working: bool, open_: int, auto: Auto, make_state: Callable[..., LineState]
) -> None:
    state = make_state(Phase.READY, recipe=recipe, open=open_)
    assert place(state, recipes=recipes, working=working) == Place(Top.OPERATIONAL, auto)


@pytest.mark.parametrize(("start", "end"), list(product(PLACES, PLACES)))
def test_every_way_hangs_together(start: Place, end: Place) -> None:
    steps = way(start, end)
    assert (steps == ()) == (start == end)
    assert len(steps) <= 4
    top, auto = start.top.value, start.auto.value if start.auto else None
    for step in steps:
        assert step.transition == f"{step.start}To{step.end}Auto"
        if step.automatic:
            assert top == Top.OPERATIONAL.value
            assert step.start == (auto or Auto.INITIALIZED.value)
            auto = step.end
        else:
            assert step.start == top
            top, auto = step.end, None
    if steps:
        assert top == end.top.value
        assert (auto or (Auto.INITIALIZED.value if end.auto else None)) == (end.auto.value if end.auto else None)


def test_halted_is_left_through_preoperational() -> None:
    names = [step.transition for step in way(Place(Top.HALTED), Place(Top.OPERATIONAL, Auto.READY))]
    assert names == ["HaltedToPreoperationalAuto", "PreoperationalToOperationalAuto", "InitializedToReadyAuto"]


def test_a_server_begins_before_it_can_do_anything() -> None:
    assert Place(Top.PREOPERATIONAL) == BEGIN
