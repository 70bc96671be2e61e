"""The module that is trained for, exported and timed: same image same map, frozen statistics, levels averaged."""

import pytest
import torch
from torch import Tensor

from diffad_export.networks.teacher import Teacher
from diffad_export.reconstructor import FeatureNorm, Reconstructor, fixed_noise, levels_of
from diffad_export.score import NormalStatistics, feature_score, pixel_score

SIZE, GRID, CHANNELS = 64, 16, 5
STEPS = (5, 50)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def make(statistics: NormalStatistics | None = None, sigma: float = 4.0) -> Reconstructor:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        teacher = Teacher(CHANNELS, 16, (1, 2))
    norm = FeatureNorm(torch.linspace(-1, 1, CHANNELS), torch.linspace(0.5, 2, CHANNELS))
    noise = fixed_noise(len(STEPS), SIZE, 7)
    return Reconstructor(teacher, norm, levels_of(STEPS), noise, alpha=0.3, sigma=sigma, statistics=statistics).eval()


X, F = draw(3, 3, SIZE, SIZE, seed=1).tanh(), draw(3, CHANNELS, GRID, GRID, seed=2)


@torch.no_grad()
def test_same_frame_same_map_bit_for_bit() -> None:
    model = make()
    first, second, rebuilt = (m(X[:1], F[:1])[0] for m in (model, model, make()))
    assert torch.equal(first, second)
    assert torch.equal(first, rebuilt)


@torch.no_grad()
def test_an_image_is_scored_the_same_in_any_company() -> None:
    model = make()
    together = model(X, F)
    for i in range(3):
        for whole, one in zip(together, model(X[i : i + 1], F[i : i + 1]), strict=True):
            torch.testing.assert_close(whole[i : i + 1], one, rtol=0, atol=1e-5)
    # A loud neighbour must not change how a map is standardised.
    loud = model(torch.cat([X[:1], torch.ones(1, 3, SIZE, SIZE)]), torch.cat([F[:1], 100 * F[1:2]]))
    torch.testing.assert_close(loud[0][0], together[0][0], rtol=0, atol=1e-5)


@torch.no_grad()
def test_the_map_is_the_sum_of_its_documented_parts() -> None:
    statistics = NormalStatistics((1.0, 2.0), (0.5, 0.25), (-1.0, 3.0), (2.0, 4.0))
    model = make(statistics, sigma=0.0)
    anomaly, pixel, feature = model(X[:1], F[:1])
    assert (anomaly.shape, pixel.shape, feature.shape) == ((1, SIZE, SIZE), (1, GRID, GRID), (1, GRID, GRID))
    standard = (F[:1] - torch.linspace(-1, 1, CHANNELS).view(1, -1, 1, 1)) / torch.linspace(0.5, 2, CHANNELS).view(
        1, -1, 1, 1
    )
    p, q = torch.zeros(1, GRID, GRID), torch.zeros(1, GRID, GRID)
    for k, level in enumerate(levels_of(STEPS)):
        x_t = level.signal * X[:1] + level.noise * fixed_noise(len(STEPS), SIZE, 7)[k]
        out = model.denoiser(x_t, torch.tensor([level.timestep]))
        blocks = torch.nn.functional.pixel_unshuffle(X[:1], 4)
        p += (pixel_score(level, blocks, out) - statistics.pixel_mean[k]) / statistics.pixel_std[k] / 2
        q += (feature_score("likelihood", standard, out) - statistics.feature_mean[k]) / statistics.feature_std[k] / 2
    torch.testing.assert_close(pixel, p, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(feature, q, rtol=1e-4, atol=1e-4)
    fused = (0.3 * p + 0.7 * q)[:, None]
    enlarged = torch.nn.functional.interpolate(fused, size=(SIZE, SIZE), mode="bilinear", align_corners=False)[:, 0]
    torch.testing.assert_close(anomaly, enlarged, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_statistics_shift_and_scale_the_scores() -> None:
    raw_pixels, _ = make().raw_scores(X, F)
    mean, std = raw_pixels.mean((0, 2, 3)), raw_pixels.std((0, 2, 3))
    neutral = NormalStatistics.neutral(2)
    fitted = NormalStatistics(tuple(mean.tolist()), tuple(std.tolist()), neutral.feature_mean, neutral.feature_std)
    _, pixel, _ = make(fitted)(X, F)
    assert pixel.mean().item() == pytest.approx(0, abs=1e-3)


def test_fixed_noise_is_fixed_and_new_for_each_level() -> None:
    noise = fixed_noise(2, SIZE, 7)
    assert noise.shape == (2, 3, SIZE, SIZE)
    assert torch.equal(noise, fixed_noise(2, SIZE, 7))
    assert not torch.equal(noise, fixed_noise(2, SIZE, 8))
    assert abs(float(torch.corrcoef(noise.flatten(1))[0, 1])) < 0.05
    assert noise.std().item() == pytest.approx(1, abs=0.03)


def test_levels_are_those_of_the_250_step_chain() -> None:
    assert [level.timestep for level in levels_of((5, 50, 100))] == [20, 201, 401]
