"""What is fitted on good images: pasted twins, statistics, and the choice of the fusion weight in rigged cases."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from diffad_export.backbone import Extractor
from diffad_export.backbone.extractor import BackboneFacts
from diffad_export.fitting import ALPHAS, PastedSet, choose_alpha, normal_statistics, paste_set
from diffad_export.networks.student import Student
from diffad_export.reconstructor import FeatureNorm, Reconstructor, fixed_noise, levels_of
from diffad_export.resampling import Resample
from diffad_export.score import NormalStatistics
from diffad_runtime.result import Image

SIZE, GRID = 64, 16


@pytest.fixture(scope="module")
def good() -> Image:
    """Ten smooth grey pictures, no two alike."""
    rng = np.random.default_rng(0)
    ramp = np.linspace(60, 180, SIZE)[None, :, None, None] + np.zeros((10, 1, SIZE, 3))
    return (ramp + rng.normal(0, 3, (10, SIZE, SIZE, 3))).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def extractor() -> Extractor:
    facts = BackboneFacts("halving", (3, 3, 3, 3), (0.5,) * 3, (0.25,) * 3, "none")
    return Extractor([nn.AvgPool2d(2) for _ in range(4)], facts)


def test_every_good_image_has_a_spoiled_twin(good: Image) -> None:
    pasted = paste_set(good, seed=3, most=8)
    assert pasted.images.shape == (16, SIZE, SIZE, 3)
    assert pasted.labels.tolist() == [0] * 8 + [1] * 8
    assert np.array_equal(pasted.images[:8], good[:8])
    assert pasted.masks[:8].max() == 0
    for clean, spoiled, mask in zip(pasted.images[:8], pasted.images[8:], pasted.masks[8:], strict=True):
        assert set(np.unique(mask)) == {0, 255}
        changed = np.abs(clean.astype(int) - spoiled).max(2)
        assert changed[mask == 0].max() <= 8
        assert changed[mask == 255].mean() > 8


def test_pasted_defects_depend_on_the_seed(good: Image) -> None:
    a, b, c = (paste_set(good, seed=seed).images for seed in (3, 3, 4))
    assert np.array_equal(a, b)
    assert not np.array_equal(a[10:], c[10:])


def reconstructor(statistics: NormalStatistics | None = None) -> Reconstructor:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        student = Student(12, 8).fold()
    norm = FeatureNorm(torch.zeros(12), torch.ones(12))
    return Reconstructor(student, norm, levels_of((50,)), fixed_noise(1, SIZE, 0), statistics=statistics).eval()


def test_scores_of_the_images_measured_have_mean_zero_and_deviation_one(good: Image, extractor: Extractor) -> None:
    statistics = normal_statistics(reconstructor(), extractor, good)
    assert statistics.pixel_std[0] > 0
    with torch.no_grad():
        _, pixel, feature = reconstructor(statistics)(*extractor(torch.from_numpy(good)))
    for score in (pixel, feature):
        assert score.mean().item() == pytest.approx(0, abs=1e-3)
        assert score.std().item() == pytest.approx(1, abs=1e-3)


class Rigged(nn.Module):
    """A reconstructor whose two scores are given, row by row."""

    def __init__(self, pixel: Tensor, feature: Tensor) -> None:
        super().__init__()
        self.scores, self.row, self.to_map = (pixel, feature), 0, Resample(GRID, SIZE)

    def forward(self, x: Tensor, f: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # noqa: ARG002
        rows = slice(self.row, self.row + len(x))
        self.row = rows.stop
        pixel, feature = (score[rows] for score in self.scores)
        return pixel, pixel, feature


@pytest.fixture(scope="module")
def pasted() -> PastedSet:
    """Twelve images, six with a square defect of 16 px."""
    masks = np.zeros((12, SIZE, SIZE), np.uint8)
    for i in range(6):
        masks[6 + i, 8 * i : 8 * i + 16, 16:32] = 255
    return PastedSet(np.zeros((12, SIZE, SIZE, 3), np.uint8), masks, np.repeat(np.array([0, 1], np.int64), 6))


def truth(pasted: PastedSet) -> Tensor:
    return torch.from_numpy(pasted.masks[:, 2::4, 2::4].astype(np.float32) / 255)


def noise(seed: int) -> Tensor:
    return torch.randn(12, GRID, GRID, generator=torch.Generator().manual_seed(seed))


def choose(pixel: Tensor, feature: Tensor, extractor: Extractor, pasted: PastedSet) -> tuple[float, dict[float, float]]:
    model: Any = Rigged(pixel, feature)
    return choose_alpha(model, extractor, pasted)


def test_the_score_that_knows_gets_the_weight(extractor: Extractor, pasted: PastedSet) -> None:
    alpha, table = choose(4 * truth(pasted) + noise(0), 30 * noise(1), extractor, pasted)
    assert alpha == max(ALPHAS)
    alpha, table = choose(30 * noise(1), 4 * truth(pasted) + noise(0), extractor, pasted)
    assert alpha == 0
    assert tuple(table) == ALPHAS
    assert table[0.0] == max(table.values())
    assert table[0.0] > table[0.5] + 0.2


def test_a_mixture_wins_where_each_score_sees_half(extractor: Extractor, pasted: PastedSet) -> None:
    half = truth(pasted).clone()
    half[6:9] = 0
    other = truth(pasted) - half
    # Feature score speaks up to 1, pixel score up to 4: equal voices near alpha = 0.2.
    alpha, table = choose(4 * half + 0.1 * noise(0), other + 0.1 * noise(1), extractor, pasted)
    assert alpha not in (0.0, max(ALPHAS))
    assert table[alpha] == max(table.values())


def test_the_smaller_weight_wins_a_tie(extractor: Extractor, pasted: PastedSet) -> None:
    assert choose(truth(pasted), truth(pasted), extractor, pasted)[0] == 0
