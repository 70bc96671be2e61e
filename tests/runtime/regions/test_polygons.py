"""Polygons: filled as point in polygon says, and refused where they make no sense."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffad_runtime.regions.affine import Points
from diffad_runtime.regions.polygons import fill, polygon_fault, without_repeats

COORDINATES = st.one_of(st.integers(-3, 15), st.floats(-3, 15), st.integers(-6, 30).map(lambda n: n / 2))
POLYGONS = st.lists(st.tuples(COORDINATES, COORDINATES), min_size=3, max_size=8).map(lambda p: np.array(p, np.float64))
TRIANGLE = [(0, 0), (8, 0), (0, 6)]


def _winds(points: Points, x: float, y: float) -> bool:
    """Even and odd crossings of the ray to the right, one edge after the other."""
    inside = False
    for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True):
        if (y0 <= y) != (y1 <= y):
            low, high = ((x0, y0), (x1, y1)) if y0 < y1 else ((x1, y1), (x0, y0))
            inside ^= bool(low[0] + (y - low[1]) * ((high[0] - low[0]) / (high[1] - low[1])) <= x)
    return inside


@settings(max_examples=150, deadline=None)
@given(POLYGONS)
def test_filled_where_the_centre_is_inside(points: Points) -> None:
    filled = fill([points], 11, 13)
    expected = [[_winds(points, x + 0.5, y + 0.5) for x in range(13)] for y in range(11)]
    np.testing.assert_array_equal(filled, expected)


@settings(max_examples=100, deadline=None)
@given(st.floats(0, 20), st.floats(0, 16), st.integers(3, 9))
def test_neighbours_share_no_pixel_and_leave_none(x: float, y: float, count: int) -> None:
    """The frame cut into triangles around any point: each pixel belongs to exactly one."""
    around = np.array([(0, 0), (20, 0), (20, 16), (0, 16)], np.float64)
    corners = zip(around, np.roll(around, -1, axis=0), strict=True)
    edge = np.concatenate([np.linspace(a, b, count, endpoint=False) for a, b in corners])
    triangles = [np.array([a, b, (x, y)]) for a, b in zip(edge, np.roll(edge, -1, axis=0), strict=True)]
    times = sum(fill([triangle], 16, 20).astype(int) for triangle in triangles)
    np.testing.assert_array_equal(times, 1)


def test_whole_pixels_union_and_nothing() -> None:
    box = np.array([(2, 1), (5, 1), (5, 4), (2, 4)], np.float64)
    filled = fill([box, box + np.array([1, 0])], 6, 8)
    assert np.argwhere(filled).min(axis=0).tolist() == [1, 2]
    assert filled.sum() == 3 * 4
    assert not fill([], 6, 8).any()
    assert not fill([box + 100], 6, 8).any()
    assert fill([np.array([(-9, -9), (99, -9), (99, 99), (-9, 99)], np.float64)], 6, 8).all()


@pytest.mark.parametrize(
    ("points", "fault"),
    [
        (TRIANGLE, None),
        (TRIANGLE[::-1], None),
        ([*TRIANGLE, TRIANGLE[0]], None),  # closed by hand
        ([(0, 0), (0, 0), (8, 0), (0, 6)], None),
        ([(0, 0), (4, 0), (8, 0), (0, 6)], None),  # a point on an edge
        ([(0, 0), (3, 0), (3, 4), (6, 4), (6, 0), (9, 0), (9, 9), (0, 9)], None),  # edges on one line, apart
        ([(0, 0), (10, 0), (6, 0), (6, 6)], "touches itself"),
        ([(5, 0), (10, 0), (0, 0), (0, 5)], "touches itself"),
        ([(0, 0), (8, 0)], "at least 3 different points, got 2"),
        ([(1, 1)] * 5, "got 0"),
        ([(0, 0), (4, 4), (8, 8)], "no area"),
        ([(0, 0), (4, 4), (4, 0), (0, 4)], "no area"),  # a bow tie of equal halves
        ([(0, 0), (4, 4), (4, 0), (0, 5)], "after points 0 and 2"),
        ([(0, 0), (8, 0), (8, 8), (8, 2), (8, 9)], "touches itself"),  # back along an edge
        ([(0, 0), (8, 0), (8, 8), (4, 0), (0, 8)], "touches itself"),  # a corner on an edge
        ([(0, 0), (4, 4), (8, 0), (8, 8), (4, 4), (0, 8)], "touches itself"),  # the same point twice
        ([(np.cos(t), np.sin(t)) for t in np.linspace(0, 6.28, 501)], "at most 500 points, got 501"),
    ],
)
def test_faults(points: list[tuple[float, float]], fault: str | None) -> None:
    found = polygon_fault(without_repeats(np.array(points, np.float64)))
    assert (found is None) if fault is None else (found is not None and fault in found)


@settings(max_examples=100, deadline=None)
@given(POLYGONS)
def test_what_has_no_fault_has_one_outline(points: Points) -> None:
    """Even and odd crossings, and crossings counted with their direction, agree where an outline is simple."""
    points = without_repeats(points)
    if polygon_fault(points) is not None:
        return
    filled = fill([points], 9, 12)
    ahead = np.roll(points, -1, axis=0)
    for y, x in np.ndindex(9, 12):
        turns = 0
        for a, b in zip(points, ahead, strict=True):
            if (a[1] <= y + 0.5) != (b[1] <= y + 0.5):
                low, high = (a, b) if a[1] < b[1] else (b, a)
                crossing = low[0] + (y + 0.5 - low[1]) * ((high[0] - low[0]) / (high[1] - low[1]))
                turns += (1 if b[1] > a[1] else -1) * int(crossing <= x + 0.5)
        assert filled[y, x] == (turns != 0)
