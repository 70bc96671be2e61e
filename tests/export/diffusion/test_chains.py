"""Reverse chains against closed forms: the posterior, and a Gaussian prior whose exact denoiser is known."""

import math

import pytest
import torch
from torch import Tensor

from diffad_export.denoiser import Denoised, Denoiser, from_blocks, to_blocks
from diffad_export.diffusion.chains import ReverseStep, ancestral_step, cut, ddim_step, reverse_chain
from diffad_export.diffusion.posterior import level_at
from diffad_export.diffusion.schedule import Schedule, add_noise, linear_schedule, respace

F64 = torch.float64
TRAINING = linear_schedule()
CHAIN = respace(TRAINING, 250)
M, S = 0.3, 0.4  # mean and deviation of the prior


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=F64)


def denoised(x0: Tensor, v: Tensor | float = 0.0) -> Denoised:
    blocks = to_blocks(x0)
    nothing = torch.zeros(len(x0), 1, 1, 1)
    return Denoised(blocks, v if isinstance(v, Tensor) else torch.full_like(blocks, v), (nothing,), (nothing,))


class Exact(Denoiser):
    """E[x0 | x_t] for pixels that are N(M, S^2), and the v with which the learned step is the true p(x_{t-1} | x_t).

    Var(x_{t-1} | x_t) = beta~ + c0^2 Var(x0 | x_t), which lies between beta~ and beta for S <= 1.
    """

    def __init__(self, chain: Schedule) -> None:
        super().__init__()
        self.chain = chain

    def forward(self, x_t: Tensor, t: Tensor, label: Tensor | None = None) -> Denoised:  # noqa: ARG002
        a = math.sqrt(TRAINING.abar[t[0]].item())
        total = a * a * S * S + 1 - a * a
        x0 = M + S * S * a / total * (x_t - a * M)
        step = self.chain.step_of(int(t[0]))
        if step == 0:
            return denoised(x0)
        level = level_at(self.chain, step)
        variance = math.exp(level.log_variance) + level.c0**2 * S * S * (1 - a * a) / total
        v = 2 * (math.log(variance) - level.log_variance) / (level.log_beta - level.log_variance) - 1
        assert -1 <= v <= 1
        return denoised(x0, v)


class Known(Denoiser):
    """Always says the same image."""

    def __init__(self, x0: Tensor) -> None:
        super().__init__()
        self.x0, self.seen = x0, list[tuple[int, Tensor | None]]()

    def forward(self, x_t: Tensor, t: Tensor, label: Tensor | None = None) -> Denoised:  # noqa: ARG002
        self.seen.append((int(t[0]), label))
        return denoised(self.x0)


def walk(denoiser: Denoiser, x: Tensor, chain: Schedule, **options: object) -> list[ReverseStep]:
    return list(reverse_chain(denoiser, x, chain, generator(1), limit=None, **options))  # type: ignore[arg-type]


@pytest.mark.parametrize("steps", [10, 101])
def test_ancestral_samples_of_the_exact_denoiser_have_the_priors_mean_and_variance(steps: int) -> None:
    chain = cut(CHAIN, 100, steps)
    a = math.sqrt(chain.abar[-1].item())
    # As noised as the chain's start, but of the marginal: the start alone must not give the answer away.
    start = a * M + math.sqrt(a * a * S * S + 1 - a * a) * draw(8, 3, 32, 32)
    end = walk(Exact(chain), start, chain)[-1].x
    first = chain.abar[0].item()
    # The last step takes the estimate, whose variance is the prior's less the posterior's.
    expected = S**4 * first / (first * S * S + 1 - first)
    count = end.numel()
    assert end.mean().item() == pytest.approx(M, abs=4 * S / math.sqrt(count))
    assert end.var().item() == pytest.approx(expected, rel=4 * math.sqrt(2 / count))


def test_ddim_without_noise_follows_the_flow_of_the_ode_and_its_error_falls_with_the_steps() -> None:
    a = math.sqrt(CHAIN.abar[100].item())
    x = draw(1, 3, 8, 8)
    flowed = M + S * (x - a * M) / math.sqrt(a * a * S * S + 1 - a * a)
    errors = []
    for steps in (6, 24, 101):
        chain = cut(CHAIN, 100, steps)
        end = walk(Exact(chain), x, chain, sampler="ddim")[-1].x
        errors.append((end - flowed).abs().max().item())
    assert errors[0] > 2 * errors[1] > 4 * errors[2]
    assert errors[2] < 0.02


def test_ddim_without_noise_does_not_hear_the_generator() -> None:
    chain = cut(CHAIN, 50, 5)
    x = draw(1, 3, 8, 8)
    ends = [list(reverse_chain(Exact(chain), x, chain, generator(s), sampler="ddim"))[-1].x for s in (1, 2)]
    assert torch.equal(*ends)
    same = [list(reverse_chain(Exact(chain), x, chain, generator(1)))[-1].x for _ in range(2)]
    other = list(reverse_chain(Exact(chain), x, chain, generator(2)))[-1].x
    assert torch.equal(*same)
    assert not torch.equal(same[0], other)


@pytest.mark.parametrize("step", [0, 1, 5, 50, 249])
def test_ddim_with_eta_one_is_ancestral_sampling_with_the_posterior_variance(step: int) -> None:
    x0, x_t, noise = (draw(2, 3, 8, 8, seed=s) for s in range(3))
    low = denoised(x0, -1.0)
    torch.testing.assert_close(
        ddim_step(low, x_t, CHAIN, step, 1.0, noise),
        ancestral_step(low, x_t, CHAIN, step, noise),
        rtol=0,
        atol=1e-9,
    )


@pytest.mark.parametrize("step", [1, 5, 100])
def test_ancestral_noise_lies_between_the_two_variances(step: int) -> None:
    x0, x_t = draw(1, 3, 8, 8), draw(1, 3, 8, 8, seed=1)
    ones, zeros = torch.ones_like(x0), torch.zeros_like(x0)
    for v, variance in (
        (-1.0, CHAIN.posterior_variance[step]),
        (1.0, CHAIN.beta[step]),
        (0.0, (CHAIN.posterior_variance[step] * CHAIN.beta[step]).sqrt()),
    ):
        moved = ancestral_step(denoised(x0, v), x_t, CHAIN, step, ones)
        still = ancestral_step(denoised(x0, v), x_t, CHAIN, step, zeros)
        torch.testing.assert_close(moved - still, ones * variance.sqrt(), rtol=1e-9, atol=0)


@pytest.mark.parametrize("sampler", ["ancestral", "ddim"])
@pytest.mark.parametrize("steps", [1, 4, 51])
def test_a_chain_that_is_told_the_truth_ends_at_it(sampler: str, steps: int) -> None:
    x0, label = draw(2, 3, 8, 8).clamp(-1, 1), torch.tensor([3, 3])
    chain, teller = cut(CHAIN, 50, steps), Known(x0)
    x_t = add_noise(x0, draw(2, 3, 8, 8, seed=1), chain.abar[-1:].expand(2))
    way = walk(teller, x_t, chain, sampler=sampler, eta=0.5, label=label)
    assert len(way) == steps
    assert torch.equal(way[-1].x, x0)
    assert way[-1].reached is None
    assert [one.timestep for one in way] == [t for t, _ in teller.seen] == chain.timestep.flip(0).tolist()
    assert [one.reached for one in way[:-1]] == [one.timestep for one in way[1:]]
    assert all(told is label for _, told in teller.seen)


def test_a_bad_estimate_is_clipped() -> None:
    x0 = draw(1, 3, 8, 8) * 5
    chain = cut(CHAIN, 20, 3)
    way = list(reverse_chain(Known(x0), x0, chain, generator()))
    assert all(one.x0.abs().max() <= 1 for one in way)
    assert torch.equal(way[-1].x, x0.clamp(-1, 1))


def test_steps_keep_whatever_shape_blocks_give_pixels() -> None:
    x0 = draw(1, 3, 8, 8)
    assert torch.equal(from_blocks(denoised(x0).x0), x0)
    assert torch.equal(ddim_step(denoised(x0), x0, CHAIN, 0, 0.0, x0), x0)


def test_cut_chains_reach_from_the_start_to_the_clean_image() -> None:
    whole = cut(CHAIN, 100, 101)
    torch.testing.assert_close(whole.abar, CHAIN.abar[:101], rtol=0, atol=0)
    torch.testing.assert_close(whole.beta, CHAIN.beta[:101], rtol=1e-12, atol=0)
    short = cut(CHAIN, 100, 4)
    assert short.timestep[-1] == CHAIN.timestep[100]
    assert short.abar_prev[0] == 1
    torch.testing.assert_close(torch.cumprod(1 - short.beta, 0), short.abar, rtol=1e-12, atol=0)
    gaps = (short.timestep[1:] - short.timestep[:-1]).float()
    assert gaps.max() - gaps.min() <= 5  # one step of the chain is four of the training chain
    assert cut(CHAIN, 0, 1).timestep.tolist() == [0]


@pytest.mark.parametrize(("start", "steps"), [(250, 3), (-1, 1), (5, 0), (5, 7)])
def test_cuts_that_a_chain_does_not_have_are_refused(start: int, steps: int) -> None:
    with pytest.raises(ValueError, match="chain"):
        cut(CHAIN, start, steps)
