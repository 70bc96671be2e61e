"""Gradient denoising: the step itself on a quadratic, and a real backbone that undoes a pasted defect."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from diffad_calibration.references import PaDiM
from diffad_export.backbone import Extractor
from diffad_export.backbone.extractor import normalise
from diffad_export.denoiser import Denoised, Denoiser, to_blocks
from diffad_export.diffusion.posterior import level_at
from diffad_export.diffusion.schedule import linear_schedule, respace
from diffad_export.guidance import (
    LIMIT,
    GradientSettings,
    Guide,
    Guided,
    diffusion_step,
    fit_guide,
    gradient_denoise,
    unit_deviation,
)
from diffad_runtime.result import Image
from diffad_runtime.synthetic import LineConfig, SyntheticLine, paste_defect

LEVEL = level_at(respace(linear_schedule(), 250), 5)
SIZE = 64


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Shrinking(Denoiser):
    """Takes a pixel as an independent draw from N(0, 1): the exact estimate is sqrt(abar) x_t."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[int, Tensor | None]] = []

    def forward(self, x_t: Tensor, t: Tensor, label: Tensor | None = None) -> Denoised:
        self.calls.append((int(t[0]), label))
        blocks = to_blocks(LEVEL.signal * x_t)
        return Denoised(blocks, blocks, (blocks,), (blocks,))


class Pixels(nn.Module):
    """Features that are the pixels, one place a 4 x 4 block: the distance is a quadratic of the image."""

    def features(self, x: Tensor) -> Tensor:
        return to_blocks(x)


def quadratic(target: float) -> Guide:
    grid = 4
    padim = PaDiM(
        dims=np.arange(48),
        mean=np.full((grid * grid, 48), target, np.float32),
        whitening=np.repeat(np.eye(48, dtype=np.float32)[None] * 2, grid * grid, 0),
        input_size=4 * grid,
    )
    return Guide(Pixels(), padim)  # type: ignore[arg-type]


def quiet(**changes: float) -> GradientSettings:
    values = {"steps": 20, "s": 0.05, "every": 1000, "smooth": 0.0} | changes
    return GradientSettings(**values)  # type: ignore[arg-type]


def total(one: Guided) -> float:
    return one.distance.square().sum().item()


def test_the_distance_of_a_quadratic_is_the_mahalanobis_distance_and_falls_at_every_step() -> None:
    x = torch.rand(1, 3, 16, 16, generator=generator()) * 2 - 1
    way = list(gradient_denoise(Shrinking(), quadratic(0.5), x, LEVEL, generator(), settings=quiet(steps=8)))
    blocks = to_blocks(x)
    torch.testing.assert_close(way[0].distance, 2 * (blocks - 0.5).square().sum(1).sqrt(), rtol=1e-5, atol=1e-5)
    totals = [total(one) for one in way[:-1]]
    assert all(after < before for before, after in pairwise(totals))
    assert [one.step for one in way] == list(range(9))


def test_a_step_has_the_papers_size() -> None:
    x = torch.rand(2, 3, 16, 16, generator=generator()) * 0.2
    x[1] *= 3  # another image must not change the size of this one's step
    guide, s = quadratic(0.5), 0.02
    way = list(gradient_denoise(Shrinking(), guide, x, LEVEL, generator(), settings=quiet(s=s)))
    moved = (way[1].x - math.sqrt(1 - s * s) * way[0].x) / s
    torch.testing.assert_close(moved.std((1, 2, 3)), torch.ones(2), rtol=1e-3, atol=0)
    expected = 0.5 - x[0]  # along the negative gradient
    assert torch.corrcoef(torch.stack([moved[0].flatten(), expected.flatten()]))[0, 1] > 0.9999


def test_images_without_a_gradient_stay() -> None:
    assert torch.equal(unit_deviation(torch.zeros(2, 3, 4, 4)), torch.zeros(2, 3, 4, 4))


def test_every_fifth_step_is_followed_by_a_diffusion_step_at_the_level_and_so_is_the_last() -> None:
    denoiser, label = Shrinking(), torch.tensor([2])
    x = torch.rand(1, 3, 16, 16, generator=generator())
    settings = quiet(steps=12, every=5)
    way = list(gradient_denoise(denoiser, quadratic(0), x, LEVEL, generator(), settings=settings, label=label))
    assert [one.step for one in way if one.settled] == [0, 5, 10, 12]
    assert len(denoiser.calls) == 3
    assert all(t == LEVEL.timestep and told is label for t, told in denoiser.calls)


def test_a_diffusion_step_noises_to_the_level_and_takes_the_estimate() -> None:
    x = torch.zeros(4, 3, 64, 64)
    out = diffusion_step(Shrinking(), x, LEVEL, generator())
    assert out.std().item() == pytest.approx(LEVEL.signal * LEVEL.noise, rel=0.02)
    assert diffusion_step(Shrinking(), x + 9, LEVEL, generator()).max() == 1


def test_images_stay_within_the_limits() -> None:
    x = torch.ones(1, 3, 16, 16)
    way = list(gradient_denoise(Shrinking(), quadratic(40.0), x, LEVEL, generator(), settings=quiet(s=0.5)))
    assert max(one.x.abs().max().item() for one in way) == pytest.approx(LIMIT)


@pytest.fixture(scope="module")
def good() -> Image:
    """64 parts of the synthetic line that hold still, 64 px."""
    line = SyntheticLine(LineConfig(size=SIZE, rotate=0, shift=0, drift=0))
    return np.stack([line.frame(i, "good").image for i in range(64)])


@pytest.fixture(scope="module")
def guide(lite0: Extractor, good: Image) -> Guide:
    return fit_guide(lite0, good[:60], dims=16)


def test_the_guide_is_padim_on_the_extractors_features(lite0: Extractor, good: Image, guide: Guide) -> None:
    def features(images: Image) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        return lite0.features(normalise(torch.from_numpy(images)))[:, guide.dims].double().numpy()

    seen, new = features(good[:60]), features(good[60:62])
    squared = guide.squared(normalise(torch.from_numpy(good[60:62]))).numpy()
    assert squared.shape == (2, 16, 16)
    for row, column in ((0, 0), (3, 7), (15, 2)):
        covariance = np.cov(seen[:, :, row, column].T) + 0.01 * np.eye(16)
        centred = new[:, :, row, column] - seen[:, :, row, column].mean(0)
        expected = np.einsum("bi,ij,bj->b", centred, np.linalg.inv(covariance), centred)
        np.testing.assert_allclose(squared[:, row, column], expected, rtol=1e-3)


@pytest.mark.parametrize("seed", [1, 4])
def test_a_pasted_defect_fades(good: Image, guide: Guide, seed: int) -> None:
    spoilt, mask = paste_defect(good[62], np.random.default_rng(seed))
    x = normalise(torch.from_numpy(spoilt[None]))
    # The toy denoiser would leave its noise in the image: the way up to the only diffusion step.
    settings = GradientSettings(steps=13, s=0.005, every=13)
    way = list(gradient_denoise(Shrinking(), guide, x, LEVEL, generator(), settings=settings))[:-1]
    inside = torch.from_numpy(mask > 0).view(1, 16, 4, 16, 4).any(4).any(2)
    first, last = (one.distance[inside].mean().item() for one in (way[0], way[-1]))
    assert last < 0.7 * first
    assert total(way[-1]) < 0.6 * total(way[0])
    assert all(one.x.abs().max() <= LIMIT for one in way)


def test_the_same_seed_gives_the_same_way_and_the_backbone_learns_nothing(good: Image, guide: Guide) -> None:
    x = normalise(torch.from_numpy(good[63:64]))
    settings = GradientSettings(steps=4, every=2)
    first, again, other = (
        list(gradient_denoise(Shrinking(), guide, x, LEVEL, generator(seed), settings=settings))[-1].x
        for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert all(p.grad is None for p in guide.parameters())
    assert not first.requires_grad
