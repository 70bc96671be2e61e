"""Time left, worked by hand."""

from diffad_export.ablation.pace import Pace
from diffad_export.ablation.paths import changed
from diffad_export.config import TrainConfig

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
