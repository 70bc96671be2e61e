"""AUPRO against the published procedure, written out step by step: thresholds at evenly spaced ranks of the normal
pixels' scores, 8-connected components, trapezoids, the last one cut at the limit."""

import itertools
from collections.abc import Callable

import cv2
import numpy as np
import pytest

from diffad_calibration.metrics import aupro, evaluate_maps, pool_pixels

AGREES = 1e-3
SIDE = 64
Set = tuple[list[np.ndarray], list[np.ndarray]]


def regions(mask: np.ndarray) -> list[np.ndarray]:
    """Rows and columns of every component: pixels are merged with the neighbours that they touch, corners included."""
    owner = {place: place for place in zip(*map(list, np.nonzero(mask)), strict=True)}

    def root(place: tuple[int, int]) -> tuple[int, int]:
        while owner[place] != place:
            place = owner[place]
        return place

    for y, x in list(owner):
        for neighbour in ((y - 1, x - 1), (y - 1, x), (y - 1, x + 1), (y, x - 1)):
            if neighbour in owner:
                owner[root((y, x))] = root(neighbour)
    found: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for place in owner:
        found.setdefault(root(place), []).append(place)
    return [np.array(places).T for places in found.values()]


def published(maps: list[np.ndarray], masks: list[np.ndarray], limit: float, steps: int = 1500) -> float:
    normal = np.sort(np.concatenate([m[g == 0] for m, g in zip(maps, masks, strict=True)]))[::-1]
    parts = [m[tuple(part)] for m, g in zip(maps, masks, strict=True) for part in regions(g)]
    last = min(len(normal) - 1, int(limit * len(normal)) + 1)
    thresholds = [normal[round(rank)] for rank in np.linspace(0, last, min(steps, last + 1))]
    points = [(0.0, 0.0)]
    for threshold in dict.fromkeys(thresholds):
        # A threshold that is itself a score is passed from above and left below: without its ties, then with them.
        for above in (np.greater, np.greater_equal):
            false_positives = float(np.mean(above(normal, threshold)))
            overlap = float(np.mean([np.mean(above(part, threshold)) for part in parts]))
            points.append((false_positives, overlap))
    points.append((1.0, 1.0))
    area = 0.0
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        if x1 > limit:
            area += (limit - x0) * (y0 + y0 + (y1 - y0) * (limit - x0) / (x1 - x0)) / 2
            break
        area += (x1 - x0) * (y0 + y1) / 2
    return area / limit


def squares(rng: np.random.Generator, count: int = 6) -> list[np.ndarray]:
    """Masks; the last third marks nothing."""
    masks = [np.zeros((SIDE, SIDE), np.uint8) for _ in range(count)]
    for mask in masks[: count - count // 3]:
        for _ in range(3):
            y, x, h, w = rng.integers((0, 0, 2, 2), (SIDE - 14, SIDE - 14, 14, 14))
            mask[y : y + h, x : x + w] = 255
    return masks


def smooth(rng: np.random.Generator, masks: list[np.ndarray], lift: float) -> list[np.ndarray]:
    noise = [cv2.GaussianBlur(rng.normal(size=(SIDE, SIDE)).astype(np.float32), (0, 0), 2) * 5 for _ in masks]
    return [n + np.float32(lift) * (m > 0) for n, m in zip(noise, masks, strict=True)]


def random_maps(rng: np.random.Generator) -> Set:
    masks = squares(rng)
    return smooth(rng, masks, 1.0), masks


def constant(rng: np.random.Generator) -> Set:
    masks = squares(rng)
    return [np.full((SIDE, SIDE), 0.25, np.float32) for _ in masks], masks


def massive_ties(rng: np.random.Generator) -> Set:
    maps, masks = random_maps(rng)
    return [np.round(m * 2) for m in maps], masks


def single_pixels(rng: np.random.Generator) -> Set:
    masks = [np.zeros((SIDE, SIDE), np.uint8) for _ in range(4)]
    for mask in masks:
        mask[4:60:14, 4:60:14] = 1
    return smooth(rng, masks, 1.5), masks


def at_the_border(rng: np.random.Generator) -> Set:
    masks = [np.zeros((SIDE, SIDE), np.uint8) for _ in range(4)]
    for mask in masks:
        mask[0, :20] = mask[30:50, -1] = mask[-3:, :5] = 1
        mask[-1, -1] = mask[0, -1] = 1
    return smooth(rng, masks, 1.0), masks


def touching_at_corners(rng: np.random.Generator) -> Set:
    """A chain of squares that touch at their corners: one component of many pixels, and one lone pixel."""
    masks = [np.zeros((SIDE, SIDE), np.uint8) for _ in range(4)]
    for mask in masks:
        for k in range(0, 40, 5):
            mask[k : k + 5, k : k + 5] = 1
        mask[60, 3] = 1
    maps = smooth(rng, masks, 0.5)
    for scores in maps:
        scores[60, 3] = 99  # counted for every square of the chain, this would weigh an eighth
    return maps, masks


def perfect(rng: np.random.Generator) -> Set:
    masks = squares(rng)
    return [(m > 0).astype(np.float32) for m in masks], masks


def inverted(rng: np.random.Generator) -> Set:
    maps, masks = perfect(rng)
    return [1 - m for m in maps], masks


def near_ties(rng: np.random.Generator) -> Set:
    """Scores one float32 step apart around 1: half precision, or a tolerance, would see one value."""
    masks = squares(rng)
    step = np.float32(np.spacing(np.float32(1)))
    levels = [rng.integers(0, 4000, (SIDE, SIDE)) + 1500 * (m > 0) for m in masks]
    return [np.float32(1) + k.astype(np.float32) * step for k in levels], masks


CASES = [
    random_maps, constant, massive_ties, single_pixels, at_the_border,
    touching_at_corners, perfect, inverted, near_ties,
]  # fmt: skip


@pytest.mark.parametrize("limit", [0.05, 0.3, 0.1234567])
@pytest.mark.parametrize("case", CASES)
def test_agrees_with_the_published_procedure(case: Callable[[np.random.Generator], Set], limit: float) -> None:
    maps, masks = case(np.random.default_rng(7))
    pool = pool_pixels(maps, masks)
    assert pool.components == sum(len(regions(mask)) for mask in masks)
    assert aupro(pool, limit) == pytest.approx(published(maps, masks, limit), abs=AGREES)


def test_the_reported_figures_are_these() -> None:
    maps, masks = random_maps(np.random.default_rng(3))
    labels = [int(mask.any()) for mask in masks]
    metrics = evaluate_maps(maps, masks, np.zeros(len(maps)), labels)
    assert metrics.aupro_30 == pytest.approx(published(maps, masks, 0.3), abs=AGREES)
    assert metrics.aupro_05 == pytest.approx(published(maps, masks, 0.05), abs=AGREES)


def test_a_limit_between_two_points_is_interpolated() -> None:
    # 10 normal pixels: points at FPR 0, 0.1, 0.2, ...; the only region comes in halfway, between the 2nd and the 3rd.
    scores = np.array([[10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 8.5, 7.5]], np.float32)
    mask = np.array([[0] * 10 + [1, 1]], np.uint8)
    # PRO 0 to FPR 0.2, then 1/2, from 0.3 on 1: the area to 0.25 is 0.05 / 2.
    assert aupro(pool_pixels([scores], [mask]), 0.25) == pytest.approx(0.025 / 0.25, abs=1e-12)
