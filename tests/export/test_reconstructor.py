"""The module that is trained for, exported and timed: same image same map, frozen statistics, levels averaged."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F_

from diffad_export.grids import GridLayout
from diffad_export.networks.student import Student
from diffad_export.networks.teacher import Teacher
from diffad_export.reconstructor import FeatureNorm, Reconstructor, fixed_noise, levels_of
from diffad_export.score import FeatureScore, FittedScore, feature_terms, pixel_score

SIZE, GRID, CHANNELS = 64, 16, 5
STEPS = (5, 50)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def teacher(*, grid_stride: int = 4, classes: int = 0) -> Teacher:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = Teacher(CHANNELS, (16, 32), grid_stride=grid_stride, classes=classes)
        # Layers that begin at zero would make every answer the same.
        for module in made.modules():
            if isinstance(module, torch.nn.Conv2d) and not module.weight.any():
                torch.nn.init.normal_(module.weight, std=0.1)
    return made


def make(
    fitted: FittedScore | None = None, *, sigma: float = 4.0, draws: int = 1, kind: FeatureScore = "combined"
) -> Reconstructor:
    norm = FeatureNorm(torch.linspace(-1, 1, CHANNELS), torch.linspace(0.5, 2, CHANNELS))
    fitted = fitted or FittedScore.neutral(kind, len(STEPS), CHANNELS, alpha=0.3, floor=0.1)
    noise = fixed_noise(len(STEPS), SIZE, 7, draws)
    return Reconstructor(teacher(), norm, levels_of(STEPS), noise, fitted, sigma=sigma).eval()


X, F = draw(3, 3, SIZE, SIZE, seed=1).tanh(), draw(3, CHANNELS, GRID, GRID, seed=2)


@torch.no_grad()
def test_same_frame_same_map_bit_for_bit() -> None:
    model = make()
    first, second, rebuilt = (m(X[:1], (F[:1],))[0] for m in (model, model, make()))
    assert torch.equal(first, second)
    assert torch.equal(first, rebuilt)


@torch.no_grad()
def test_an_image_is_scored_the_same_in_any_company() -> None:
    model = make()
    together = model(X, (F,))
    for i in range(3):
        for whole, one in zip(together, model(X[i : i + 1], (F[i : i + 1],)), strict=True):
            torch.testing.assert_close(whole[i : i + 1], one, rtol=0, atol=1e-4)
    # A loud neighbour must not change how a map is standardised.
    loud = model(torch.cat([X[:1], torch.ones(1, 3, SIZE, SIZE)]), (torch.cat([F[:1], 100 * F[1:2]]),))
    torch.testing.assert_close(loud[0][0], together[0][0], rtol=0, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("draws", [1, 2, 3])
def test_the_map_is_the_sum_of_its_documented_parts(draws: int) -> None:
    neutral = FittedScore.neutral("combined", 2, CHANNELS, alpha=0.3, floor=0.1)
    fitted = replace(
        neutral,
        pixel_mean=torch.tensor([1.0, 2.0]).view(2, 1, 1),
        pixel_std=draw(2, GRID, GRID, seed=8).abs() + 0.5,
        feature_mean=draw(2, 2, GRID, GRID, seed=9),
        feature_std=torch.tensor([[2.0, 4.0], [1.0, 0.5]]).view(2, 2, 1, 1),
        pixel_weight=torch.tensor([0.25, 0.75]),
        feature_weight=torch.tensor([[0.1, 0.2], [0.3, 0.4]]),
        channel_weight=torch.tensor([0.4, 0.3, 0.2, 0.1, 0.0]),
        whitening=draw(2, CHANNELS, CHANNELS, seed=10),
    )
    model = make(fitted, sigma=0.0, draws=draws)
    assert fitted.whitening is not None
    anomaly, pixel, feature = model(X[:1], (F[:1],))
    assert (anomaly.shape, pixel.shape, feature.shape) == ((1, SIZE, SIZE), (1, GRID, GRID), (1, GRID, GRID))
    std = torch.linspace(0.5, 2, CHANNELS).view(1, -1, 1, 1)
    standard = (F[:1] - torch.linspace(-1, 1, CHANNELS).view(1, -1, 1, 1)) / std
    p, q = torch.zeros(1, GRID, GRID), torch.zeros(1, GRID, GRID)
    noise, blocks = fixed_noise(2, SIZE, 7, draws), F_.pixel_unshuffle(X[:1], 4)
    for k, level in enumerate(levels_of(STEPS)):
        pixels, terms = [], []
        for d in range(draws):
            out = model.denoiser(level.signal * X[:1] + level.noise * noise[k, d], torch.tensor([level.timestep]))
            pixels.append(pixel_score(level, blocks, out))
            found = feature_terms(
                "combined", standard, out.f[0], out.f_log_var[0], fitted.channel_weight, fitted.whitening[k], 0.1
            )
            terms.append(torch.stack(found))
        p += fitted.pixel_weight[k] * (torch.stack(pixels).mean(0) - fitted.pixel_mean[k]) / fitted.pixel_std[k]
        mean = torch.stack(terms).mean(0)
        for term in range(2):
            scaled = (mean[term] - fitted.feature_mean[term, k]) / fitted.feature_std[term, k]
            q += fitted.feature_weight[term, k] * scaled
    torch.testing.assert_close(pixel, p, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(feature, q, rtol=1e-4, atol=1e-3)
    fused = (0.3 * p + 0.7 * q)[:, None]
    enlarged = F_.interpolate(fused, size=(SIZE, SIZE), mode="bilinear", align_corners=False)[:, 0]
    torch.testing.assert_close(anomaly, enlarged, rtol=1e-4, atol=1e-3)


@torch.no_grad()
def test_what_is_fitted_comes_back_and_can_be_changed() -> None:
    model = make()
    other = replace(FittedScore.neutral("residual", 2, CHANNELS, alpha=0.9), pixel_weight=torch.tensor([1.0, 0.0]))
    before = model(X[:1], (F[:1],))[0]
    assert model.refit(other).fitted.alpha == 0.9
    assert model.fitted.kind == "residual"
    assert model.fitted.whitening is None
    assert torch.equal(model.fitted.pixel_weight, other.pixel_weight)
    assert not torch.equal(model(X[:1], (F[:1],))[0], before)
    rebuilt = make(other)
    assert torch.equal(model(X[:1], (F[:1],))[0], rebuilt(X[:1], (F[:1],))[0])


@torch.no_grad()
def test_features_on_a_coarser_grid_are_brought_to_the_grid_of_the_pixels() -> None:
    norm = FeatureNorm(torch.zeros(CHANNELS), torch.ones(CHANNELS))
    fitted = FittedScore.neutral("residual", 2, CHANNELS, alpha=0.0)
    noise = fixed_noise(2, SIZE, 7)
    layout = GridLayout((16,), (CHANNELS,))
    model = Reconstructor(teacher(grid_stride=16), norm, levels_of(STEPS), noise, fitted, layout=layout).eval()
    coarse = draw(1, CHANNELS, SIZE // 16, SIZE // 16, seed=3)
    anomaly, pixel, feature = model(X[:1], (coarse,))
    assert (anomaly.shape, pixel.shape, feature.shape) == ((1, SIZE, SIZE), (1, GRID, GRID), (1, GRID, GRID))


@torch.no_grad()
@pytest.mark.parametrize("kind", ["residual", "combined"])
def test_a_score_over_several_grids_is_the_sum_of_its_grids(kind: FeatureScore) -> None:
    layout = GridLayout((4, 8, 16), (2, 2, 1))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        student = Student(layout, 8, 2).eval()
    mean, std = torch.linspace(-1, 1, CHANNELS), torch.linspace(0.5, 2, CHANNELS)
    fitted = replace(
        FittedScore.neutral(kind, 2, CHANNELS, floor=0.1),
        channel_weight=torch.tensor([0.4, 0.3, 0.2, 0.07, 0.03]),
        whitening=draw(2, CHANNELS, CHANNELS, seed=10) if kind == "combined" else None,
    )
    noise = fixed_noise(2, SIZE, 7)
    model = Reconstructor(student, FeatureNorm(mean, std), levels_of(STEPS), noise, fitted, layout=layout).eval()
    f = tuple(draw(1, c, SIZE // s, SIZE // s, seed=s) for s, c in zip(layout.strides, layout.channels, strict=True))
    _, found = model.raw_scores(X[:1], f)
    for k, level in enumerate(levels_of(STEPS)):
        out = student.at_level(k, level.signal * X[:1] + level.noise * noise[k], torch.zeros(1, dtype=torch.int64))
        expected = torch.zeros(found.shape[1], 1, GRID, GRID)
        for i, own in enumerate((slice(0, 2), slice(2, 4), slice(4, 5))):
            standard = (f[i] - mean[own].view(1, -1, 1, 1)) / std[own].view(1, -1, 1, 1)
            white = None if fitted.whitening is None else fitted.whitening[k][own, own]
            weight, share = fitted.channel_weight[own], (own.stop - own.start) / CHANNELS
            terms = feature_terms(kind, standard, out.f[i], out.f_log_var[i], weight, white, 0.1, share=share)
            expected += F_.interpolate(torch.stack(terms), size=(GRID, GRID), mode="bilinear", align_corners=False)
        torch.testing.assert_close(found[0, :, k], expected[:, 0], rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_the_category_is_told() -> None:
    norm = FeatureNorm(torch.zeros(CHANNELS), torch.ones(CHANNELS))
    fitted = FittedScore.neutral("residual", 2, CHANNELS)
    network = teacher(classes=3)
    assert network.categories is not None
    maps = []
    for label in (None, 0, 1):
        model = Reconstructor(network, norm, levels_of(STEPS), fixed_noise(2, SIZE, 7), fitted, label=label).eval()
        maps.append(model(X[:1], (F[:1],))[0])
    assert not torch.equal(maps[1], maps[2])
    assert not torch.equal(maps[0], maps[1])


def test_fixed_noise_is_fixed_and_new_for_each_level() -> None:
    noise = fixed_noise(2, SIZE, 7)
    assert noise.shape == (2, 1, 3, SIZE, SIZE)
    assert torch.equal(noise, fixed_noise(2, SIZE, 7))
    assert not torch.equal(noise, fixed_noise(2, SIZE, 8))
    assert abs(float(torch.corrcoef(noise.flatten(1))[0, 1])) < 0.05
    assert noise.std().item() == pytest.approx(1, abs=0.03)


def test_draws_come_in_antithetic_pairs() -> None:
    noise = fixed_noise(2, SIZE, 7, 3)
    assert noise.shape == (2, 3, 3, SIZE, SIZE)
    assert torch.equal(noise[:, 1], -noise[:, 0])
    assert abs(float(torch.corrcoef(torch.stack([noise[0, 0].flatten(), noise[0, 2].flatten()]))[0, 1])) < 0.05


def test_levels_are_those_of_the_250_step_chain() -> None:
    assert [level.timestep for level in levels_of((5, 50, 100))] == [20, 201, 401]
