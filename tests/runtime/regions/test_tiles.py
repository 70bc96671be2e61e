"""Tiles: they cover, they overlap, their shares add up, and their maps come together where they belong."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffad_runtime.engines.base import RawMaps
from diffad_runtime.errors import InputError
from diffad_runtime.regions.affine import Box, Grid
from diffad_runtime.regions.orientation import UPRIGHT, Orientation
from diffad_runtime.regions.tiles import Placement, tile_starts, tile_weights
from diffad_runtime.regions.views import Spent, View
from diffad_runtime.result import FloatMap, Image


def _maps(anomaly: FloatMap) -> RawMaps:
    return RawMaps(anomaly, None, anomaly, 0.0, 0.0)


def pointwise(image: Image) -> RawMaps:
    """Each input pixel for itself."""
    return _maps(image.mean(axis=2, dtype=np.float32) / np.float32(255))


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 500), st.integers(1, 120), st.data())
def test_tiles_cover_and_their_shares_add_up(length: int, size: int, data: st.DataObject) -> None:
    size = min(size, length)
    overlap, margin = data.draw(st.integers(0, size // 2)), data.draw(st.floats(0, 20))
    starts = tile_starts(length, size, overlap)
    assert (starts[0], starts[-1] + size) == (0, length)
    assert all(0 < after - before <= size - overlap for before, after in pairwise(starts))
    fewer = len(starts) - 1
    assert fewer == 0 or fewer * (size - overlap) + overlap < length
    centres = np.arange(length) + 0.5
    weights = tile_weights(starts, size, centres, margin)
    np.testing.assert_allclose(weights.sum(axis=0), 1, atol=1e-6)
    assert weights.min() >= 0
    for start, share in zip(starts, weights, strict=True):
        assert not share[(centres < start) | (centres > start + size)].any()


def test_fading_by_hand() -> None:
    """Two tiles of 8 that share 4 pixels, margin 1: the fade takes the middle two."""
    weights = tile_weights([0, 4], 8, np.arange(12) + 0.5, 1.0)
    np.testing.assert_allclose(weights[0], [1, 1, 1, 1, 1, 0.75, 0.25, 0, 0, 0, 0, 0])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(33, 90), st.integers(33, 90), st.integers(0, 16))
def test_tiles_at_the_frames_scale_equal_the_whole(seed: int, height: int, width: int, overlap: int) -> None:
    frame = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    box, all_count = Box(0, 0, width, height), np.ones((height, width), np.bool_)
    for size in (32, 64):  # a network that sees more pixels than the tile has: its map is brought to the frame's
        view = View.in_tiles(box, (32, 32), overlap, size, UPRIGHT, all_count)
        blended = view.run(frame, pointwise, Spent())
        assert blended.shape == (height, width)
        if size == 32:
            np.testing.assert_allclose(blended, pointwise(frame).anomaly, atol=1e-6)


@pytest.mark.parametrize("orientation", [UPRIGHT, Orientation(1, True), Orientation(2)])
def test_tiles_of_double_size_equal_the_whole_at_half_scale(orientation: Orientation) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (160, 256, 3), dtype=np.uint8)
    view = View.in_tiles(Box(0, 0, 256, 160), (64, 64), 16, 32, orientation, np.ones((160, 256), np.bool_))
    halves = frame.reshape(80, 2, 128, 2, 3).mean(axis=(1, 3)).mean(axis=2) / 255
    assert len(view.looks) == 5 * 3
    np.testing.assert_allclose(view.run(frame, pointwise, Spent()), halves, atol=0.6 / 255)


@settings(max_examples=40, deadline=None)
@given(st.integers(64, 200), st.integers(64, 200), st.integers(20, 60), st.sampled_from([16, 24, 32]))
def test_a_slope_has_no_steps_at_any_scale(height: int, width: int, tile: int, size: int) -> None:
    """Where tiles do not lie on whole map pixels, they are brought there: no seam is higher than the slope itself."""
    slope = np.add.outer(np.linspace(0, 120, height), np.linspace(0, 120, width))
    frame = np.repeat(np.round(slope)[..., None], 3, axis=2).astype(np.uint8)
    box = Box(0, 0, width, height)
    view = View.in_tiles(box, (tile, tile), tile // 3, size, UPRIGHT, np.ones((height, width), np.bool_))
    blended = 255 * view.run(frame, pointwise, Spent())
    y, x = view.grid.centres()
    expected = np.add.outer((y - 0.5) * 120 / (height - 1), (x - 0.5) * 120 / (width - 1))
    inner = (slice(2, -2), slice(2, -2))
    assert np.abs(blended - expected)[inner].max() < 1.6  # grey levels; frames are rounded to whole ones


def test_what_a_network_says_at_its_borders_leaves_no_seams() -> None:
    """A network that is wrong in its outermost pixels: only the frame's own border shows it."""

    def framed(image: Image) -> RawMaps:
        anomaly = np.full(image.shape[:2], 9, np.float32)
        anomaly[1:-1, 1:-1] = 0
        return _maps(anomaly)

    view = View.in_tiles(Box(0, 0, 200, 150), (64, 64), 16, 32, UPRIGHT, np.ones((150, 200), np.bool_))
    blended = view.run(np.zeros((150, 200, 3), np.uint8), framed, Spent())
    assert blended[2:-2, 2:-2].max() < 1e-6
    assert blended[0].min() > 1


def test_tiles_in_which_nothing_counts_are_left_out() -> None:
    counted = np.zeros((150, 200), np.bool_)
    counted[:20, :20] = True
    view = View.in_tiles(Box(0, 0, 200, 150), (64, 64), 16, 32, UPRIGHT, counted)
    assert [look.box for look in view.looks] == [(0, 0, 64, 64)]
    frame = np.full((150, 200, 3), 51, np.uint8)
    np.testing.assert_allclose(view.run(frame, pointwise, Spent())[:10, :10], 0.2, atol=1e-6)


def test_too_many_tiles() -> None:
    with pytest.raises(InputError, match="cut 4000 x 3000 into 12000000, expected 4096 at most"):
        View.in_tiles(Box(0, 0, 4000, 3000), (1, 1), 0, 32, UPRIGHT, np.ones((3000, 4000), np.bool_))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_placed_map_keeps_its_places(data: st.DataObject) -> None:
    """A slope on one grid, brought to another: each pixel holds the slope at its own centre."""
    sides = st.integers(1, 60)
    box = Box(data.draw(st.integers(0, 40)), data.draw(st.integers(0, 40)), data.draw(sides), data.draw(sides))
    source = Grid(box, data.draw(sides), data.draw(sides))
    target = Grid(Box(0, 0, 100, 100), data.draw(sides), data.draw(sides))
    y, x = source.centres()
    values = np.add.outer(y, 2 * x).astype(np.float32)
    place = Placement.of(source, target)
    placed = place.apply(values)
    there_y, there_x = (axis[part] for axis, part in zip(target.centres(), (place.rows, place.columns), strict=True))
    assert placed.shape == (len(there_y), len(there_x)) != (0, 0)
    # Beyond the outermost centres a map goes on flat.
    limit = np.add.outer(np.clip(there_y, y[0], y[-1]), 2 * np.clip(there_x, x[0], x[-1]))
    pitch = [max(a, b) for a, b in zip(source.pitch, target.pitch, strict=True)]
    assert np.abs(placed - limit).max() <= 0.5 * pitch[0] + pitch[1] + 1e-3


def test_a_much_finer_map_is_averaged() -> None:
    stripes = np.tile(np.float32([0, 1]), (64, 32))
    place = Placement.of(Grid(Box(0, 0, 16, 16), 64, 64), Grid(Box(0, 0, 32, 32), 32, 32))
    np.testing.assert_allclose(place.apply(stripes), np.full((16, 16), 0.5), atol=1e-6)
