"""Opening and closing with Euclidean discs, held against sets of pixels; areas; edges."""

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st

from diffad_runtime.regions.cleanup import clean

_Bools = npt.NDArray[np.bool_]


def _slow(hot: _Bools, radius: float, *, grow: bool) -> _Bools:
    """One shifted copy for each pixel of the disc; what comes in from beyond repeats the edge."""
    reach = int(radius)
    out, padded = hot.copy(), np.pad(hot, reach, mode="edge")
    for y, x in np.ndindex(2 * reach + 1, 2 * reach + 1):
        if (y - reach) ** 2 + (x - reach) ** 2 <= radius**2:
            shifted = padded[y : y + hot.shape[0], x : x + hot.shape[1]]
            out = out | shifted if grow else out & shifted
    return out


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10**6),
    st.integers(1, 14),
    st.integers(1, 14),
    st.sampled_from([0, 1, 1.5, 2, 3]),
    st.sampled_from([0, 1, 1.5, 2, 4]),
    st.booleans(),
)
def test_as_by_the_book(seed: int, height: int, width: int, opening: float, closing: float, limited: bool) -> None:
    generator = np.random.default_rng(seed)
    may = generator.random((height, width)) < 0.8 if limited else np.ones((height, width), np.bool_)
    hot = (generator.random((height, width)) < generator.random()) & may
    expected = hot.copy()
    inner = (slice(9, -9), slice(9, -9))
    if opening:
        core = _slow(np.pad(hot | ~may, 9, constant_values=True), opening, grow=False)[inner] & may
        expected &= _slow(core, opening, grow=True)
    if closing:
        padded = np.pad(expected, 9)
        expected = _slow(_slow(padded, closing, grow=True), closing, grow=False)[inner] & may
    mask = np.where(hot, 255, 0).astype(np.uint8)
    before = mask.copy()
    found = clean(mask, opening=opening, closing=closing, min_area=1, counted=may if limited else None)
    np.testing.assert_array_equal(found != 0, expected)
    assert set(np.unique(found)) <= {0, 255}
    np.testing.assert_array_equal(mask, before)


def test_specks_go_gaps_close_and_edges_hold() -> None:
    mask = np.zeros((60, 80), np.uint8)
    mask[20:40, 20:40] = mask[20:40, 43:60] = 255
    mask[5, 5] = mask[50:52, 0] = 255  # specks
    mask[:4, 60:70] = 255  # cut by the frame's edge
    cleaned = clean(mask, opening=3, closing=2, min_area=1)
    assert not cleaned[5, 5]
    assert not cleaned[50:52].any()
    assert cleaned[30, 20:60].all()
    assert cleaned[0, 62:68].all()


def test_small_blobs_go_and_nothing_to_do_costs_nothing() -> None:
    mask = np.zeros((20, 20), np.uint8)
    mask[2:5, 2:5] = mask[10, 10] = mask[11, 11] = 255
    assert np.count_nonzero(clean(mask, opening=0, closing=0, min_area=3)) == 9
    assert np.count_nonzero(clean(mask, opening=0, closing=0, min_area=2)) == 11
    assert not clean(mask, opening=0, closing=0, min_area=10).any()
    assert clean(mask, opening=0, closing=0, min_area=1) is mask
    assert clean(np.zeros_like(mask), opening=3, closing=3, min_area=9).max() == 0
