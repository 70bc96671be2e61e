"""The conformal claim on real pictures: how often good magnetic tiles are rejected, against what is promised.

The model is PaDiM on features of EfficientNet-Lite0, fitted on 60 good tiles; thresholds and rejects come from the 140
other good ones of the training folder and the 120 of the test folder, none of which it has seen. 20 random splits: one
half sets the threshold, the other counts. How many of m new scores lie above the k-th smallest of n has one law,
whatever the scores (negative hypergeometric, ties aside): every split is held against its 99.9 % quantile, and the mean
of the splits against the promise. The set is not part of the repository; it is looked for in ../shared.
"""

import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from diffad_calibration.dataset import open_dataset
from diffad_calibration.loading import load_images
from diffad_calibration.references import PaDiM
from diffad_calibration.references.grid import on_finest_grid
from diffad_calibration.thresholds.conformal import conditional_bound
from diffad_calibration.thresholds.setting import set_thresholds
from diffad_export.backbone import Extractor
from diffad_runtime.result import Image

DATA = Path(__file__).parents[3] / "shared" / "data" / "magnetic_tile"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"the magnetic tile set is not at {DATA}")
SIZE, FITTED, SPLITS = 96, 60, 20


def rank(n: int, rate: float) -> int:
    """The k whose k-th smallest score promises the rate, in exact fractions; n where none does."""
    return min(math.ceil((n + 1) * (1 - Fraction(str(rate)))), n)


def quantile(n: int, k: int, m: int, level: float) -> int:
    """Of the number of m new scores above the k-th smallest of n."""
    total = 0
    for count in range(m + 1):
        total += math.comb(n - k + count, count) * math.comb(k - 1 + m - count, m - count)
        if total >= level * math.comb(n + m, m):
            return count
    return m


def deviation(n: int, k: int, m: int) -> float:
    """Standard deviation of the same number."""
    a, b = n + 1 - k, k
    return math.sqrt(m * a * b * (n + 1 + m) / ((n + 1) ** 2 * (n + 2)))


def test_the_law_of_the_counts_by_brute_force() -> None:
    """What the other tests hold figures against, itself held against random ranks."""
    n, k, m = 12, 11, 9
    rng = np.random.default_rng(0)
    orders = rng.permuted(np.tile(np.arange(n + m), (40_000, 1)), axis=1)
    counts = (orders[:, n:] > np.sort(orders[:, :n])[:, k - 1 : k]).sum(axis=1)
    assert np.mean(counts) / m == pytest.approx((n + 1 - k) / (n + 1), rel=0.03)
    assert np.std(counts) == pytest.approx(deviation(n, k, m), rel=0.03)
    for level in (0.5, 0.9, 0.99):
        found = quantile(n, k, m, level)
        assert np.mean(counts <= found) >= level - 0.01
        assert np.mean(counts < found) < level + 0.01


def features(lite0: Extractor, images: Image) -> npt.NDArray[np.float32]:
    """float32 (N, 192, 24, 24)."""
    with torch.inference_mode():
        x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
        return on_finest_grid([grid.numpy() for grid in lite0.grids(x)])


@pytest.fixture(scope="module")
def maps(lite0: Extractor) -> npt.NDArray[np.float32]:
    """PaDiM's maps of the good tiles that it has not seen, float32 (260, S, S): the training folder's, then test."""
    dataset = open_dataset(DATA)
    train = load_images(dataset.train_good, SIZE).array
    test = load_images([sample.image for sample in dataset.test if sample.label == 0], SIZE).array
    order = np.random.default_rng(0).permutation(len(train))
    model = PaDiM.fit([features(lite0, train[order[:FITTED]])], input_size=SIZE, dims=40)
    unseen = np.concatenate([train[order[FITTED:]], test])
    return np.concatenate([model.maps(features(lite0, unseen[row : row + 20])) for row in range(0, len(unseen), 20)])


@pytest.mark.parametrize("rate", [0.1, 0.05, 0.01, 0.001])
def test_good_tiles_are_rejected_no_more_often_than_promised(maps: npt.NDArray[np.float32], rate: float) -> None:
    scores, rng = maps.max(axis=(1, 2)).astype(np.float64), np.random.default_rng(1)
    assert np.unique(scores).size == scores.size > 250
    n = scores.size // 2
    k, m = rank(n, rate), scores.size - n
    rejects, shares = [], []
    for _ in range(SPLITS):
        order = rng.permutation(scores.size)
        here, there = order[:n], order[n:]
        limits, _ = set_thresholds(scores[here], maps[here], false_reject_rate=rate, pixel_rate=0.02, shared=False)
        rejects.append(int((scores[there] > limits.image).sum()))
        shares.append(float((maps[there] > limits.pixel).mean()))
    bound = (n + 1 - k) / (n + 1)
    assert bound <= max(rate, 1 / (n + 1))
    assert limits.guaranteed_rate == bound
    assert limits.confident_rate == conditional_bound(n, k)
    assert max(rejects) <= quantile(n, k, m, 0.999), rejects
    noise = 3 * deviation(n, k, m) / math.sqrt(SPLITS)
    assert np.mean(rejects) <= m * bound + noise, rejects
    # Not met by a threshold that rejects nothing, either; beyond the margin that one image's score is given.
    assert np.mean(rejects) >= m * bound - noise - m * 0.01, rejects
    assert limits.pixel_guaranteed_rate is not None
    assert 0.005 < np.mean(shares) <= limits.pixel_guaranteed_rate, shares


def test_tiles_of_one_folder_set_the_threshold_for_those_of_the_other(maps: npt.NDArray[np.float32]) -> None:
    """No shuffling: whether the pictures of the two folders are exchangeable is theirs to answer, and they are."""
    scores = maps.max(axis=(1, 2)).astype(np.float64)
    here, there = scores[:-120], scores[-120:]
    for rate in (0.1, 0.05, 0.01):
        k = rank(here.size, rate)
        limits, _ = set_thresholds(here, maps[:-120], false_reject_rate=rate, shared=False)
        assert (there > limits.image).sum() <= quantile(here.size, k, 120, 0.999), rate
