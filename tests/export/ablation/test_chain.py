"""The reverse chain as a denoiser: where it ends, how often the teacher is asked, what its features are."""

import numpy as np
import pytest
import torch
from torch import Tensor

from diffad_export.ablation.chain import ChainDenoiser, chain_score, chain_start
from diffad_export.backbone import Extractor
from diffad_export.config import ScoreConfig
from diffad_export.denoiser import Denoised, Denoiser, from_blocks, to_blocks
from diffad_export.diffusion.schedule import linear_schedule, respace
from diffad_export.reconstructor import FeatureNorm, Reconstructor, fixed_noise, levels_of
from diffad_export.score import FittedScore

SIZE = 32


class Sure(Denoiser):
    """Knows the clean image; `asked` are the timesteps."""

    def __init__(self, clean: Tensor) -> None:
        super().__init__()
        self.clean, self.asked, self.labels = clean, list[int](), list[object]()

    def forward(self, x_t: Tensor, t: Tensor, label: Tensor | None = None) -> Denoised:
        self.asked.append(int(t[0]))
        self.labels.append(None if label is None else label.tolist())
        blocks = to_blocks(self.clean.expand_as(x_t))
        return Denoised(blocks, blocks, (), ())


class Shrinking(Denoiser):
    """Answers with half of what it sees: a chain of a closed form."""

    def forward(self, x_t: Tensor, t: Tensor, label: Tensor | None = None) -> Denoised:  # noqa: ARG002
        blocks = to_blocks(x_t / 2)
        return Denoised(blocks, blocks, (), ())


@pytest.fixture
def norm(lite0: Extractor) -> FeatureNorm:
    count = sum(lite0.channels)
    return FeatureNorm(torch.linspace(-1, 1, count), torch.linspace(0.5, 2, count))


@pytest.mark.parametrize("evaluations", [1, 3, 51])
def test_the_way_down(evaluations: int, lite0: Extractor, norm: FeatureNorm) -> None:
    clean = torch.rand(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1)) * 2 - 1
    teacher = Sure(clean)
    network = ChainDenoiser(teacher, lite0, norm, start=50, evaluations=evaluations)
    x_t = torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    found = network(x_t, torch.tensor([7, 7]), torch.tensor([4, 4]))
    torch.testing.assert_close(from_blocks(found.x0), clean.expand(2, -1, -1, -1), rtol=0, atol=1e-6)
    assert len(teacher.asked) == evaluations
    assert teacher.asked[0] == int(respace(linear_schedule(), 250).timestep[50]) == 201
    assert teacher.asked == sorted(teacher.asked, reverse=True)
    assert evaluations == 1 or teacher.asked[-1] < 201 / (evaluations - 1)
    assert teacher.labels == [[4, 4]] * evaluations
    expected = (lite0.features(clean) - norm.mean.view(1, -1, 1, 1)) / norm.std.view(1, -1, 1, 1)
    torch.testing.assert_close(found.f[0], expected.expand(2, -1, -1, -1), rtol=1e-4, atol=1e-4)
    assert not found.f_log_var[0].any()


def test_two_steps_of_ddim_by_hand(lite0: Extractor, norm: FeatureNorm) -> None:
    chain = respace(linear_schedule(), 250)
    x_t = torch.rand(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)) - 0.5
    found = ChainDenoiser(Shrinking(), lite0, norm, start=49, evaluations=2)(x_t, torch.tensor([0]))
    high, low = (float(chain.abar[step]) for step in (49, 24))
    # eps = (x_t - sqrt(abar) x_t / 2) / sqrt(1 - abar); x_low = sqrt(abar_low) x_t / 2 + sqrt(1 - abar_low) eps
    factor = np.sqrt(low) / 2 + np.sqrt(1 - low) * (1 - np.sqrt(high) / 2) / np.sqrt(1 - high)
    torch.testing.assert_close(from_blocks(found.x0), x_t * float(factor) / 2, rtol=1e-5, atol=1e-6)


def test_a_perfect_chain_leaves_no_residual(lite0: Extractor, norm: FeatureNorm) -> None:
    """Worn by a reconstructor the map is (f(x) - f(x0))^2 of standardised features, mean over channels."""
    good = torch.rand(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(2)) * 2 - 1
    score, total = chain_score(ScoreConfig(smoothing=0)), len(norm.mean)
    model = Reconstructor(
        ChainDenoiser(Sure(good), lite0, norm, start=50, evaluations=2),
        norm,
        levels_of(score.chain_steps),
        fixed_noise(1, SIZE, 0),
        FittedScore.neutral(score.feature_score, 1, total, alpha=0.0),
    ).eval()
    with torch.no_grad():
        clean = model(good, lite0.grids(good))[2]
        spoiled = good.clone()
        spoiled[..., 8:16, 8:16] = 1
        dirty = model(spoiled, lite0.grids(spoiled))[2]
        gap = (lite0.features(spoiled) - lite0.features(good)) / norm.std.view(1, -1, 1, 1)
    torch.testing.assert_close(clean, torch.zeros_like(clean), rtol=0, atol=1e-5)
    torch.testing.assert_close(dirty, gap.square().mean(1), rtol=1e-3, atol=1e-3)


def test_the_score_of_a_chain() -> None:
    asked = ScoreConfig(chain_steps=(5, 60, 100), feature_score="whitened", alpha=0.5, draws=2, smoothing=0.1)
    assert chain_start(asked) == 60
    made = chain_score(asked)
    assert (made.chain_steps, made.feature_score, made.alpha, made.weights) == ((60,), "residual", 0.0, "equal")
    assert (made.draws, made.smoothing, made.top_pixels) == (2, 0.1, asked.top_pixels)
