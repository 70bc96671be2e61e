"""Polygons: whether one makes sense, and which pixels lie inside.

Knows points in any unit. Does not know what a polygon is for.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from diffad_runtime.regions.affine import Points

MOST_POINTS = 500


def without_repeats(points: Points) -> Points:
    """The same outline without points that repeat the one before them; the last may repeat the first."""
    return points[np.any(points != np.roll(points, 1, axis=0), axis=1)]


def polygon_fault(points: Points) -> str | None:
    """What is wrong with an outline, expected against got; None where it can be filled.

    Args:
        points: without repeats, finite.
    """
    count = len(points)
    if count < 3:
        return f"expected at least 3 different points, got {count}"
    if count > MOST_POINTS:
        return f"expected at most {MOST_POINTS} points, got {count}"
    ahead = np.roll(points, -1, axis=0)
    if abs(_cross(points, ahead).sum()) <= 1e-12 * np.ptp(points, axis=0).max() ** 2:
        return "it encloses no area: all its points lie on one line, or it crosses itself"
    crossing = _first_crossing(points, ahead)
    if crossing is not None:
        return f"it crosses or touches itself: the edges after points {crossing[0]} and {crossing[1]} (counted from 0)"
    return None


def fill(polygons: Sequence[Points], height: int, width: int) -> npt.NDArray[np.bool_]:
    """Pixels whose centre lies inside at least one polygon.

    Of two polygons that share an edge, each centre on the edge belongs to exactly one.

    Args:
        polygons: in pixels; what lies outside [0, width] x [0, height] is cut off.

    Returns:
        bool (H, W).
    """
    inside = np.zeros((height, width), np.bool_)
    for points in polygons:
        edges = _first_at(np.array([points[:, 1].min(), points[:, 1].max()]))
        first, end = (int(row) for row in np.clip(edges, 0, height))
        inside[first:end] |= _fill_rows(points, first, end, width)
    return inside


def _fill_rows(points: Points, first: int, end: int, width: int) -> npt.NDArray[np.bool_]:
    """Rows first to end: even and odd crossings of each row's middle line with the outline."""
    toggles = np.zeros((end - first, width + 1), np.bool_)
    for start, stop in zip(points, np.roll(points, -1, axis=0), strict=True):
        (x0, y0), (x1, y1) = (start, stop) if start[1] < stop[1] else (stop, start)
        # Half-open: a middle line through a corner crosses one of the two edges that meet there.
        top, bottom = (int(row) for row in np.clip(_first_at(np.array([y0, y1])), first, end))
        if top == bottom:  # between two middle lines; its slope may be beyond any number
            continue
        rows = np.arange(top, bottom)
        x = x0 + (rows + 0.5 - y0) * ((x1 - x0) / (y1 - y0))
        toggles[rows - first, np.clip(_first_at(x), 0, width)] ^= True
    return np.logical_xor.accumulate(toggles, axis=1)[:, :width]


def _first_at(edge: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """The first pixel whose centre is at or beyond an edge."""
    return np.ceil(edge - 0.5).astype(np.int64)


def _cross(a: Points, b: Points) -> npt.NDArray[np.float64]:
    return np.asarray(a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0], np.float64)


def _first_crossing(starts: Points, ends: Points) -> tuple[int, int] | None:
    """The first two edges that have a point in common which they should not have."""
    count = len(starts)
    # An outline that turns back on itself is found too: then the edge after that touches the one before.
    one, other = np.triu_indices(count, 2)
    apart = ~((one == 0) & (other == count - 1))  # the first and the last edge meet
    one, other = one[apart], other[apart]
    a, b, c, d = starts[one], ends[one], starts[other], ends[other]
    sides = [np.sign(_cross(b - a, p - a)) for p in (c, d)] + [np.sign(_cross(d - c, p - c)) for p in (a, b)]
    boxes = (np.maximum(np.minimum(a, b), np.minimum(c, d)) <= np.minimum(np.maximum(a, b), np.maximum(c, d))).all(
        axis=1
    )
    hits = np.flatnonzero((sides[0] * sides[1] <= 0) & (sides[2] * sides[3] <= 0) & boxes)
    return (int(one[hits[0]]), int(other[hits[0]])) if len(hits) else None
