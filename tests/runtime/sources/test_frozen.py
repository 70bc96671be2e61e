"""A picture that stands still, against comparing everything."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from diffad_runtime.sources.frozen import FrozenPicture


@given(st.lists(st.integers(0, 3), max_size=30), st.sampled_from([(16, 16), (18, 34), (64, 48)]))
def test_the_second_repetition_on_is_seen_and_nothing_else(levels: list[int], shape: tuple[int, int]) -> None:
    look = FrozenPicture()
    run = 0
    for index, level in enumerate(levels):
        image = np.zeros((*shape, 3), np.uint8)
        image[-1, -1, 2] = level  # where no sample lies
        run = run + 1 if index and level == levels[index - 1] else 0
        # The sample cannot tell these pictures apart, so that whole ones are kept from the second picture on.
        assert look.same(image) == (run >= 1 if index >= 2 else False)


def test_a_receiver_may_write_to_his_picture() -> None:
    look = FrozenPicture()
    camera = np.random.default_rng(0).integers(0, 256, (100, 80, 3), dtype=np.uint8)
    seen = []
    for _ in range(4):
        image = camera.copy()
        seen.append(look.same(image))
        image[:] = 7
    assert seen == [False, False, True, True]


def test_another_size_is_another_picture() -> None:
    look = FrozenPicture()
    for side in (64, 65, 64, 65):
        assert not look.same(np.zeros((side, side, 3), np.uint8))
