"""What is fitted on good images: pasted twins, statistics, and the choice of the fusion weight in rigged cases."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from diffad_export.backbone import Extractor
from diffad_export.backbone.extractor import BackboneFacts
from diffad_export.config import ScoreConfig
from diffad_export.fitting import ALPHAS, choose_alpha, fit_score
from diffad_export.grids import GridLayout, Grids
from diffad_export.networks.student import Student
from diffad_export.pasted import PastedSet, paste_set
from diffad_export.reconstructor import FeatureNorm, Reconstructor, fixed_noise, levels_of
from diffad_export.resampling import Resample
from diffad_export.score import FeatureScore, FittedScore, fuse
from diffad_export.statistics import RIDGE, inputs, normal_statistics, whitening_of
from diffad_export.weights import fit_positive_weights
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


def reconstructor(kind: FeatureScore = "combined") -> Reconstructor:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        student = Student(GridLayout((4,), (12,)), 8).fold()
    norm = FeatureNorm(torch.zeros(12), torch.ones(12))
    fitted = FittedScore.neutral(kind, 1, 12)
    return Reconstructor(student, norm, levels_of((50,)), fixed_noise(1, SIZE, 0), fitted).eval()


@torch.no_grad()
def test_scores_of_the_images_measured_have_mean_zero_and_deviation_one(good: Image, extractor: Extractor) -> None:
    model = reconstructor()
    model.refit(normal_statistics(model, extractor, good))
    x, *f = extractor(torch.from_numpy(good))
    pixels, features = model.raw_scores(x, tuple(f))
    s = model.fitted
    for scores in ((pixels - s.pixel_mean) / s.pixel_std, (features - s.feature_mean) / s.feature_std):
        flat = scores.flatten(1, -3).transpose(0, 1).flatten(1)
        assert flat.mean(1).abs().max().item() < 1e-3
        assert (flat.std(1) - 1).abs().max().item() < 1e-3


@torch.no_grad()
def test_statistics_per_location_follow_a_location_that_is_always_loud(good: Image, extractor: Extractor) -> None:
    model = reconstructor(kind="residual")
    loud = np.concatenate([good] * 10)
    loud[:, 24:40, 24:40] = 255
    whole, local = (normal_statistics(model, extractor, loud, per_location=p) for p in (False, True))
    assert whole.feature_mean.shape == (1, 1, 1, 1)
    assert local.feature_mean.shape == (1, 1, GRID, GRID)
    raw = torch.cat([model.raw_scores(x, f)[1] for x, f in inputs(extractor, loud, "")]).mean(0)[0, 0]
    row, column = divmod(int(raw.argmax()), GRID)
    assert local.feature_mean[0, 0, row, column] > whole.feature_mean.item()
    # One image alone says little about a place: its figures stay near the global ones.
    shy = normal_statistics(model, extractor, loud[:1], per_location=True)
    assert shy.feature_mean.std() < 0.2 * local.feature_mean.std()


@torch.no_grad()
def test_whitened_residuals_of_good_images_are_white(good: Image, extractor: Extractor) -> None:
    model = reconstructor(kind="whitened")
    whitening = whitening_of(model, extractor, good)
    assert whitening.shape == (1, 12, 12)
    z = []
    for x, f in inputs(extractor, good, ""):
        out = model.denoised(x, 0)
        z.append(((f[0] - out.f[0]) * (-0.5 * out.f_log_var[0]).exp()).permute(1, 0, 2, 3).flatten(1))
    flat = torch.cat(z, 1)
    raw = flat @ flat.T / flat.shape[1]
    shrunk = raw + RIDGE * raw.diagonal().mean() * torch.eye(12)
    torch.testing.assert_close(whitening[0] @ shrunk @ whitening[0].T, torch.eye(12), rtol=0, atol=1e-3)


@pytest.mark.parametrize("kind", ["residual", "likelihood", "whitened", "combined"])
@pytest.mark.parametrize("weights", ["equal", "fitted"])
def test_everything_that_a_configuration_asks_for_is_fitted(
    kind: FeatureScore, weights: Any, good: Image, extractor: Extractor
) -> None:
    model, pasted = reconstructor(kind="residual"), paste_set(good, seed=0)
    config = ScoreConfig(chain_steps=(50,), feature_score=kind, weights=weights, alpha=None, variance_floor=0.1)
    fit = fit_score(model, extractor, good, pasted, config, more=good)
    assert fit.score.kind == kind == model.fitted.kind
    assert tuple(fit.alphas) == ALPHAS
    assert model.alpha == fit.score.alpha == max(fit.alphas, key=lambda a: (round(fit.alphas[a], 4), -a))
    assert fit.score.floor == 0.1
    assert float(fit.score.feature_weight.sum()) == pytest.approx(1)
    assert float(fit.score.channel_weight.sum()) == pytest.approx(1)
    assert (float(fit.score.channel_weight.std()) > 1e-4) == (weights == "fitted")
    given = fit_score(model, extractor, good, pasted, config.model_copy(update={"alpha": 0.3}), more=good)
    assert given.score.alpha == 0.3
    assert given.alphas == {}


def test_positive_weights_find_the_score_that_knows() -> None:
    generator = torch.Generator().manual_seed(0)
    defective = (torch.rand(4000, generator=generator) < 0.2).float()
    scores = torch.randn(4000, 3, generator=generator)
    scores[:, 1] += 3 * defective
    weight = fit_positive_weights(scores, defective)
    assert weight.sum().item() == pytest.approx(1)
    assert weight.min() > 0
    assert weight[1] > 2 * weight[[0, 2]].max()
    # A strong pull keeps them equal.
    assert fit_positive_weights(scores, defective, pull=1e3).std() < 0.02


@pytest.fixture(scope="module")
def pasted() -> PastedSet:
    """Twelve images, six with a square defect of 16 px."""
    masks = np.zeros((12, SIZE, SIZE), np.uint8)
    for i in range(6):
        masks[6 + i, 8 * i : 8 * i + 16, 16:32] = 255
    return PastedSet(np.zeros((12, SIZE, SIZE, 3), np.uint8), masks, np.repeat(np.array([0, 1], np.int64), 6))


class Rigged:
    """A reconstructor whose two scores are given, row by row; statistics change nothing."""

    def __init__(self, pixel: Tensor, feature: Tensor) -> None:
        self.scores, self.row, self.to_map = (pixel, feature), 0, Resample(GRID, SIZE)
        self.fitted = FittedScore.neutral("residual", 1, 12)

    def refit(self, fitted: FittedScore) -> None:
        self.fitted = fitted

    def raw_scores(self, x: Tensor, f: Grids) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        rows = slice(self.row, self.row + len(x))
        self.row = rows.stop
        return self.scores[0][rows, None], self.scores[1][rows, None, None]

    def fuse(self, pixels: Tensor, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        pixel, feature = pixels[:, 0], features[:, 0, 0]
        return self.to_map(fuse(pixel, feature, self.fitted.alpha)), pixel, feature


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
