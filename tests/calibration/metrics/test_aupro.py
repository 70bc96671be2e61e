"""AUPRO against hand-computed 4x4 cases and against a slow reference that shares no code with the product."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffad_calibration.metrics import aupro, auroc, pool_pixels, pro_curve
from diffad_runtime.errors import DataError

EXACT = 1e-12  # both sides count in float64; only the order of the sums differs


def flood_fill(mask: np.ndarray) -> list[list[tuple[int, int]]]:
    """8-connected components, found one pixel at a time."""
    seen, components = set(), []
    height, width = mask.shape
    for start in zip(*np.nonzero(mask), strict=True):
        if start in seen:
            continue
        stack, component = [start], []
        seen.add(start)
        while stack:
            y, x = stack.pop()
            component.append((y, x))
            for v in range(max(0, y - 1), min(height, y + 2)):
                for u in range(max(0, x - 1), min(width, x + 2)):
                    if mask[v, u] and (v, u) not in seen:
                        seen.add((v, u))
                        stack.append((v, u))
        components.append(component)
    return components


def slow_aupro(maps: list[np.ndarray], masks: list[np.ndarray], limit: float) -> float:
    """Sweep every distinct score, count one component after the other, integrate by hand."""
    normal = np.concatenate([m[g == 0] for m, g in zip(maps, masks, strict=True)]).tolist()
    components = []
    for scores, mask in zip(maps, masks, strict=True):
        components += [[float(scores[p]) for p in component] for component in flood_fill(mask)]
    curve = [(0.0, 0.0)]
    for threshold in sorted({*normal, *(v for c in components for v in c)}, reverse=True):
        false = sum(value >= threshold for value in normal) / len(normal)
        shares = [sum(value >= threshold for value in c) / len(c) for c in components]
        curve.append((false, sum(shares) / len(shares)))
    area = 0.0
    for (x0, y0), (x1, y1) in itertools.pairwise(curve):
        if x0 < limit < x1:
            area += (limit - x0) * (y0 + y0 + (y1 - y0) * (limit - x0) / (x1 - x0)) / 2
        elif x1 <= limit:
            area += (x1 - x0) * (y0 + y1) / 2
    return area / limit


def as_map(*rows: list[float]) -> np.ndarray:
    return np.array(rows, np.float32)


MASK = as_map([1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1])  # a square of four and a single pixel: 11 normal


def test_perfect_map_scores_one() -> None:
    pool = pool_pixels([MASK.copy()], [MASK])
    assert aupro(pool, 0.3) == pytest.approx(1.0, abs=EXACT)
    assert aupro(pool, 0.05) == pytest.approx(1.0, abs=EXACT)


def test_constant_map_is_the_diagonal() -> None:
    pool = pool_pixels([np.full((4, 4), 0.7, np.float32)], [MASK])
    assert aupro(pool, 0.3) == pytest.approx(0.15, abs=EXACT)
    assert aupro(pool, 0.05) == pytest.approx(0.025, abs=EXACT)


def test_inverted_map_scores_zero() -> None:
    assert aupro(pool_pixels([-MASK], [MASK]), 0.3) == 0.0


def test_hand_computed_regions_count_equally() -> None:
    # All four pixels of the square lie above every normal pixel, the single pixel below all: PRO = 1/2 throughout,
    # although four defect pixels of five are found.
    scores = as_map([9, 9, 1, 1], [9, 9, 1, 1], [1, 1, 1, 1], [1, 1, 1, 0])
    scores[scores == 1] = np.linspace(1, 2, 11)
    assert aupro(pool_pixels([scores], [MASK]), 0.3) == pytest.approx(0.5, abs=EXACT)


def test_hand_computed_interpolation_at_the_limit() -> None:
    # Normal pixels descending: 11, 10, ..., 1. Square: 12, 12, 12, 10.5; single pixel: 9.5.
    # PRO is (3/4 + 0)/2 = 3/8 up to FPR 1/11, where the square's last pixel comes in: (1 + 0)/2 up to 2/11.
    # The limit 3/22 lies halfway between 1/11 and 2/11.
    scores = MASK.copy()
    scores[MASK == 0] = np.arange(1, 12)
    scores[:2, :2] = [[12, 12], [12, 10.5]]
    scores[3, 3] = 9.5
    pool = pool_pixels([scores], [MASK])
    fpr, pro = pro_curve(pool, 3 / 22)
    np.testing.assert_allclose(fpr, [0, 0, 1 / 11, 1 / 11, 3 / 22], atol=EXACT)
    np.testing.assert_allclose(pro, [0, 3 / 8, 3 / 8, 1 / 2, 1 / 2], atol=EXACT)
    area = (1 / 11) * (3 / 8) + (1 / 22) * (1 / 2)
    assert aupro(pool, 3 / 22) == pytest.approx(area / (3 / 22), abs=EXACT)


def test_hand_computed_ties_across_the_limit() -> None:
    # The square shares its score with 10 of 11 normal pixels, the single pixel and one normal pixel lie above them:
    # PRO 1/2 at FPR 1/11, then straight to (1, 1).
    scores = np.ones((4, 4), np.float32)
    scores[0, 3], scores[3, 3] = 9, 8
    pool = pool_pixels([scores], [MASK])
    at_limit = 0.5 + 0.5 * (0.3 - 1 / 11) / (10 / 11)
    area = (0.3 - 1 / 11) * (0.5 + at_limit) / 2
    assert aupro(pool, 0.3) == pytest.approx(area / 0.3, abs=EXACT)


def test_one_component_and_no_limit_is_the_auroc() -> None:
    rng = np.random.default_rng(5)
    mask = np.zeros((24, 24), np.uint8)
    mask[4:9, 6:20] = 1
    pool = pool_pixels([rng.integers(0, 9, (24, 24)).astype(np.float32) + mask], [mask])
    assert aupro(pool, 1.0) == pytest.approx(auroc(pool.positive, pool.negative), abs=EXACT)


def test_diagonal_neighbours_are_one_component() -> None:
    diagonal = np.eye(4, dtype=np.uint8)
    assert pool_pixels([np.zeros((4, 4), np.float32)], [diagonal]).components == 1
    anti = np.array([[1, 0, 0], [0, 0, 1], [1, 0, 1]], np.uint8)
    assert pool_pixels([np.zeros((3, 3), np.float32)], [anti]).components == 3


def test_normal_pixels_of_good_and_defective_images_are_pooled() -> None:
    # A false alarm in a good image pushes the FPR of the whole class: 16 + 11 normal pixels.
    good = np.zeros((4, 4), np.float32)
    good[0, 0] = 5
    pool = pool_pixels([MASK * 2, good], [MASK, None])
    assert pool.negative.size == 27
    # PRO 0 up to FPR 1/27, the false alarm, and 1 from there.
    assert aupro(pool, 0.3) == pytest.approx((0.3 - 1 / 27) / 0.3, abs=EXACT)


@st.composite
def scored_images(draw: st.DrawFn) -> tuple[list[np.ndarray], list[np.ndarray]]:
    side = draw(st.integers(2, 7))
    count = draw(st.integers(1, 4))
    levels = draw(st.sampled_from([1, 2, 4, 1000]))  # few levels: ties everywhere, one level: constant maps
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    density = draw(st.sampled_from([0.05, 0.3, 0.6]))
    maps = [rng.integers(0, levels, (side, side)).astype(np.float32) for _ in range(count)]
    masks = [(rng.random((side, side)) < density).astype(np.uint8) for _ in range(count)]
    masks[0][0, 0], masks[0][1, 1] = 1, 0
    if draw(st.booleans()):
        maps = [m + 0.5 * g for m, g in zip(maps, masks, strict=True)]
    return maps, masks


@settings(max_examples=150, deadline=None)
@given(scored_images(), st.sampled_from([0.05, 0.3, 0.5, 1.0]))
def test_equals_the_slow_reference(images: tuple[list[np.ndarray], list[np.ndarray]], limit: float) -> None:
    maps, masks = images
    pool = pool_pixels(maps, masks)
    assert pool.components == sum(len(flood_fill(mask)) for mask in masks)
    assert aupro(pool, limit) == pytest.approx(slow_aupro(maps, masks, limit), abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(scored_images())
def test_a_monotone_transform_changes_nothing(images: tuple[list[np.ndarray], list[np.ndarray]]) -> None:
    maps, masks = images
    stretched = [np.exp(m / 500).astype(np.float32) * 3 - 7 for m in maps]
    assert aupro(pool_pixels(stretched, masks), 0.3) == aupro(pool_pixels(maps, masks), 0.3)


@pytest.mark.parametrize("limit", [0.05, 0.3])
def test_thinned_thresholds_stay_close_to_all_of_them(limit: float) -> None:
    rng = np.random.default_rng(3)
    masks = [np.zeros((96, 96), np.uint8) for _ in range(6)]
    for mask in masks[:4]:
        y, x = rng.integers(0, 80, 2)
        mask[y : y + 12, x : x + 9] = 1
    maps = [(rng.normal(size=(96, 96)) + 1.2 * mask).astype(np.float32) for mask in masks]
    pool = pool_pixels(maps, masks)
    assert aupro(pool, limit, points=500) == pytest.approx(aupro(pool, limit, points=10**9), abs=1e-4)


def test_curve_is_ascending_and_ends_at_the_limit() -> None:
    rng = np.random.default_rng(0)
    mask = (rng.random((32, 32)) < 0.1).astype(np.uint8)
    fpr, pro = pro_curve(pool_pixels([rng.random((32, 32)).astype(np.float32)], [mask]), 0.3)
    assert fpr[0] == 0
    assert fpr[-1] == 0.3
    assert (np.diff(fpr) >= 0).all()
    assert (np.diff(pro) >= 0).all()


@pytest.mark.parametrize("mask", [None, np.ones((4, 4), np.uint8)])
def test_one_sided_pools_are_refused(mask: np.ndarray | None) -> None:
    with pytest.raises(DataError, match="needs normal and defective pixels"):
        aupro(pool_pixels([np.zeros((4, 4), np.float32)], [mask]))


def test_bad_input_is_named() -> None:
    flat = np.zeros((4, 4), np.float32)
    with pytest.raises(DataError, match=r"map 0 is \(4, 4\) and its mask is \(2, 2\)"):
        pool_pixels([flat], [np.ones((2, 2), np.uint8)])
    with pytest.raises(DataError, match="map 1 holds NaN"):
        pool_pixels([flat, flat * np.nan], [None, None])
    with pytest.raises(DataError, match="ends after 1"):
        pool_pixels([flat, flat], [None])
    with pytest.raises(DataError, match="limit is 0"):
        pro_curve(pool_pixels([flat], [MASK]), 0)
