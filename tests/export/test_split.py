"""The split of good images: disjoint, whole, seeded, and refused where there are too few."""

import numpy as np
import pytest

from diffad_export.config import TrainConfig
from diffad_export.split import Split, split_good
from diffad_runtime.errors import DataError


def split(count: int, config: TrainConfig) -> Split:
    images = np.stack([np.full((8, 8, 3), i % 256, np.uint8) for i in range(count)])
    return split_good("cups", images, [f"good/{i}.png" for i in range(count)], config)


@pytest.mark.parametrize(("count", "held"), [(8, 4), (10, 4), (40, 8), (200, 40)])
def test_the_split_is_disjoint_whole_and_seeded(count: int, held: int) -> None:
    made = split(count, TrainConfig(holdback=0.2))
    back, front = made.held[:, 0, 0, 0].tolist(), made.train[:, 0, 0, 0].tolist()
    assert (len(back), len(front), made.count) == (held, count - held, count)
    assert sorted(back + front) == list(range(count))
    assert made.held_names == [f"good/{i}.png" for i in back]
    assert np.array_equal(made.held, split(count, TrainConfig(holdback=0.2)).held)
    assert split(count, TrainConfig(seed=1, holdback=0.2)).held_names != made.held_names
    assert split(count, TrainConfig(seed=1, holdback=0.2)).digest == made.digest


def test_too_few_good_images() -> None:
    with pytest.raises(DataError, match="7 good images of cups are too few to train on, at least 8"):
        split(7, TrainConfig())
