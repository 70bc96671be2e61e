"""The teacher's answers, handed out in the order of the rows whatever their levels are."""

import numpy as np
import pytest
import torch

from diffad_export.training.lessons import Lessons
from diffad_export.training.targets import TeacherTargets

CPU = torch.device("cpu")
ROWS = np.array([7, 2, 7, 0, 5, 3])


def numbered(offset: int) -> TeacherTargets:
    """Row r holds r + offset, in every number of x0 and of both grids."""

    def filled(*shape: int) -> np.ndarray:
        return np.broadcast_to((np.arange(8) + offset).reshape(8, 1, 1, 1), (8, *shape)).astype(np.float16)

    return TeacherTargets(filled(48, 4, 4), (filled(3, 4, 4), filled(2, 2, 2)))


@pytest.mark.parametrize(
    "level",
    [[0, 2, 1, 0, 2, 1], [2, 2, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1], [2, 0, 2, 0, 0, 2]],
    ids=["mixed", "sorted", "one", "none-at-1"],
)
def test_answers_stand_in_the_order_of_the_rows(level: list[int]) -> None:
    lessons = Lessons(tuple(numbered(100 * k) for k in range(3)))
    x0, f = lessons.answers(ROWS, torch.tensor(level), CPU)
    expected = torch.tensor([float(row + 100 * k) for row, k in zip(ROWS, level, strict=True)])
    assert (x0.shape, [one.shape for one in f]) == ((6, 48, 4, 4), [(6, 3, 4, 4), (6, 2, 2, 2)])
    for values in (x0, *f):
        assert values.dtype == torch.float32
        assert torch.equal(values, expected.view(-1, 1, 1, 1).expand_as(values))


def test_a_single_level_is_simply_its_rows() -> None:
    x0, f = Lessons((numbered(0),)).answers(ROWS, torch.zeros(6, dtype=torch.int64), CPU)
    for values in (x0, *f):
        assert values[:, 0, 0, 0].tolist() == ROWS.tolist()
