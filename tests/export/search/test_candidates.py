"""What may be searched, and what is refused before any work."""

import math
from typing import Any

import pytest

from diffad_export.config import DistilConfig
from diffad_export.search.candidates import Candidate, SearchOptions, Shape, config_of
from diffad_runtime.errors import InputError


def test_all_of_the_table_unless_named() -> None:
    assert len(SearchOptions(10).candidates()) == 3 * 6 * 2
    named = SearchOptions(10, steps=(2, 1, 2), widths=(16,), precisions=("int8",)).candidates()
    assert named == [Candidate(Shape(1, 16), "int8"), Candidate(Shape(2, 16), "int8")]
    assert list(map(str, named)) == ["1 step x width 16, int8", "2 steps x width 16, int8"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"budget_ms": 0.0}, "a budget of 0.0 ms cannot be kept"),
        ({"budget_ms": -3.0}, "a budget of -3.0 ms"),
        ({"budget_ms": math.nan}, "a budget of nan ms"),
        ({"budget_ms": math.inf}, "a budget of inf ms"),
        ({"steps": ()}, "no steps to choose from. Name at least one of 1, 2, 4"),
        ({"steps": (1, 3)}, "3 is not one of the steps. Choose from: 1, 2, 4"),
        ({"widths": ()}, "no widths to choose from"),
        ({"widths": (20,)}, "20 is not one of the widths. Choose from: 8, 16, 24"),
        ({"precisions": ()}, "no precisions to choose from"),
        ({"precisions": ("int4",)}, "'int4' is not one of the precisions. Choose from: fp32, int8"),
        ({"frame_size": (0, 10)}, "no frames of 10 x 0"),
    ],
)
def test_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SearchOptions(**({"budget_ms": 10.0} | change))


def test_a_shape_changes_steps_width_and_levels_alone() -> None:
    base = DistilConfig(chain_steps=(25,), width=48, shared=True, seed=7)
    made = config_of(base, Shape(2, 16), (50, 75))
    assert (made.steps, made.width, made.chain_steps) == (2, 16, (50, 75))
    assert (made.shared, made.seed) == (True, 7)
    assert config_of(base, Shape(4, 16), None).chain_steps is None
