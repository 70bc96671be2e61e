"""Points and pictures on their way to the network and back: eight orientations, any size, any crop."""

import itertools

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffad_runtime.errors import InputError
from diffad_runtime.geometry import to_input
from diffad_runtime.regions.affine import Affine, Box, Grid
from diffad_runtime.regions.orientation import Orientation
from diffad_runtime.regions.views import Look

EIGHT = [Orientation(turns, mirrored) for turns in range(4) for mirrored in (False, True)]  # type: ignore[arg-type]
SIDES = st.integers(1, 50)
NUMBERS = st.floats(-50, 50)
AFFINES = st.builds(Affine, NUMBERS, NUMBERS, NUMBERS, NUMBERS, NUMBERS, NUMBERS)


@settings(max_examples=100, deadline=None)
@given(AFFINES, AFFINES, NUMBERS, NUMBERS)
def test_affine_maps_chain_and_turn_back(one: Affine, other: Affine, x: float, y: float) -> None:
    point = np.array([x, y])
    np.testing.assert_allclose(one.then(other)(point), other(one(point)), rtol=1e-9, atol=1e-6)
    determinant = one.xx * one.yy - one.xy * one.yx
    if abs(determinant) > 1:
        np.testing.assert_allclose(one.inverse()(one(point)), point, atol=1e-6)


def test_a_flattened_plane_has_no_way_back() -> None:
    with pytest.raises(InputError, match="no way back"):
        Affine.scale(0, 1).inverse()


def test_turns_are_clockwise_and_the_flip_comes_after() -> None:
    frame = np.uint8([[1, 2, 3], [4, 5, 6]])
    assert Orientation.of(90, "none").apply(frame).tolist() == [[4, 1], [5, 2], [6, 3]]
    assert Orientation.of(90, "horizontal").apply(frame).tolist() == [[1, 4], [2, 5], [3, 6]]
    assert Orientation.of(90, "vertical").apply(frame).tolist() == [[6, 3], [5, 2], [4, 1]]
    assert Orientation.of(0, "vertical").apply(frame).tolist() == [[4, 5, 6], [1, 2, 3]]
    assert Orientation.of(180, "none").apply(frame).tolist() == [[6, 5, 4], [3, 2, 1]]
    ways = {Orientation.of(r, f) for r in (0, 90, 180, 270) for f in ("none", "horizontal", "vertical")}
    assert ways == set(EIGHT)
    assert Orientation().apply(frame) is frame


@settings(max_examples=200, deadline=None)
@given(SIDES, SIDES, st.sampled_from(EIGHT), st.data())
def test_pictures_and_points_take_the_same_way(
    height: int, width: int, orientation: Orientation, data: st.DataObject
) -> None:
    y, x = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    frame = np.zeros((height, width, 3), np.uint8)
    frame[y, x] = (1, 2, 3)
    seen = orientation.apply(frame)
    way = orientation.affine(height, width)
    column, row = way([x + 0.5, y + 0.5])
    assert (column % 1, row % 1) == (0.5, 0.5)
    assert seen[int(row), int(column)].tolist() == [1, 2, 3]
    assert seen.flags.c_contiguous
    np.testing.assert_array_equal(orientation.undo(seen), frame)
    assert way.inverse()([column, row]).tolist() == [x + 0.5, y + 0.5]


def _boxes(data: st.DataObject, height: int, width: int) -> Box:
    left, top = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    return Box(left, top, data.draw(st.integers(1, width - left)), data.draw(st.integers(1, height - top)))


@settings(max_examples=150, deadline=None)
@given(SIDES, SIDES, st.sampled_from(EIGHT), st.sampled_from([8, 31]), st.data())
def test_a_mark_in_the_frame_is_where_the_look_says(
    height: int, width: int, orientation: Orientation, size: int, data: st.DataObject
) -> None:
    """The brightest input pixel is the one that `to_input` names, within what one frame or input pixel covers."""
    box = _boxes(data, height, width)
    x = data.draw(st.integers(box.left, box.left + box.width - 1))
    y = data.draw(st.integers(box.top, box.top + box.height - 1))
    frame = np.zeros((height, width, 3), np.uint8)
    frame[y, x] = 255
    look = Look(box, size, orientation)
    small = orientation.apply(to_input(np.ascontiguousarray(frame[box.rows, box.columns]), size))[..., 0].astype(float)
    column, row = look.to_input([x + 0.5, y + 0.5])
    if small.sum() < 200:  # means over many pixels, rounded to next to nothing
        return
    rows, columns = np.indices(small.shape) + 0.5
    turned = orientation.turns % 2 == 1
    reach_y, reach_x = size / box.height, size / box.width
    reach = (max(1.0, reach_x), max(1.0, reach_y)) if turned else (max(1.0, reach_y), max(1.0, reach_x))
    assert abs((small * rows).sum() / small.sum() - row) <= reach[0]
    assert abs((small * columns).sum() / small.sum() - column) <= reach[1]
    np.testing.assert_allclose(look.to_input.inverse()([column, row]), [x + 0.5, y + 0.5], atol=1e-9)


@pytest.mark.parametrize("orientation", EIGHT)
@pytest.mark.parametrize("shape", [(1080, 1920), (721, 1283), (480, 640), (301, 77)])
def test_shrinking_first_is_turning_first(orientation: Orientation, shape: tuple[int, int]) -> None:
    generator = np.random.default_rng(0)
    frame = generator.integers(0, 256, (*shape, 3), dtype=np.uint8)
    one = orientation.apply(to_input(frame, 96)).astype(int)
    other = to_input(orientation.apply(frame), 96).astype(int)
    assert np.abs(one - other).max() <= 3  # noise is the worst there is; grey levels


@settings(max_examples=100, deadline=None)
@given(SIDES, SIDES, SIDES, SIDES, st.data())
def test_centres_of_a_grid(height: int, width: int, rows: int, columns: int, data: st.DataObject) -> None:
    grid = Grid(_boxes(data, height, width), rows, columns)
    y, x = grid.centres()
    for row, column in itertools.product({0, rows // 2, rows - 1}, {0, columns - 1}):
        there = grid.to_frame([column + 0.5, row + 0.5])
        np.testing.assert_allclose(there, [x[column], y[row]], atol=1e-9)
        np.testing.assert_allclose(grid.to_frame.inverse()(there), [column + 0.5, row + 0.5], atol=1e-9)
    pixel_y, pixel_x = grid.frame_pixels()

    def holds(pixels: npt.NDArray[np.int64], centres: npt.NDArray[np.float64], corner: int) -> bool:
        return bool((np.abs(pixels + corner + 0.5 - centres) <= 0.5 + 1e-9).all())

    assert holds(pixel_y, y, grid.box.top)
    assert holds(pixel_x, x, grid.box.left)
