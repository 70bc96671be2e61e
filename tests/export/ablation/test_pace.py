"""Time left, worked by hand."""

from diffad_export.ablation.pace import Pace
from diffad_export.ablation.paths import changed
from diffad_export.config import DistilConfig, TrainConfig

FREE = TrainConfig()
SMALL = changed(FREE, {"size": 64}, "")
LIMITED = changed(FREE, {"optimiser.max_minutes": 10}, "")


def test_nothing_measured() -> None:
    assert Pace().left([FREE], 1) is None
    assert Pace().left([], 0) is None
    # a limit is known beforehand
    assert Pace().left([LIMITED, LIMITED], 2) == 20


def test_like_goes_by_like() -> None:
    pace = Pace([(FREE, 30.0), (SMALL, 2.0), (SMALL, 4.0)], [0.5, 1.5])
    assert pace.left([SMALL, FREE], 5) == 3 + 30 + 5
    # another score is the same work
    assert pace.left([changed(SMALL, {"score.alpha": 1.0}, "")], 1) == 4
    # unlike all that was measured: the limit, or else the mean of all
    assert pace.left([LIMITED], 0) == 10
    assert pace.left([changed(FREE, {"size": 128}, "")], 0) == 12
    # a limit that was not used up
    assert Pace([(LIMITED, 4.0)], [1.0]).left([LIMITED], 1) == 5


def test_students() -> None:
    wide, narrow = (changed(DistilConfig(), {"width": width}, "") for width in (64, 16))
    pace = Pace([(FREE, 30.0)], [1.0], [(wide, 8.0), (wide, 10.0)])
    assert pace.left([FREE], 2, [wide, wide]) == 30 + 2 + 18
    # another seed is the same work; unlike all that was measured: the limit, or else the mean of all
    assert pace.left([], 0, [changed(wide, {"seed": 3}, "")]) == 9
    assert pace.left([], 0, [changed(narrow, {"optimiser.max_minutes": 5}, "")]) == 5
    assert pace.left([], 0, [narrow]) == 9
    assert Pace().left([], 1, [narrow]) is None
