"""Blobs of a mask: area, box, peak, centre and order, held against a flood fill."""

import time

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffad_runtime.defects import MOST_DEFECTS, find_defects
from diffad_runtime.geometry import to_frame
from diffad_runtime.result import Defect


def _slow(mask: npt.NDArray[np.uint8], values: npt.NDArray[np.float32]) -> list[Defect]:
    left = {(int(y), int(x)) for y, x in np.argwhere(mask)}
    defects = []
    while left:
        stack, blob = [left.pop()], []
        while stack:
            y, x = stack.pop()
            blob.append((y, x))
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            stack += near
        rows, columns = np.array(blob).T
        defects.append(
            Defect(
                area_px=len(blob),
                box=(
                    int(columns.min()),
                    int(rows.min()),
                    int(np.ptp(columns)) + 1,
                    int(np.ptp(rows)) + 1,
                ),
                peak=float(max(values[y, x] for y, x in blob)),
                centre=(columns.mean() + 0.5, rows.mean() + 0.5),
            )
        )
    return defects


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 25), st.integers(1, 25), st.floats(0, 1))
def test_as_by_flood_fill(seed: int, height: int, width: int, share: float) -> None:
    generator = np.random.default_rng(seed)
    mask = np.where(generator.random((height, width)) < share, 255, 0).astype(np.uint8)
    values = generator.random((height, width), np.float32)  # no two alike
    found, expected = find_defects(mask, values), _slow(mask, values)
    assert [d.peak for d in found] == sorted((d.peak for d in expected), reverse=True)[:MOST_DEFECTS]
    by_peak = {d.peak: d for d in expected}
    for defect in found:
        slow = by_peak[defect.peak]
        assert (defect.area_px, defect.box, defect.region) == (slow.area_px, slow.box, "")
        assert defect.centre == pytest.approx(slow.centre)
    moved = find_defects(mask, values, origin=(100, 1000))
    assert [(d.box[0] - 100, d.box[1] - 1000) for d in moved] == [d.box[:2] for d in found]
    assert [d.centre for d in moved] == [pytest.approx((x + 100, y + 1000)) for x, y in (d.centre for d in found)]


def test_nothing_and_diagonals_and_ties() -> None:
    mask = np.zeros((9, 9), np.uint8)
    assert find_defects(mask, np.ones((9, 9), np.float32)) == ()
    mask[0, 8] = mask[4, 4] = mask[5, 5] = mask[8, 0] = 255
    found = find_defects(mask, np.ones((9, 9), np.float32))
    assert [(d.area_px, d.centre) for d in found] == [(2, (5.0, 5.0)), (1, (8.5, 0.5)), (1, (0.5, 8.5))]


def test_a_smaller_map_is_brought_to_the_frame() -> None:
    values = np.random.default_rng(0).random((6, 5), np.float32)
    mask = np.full((31, 17), 255, np.uint8)
    mask[:, 8] = 0
    brought = to_frame(values, 31, 17)
    assert [d.peak for d in find_defects(mask, values)] == sorted(
        (float(brought[:, :8].max()), float(brought[:, 9:].max())), reverse=True
    )


def test_a_defect_belongs_where_its_peak_lies() -> None:
    mask, values = np.zeros((8, 20), np.uint8), np.zeros((8, 20), np.float32)
    mask[2:5, 2:18], values[3, 12] = 255, 1.0
    owners = np.repeat(np.int16([0, 1]), 10)[None].repeat(8, axis=0)
    assert [d.region for d in find_defects(mask, values, owners=owners, names=["a", "b"])] == ["b"]
    values[3, 4] = 1.0  # of equal peaks the first counts
    assert [d.region for d in find_defects(mask, values, owners=owners, names=["a", "b"])] == ["a"]


def test_noise_is_bounded_in_number_and_time() -> None:
    generator = np.random.default_rng(0)
    mask = np.where(generator.random((1080, 1920)) < 0.2, 255, 0).astype(np.uint8)
    start = time.perf_counter()
    found = find_defects(mask, generator.random(mask.shape, np.float32))
    assert time.perf_counter() - start < 2  # 0.05 s where it was measured
    assert len(found) == MOST_DEFECTS
