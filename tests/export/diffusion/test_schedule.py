"""The schedule against betas multiplied by hand, and chains cut from it against the chain they were cut from."""

import math

import pytest
import torch

from diffad_export.diffusion.schedule import add_noise, linear_schedule, respace


def test_a_short_linear_schedule_by_hand() -> None:
    schedule = linear_schedule(3, 0.1, 0.3)
    expected = {
        "beta": [0.1, 0.2, 0.3],
        "abar": [0.9, 0.72, 0.504],
        "abar_prev": [1.0, 0.9, 0.72],
        "posterior_variance": [0.0, 0.2 * 0.1 / 0.28, 0.3 * 0.28 / 0.496],
    }
    for name, values in expected.items():
        torch.testing.assert_close(getattr(schedule, name), torch.tensor(values, dtype=torch.float64))
    assert schedule.steps == 3
    # The first variance is zero; its logarithm is that of the second.
    logs = [math.log(0.2 * 0.1 / 0.28)] * 2 + [math.log(0.3 * 0.28 / 0.496)]
    torch.testing.assert_close(schedule.posterior_log_variance, torch.tensor(logs, dtype=torch.float64))


def test_the_default_schedule_is_that_of_ddpm() -> None:
    schedule = linear_schedule()
    assert schedule.steps == 1000
    assert schedule.beta[0].item() == pytest.approx(1e-4)
    assert schedule.beta[-1].item() == pytest.approx(0.02)
    product = 1.0
    for t in range(1000):
        product *= 1 - (1e-4 + (0.02 - 1e-4) * t / 999)
    assert schedule.abar[-1].item() == pytest.approx(product, rel=1e-9)
    assert product == pytest.approx(4.0358e-5, rel=1e-4)


@pytest.mark.parametrize("steps", [2, 50, 250, 1000])
def test_a_respaced_chain_keeps_the_levels_of_the_original(steps: int) -> None:
    full = linear_schedule()
    chain = respace(full, steps)
    assert chain.steps == steps
    assert torch.equal(chain.abar, full.abar[chain.timestep])
    assert chain.timestep[[0, -1]].tolist() == [0, 999]
    assert (chain.timestep.diff() > 0).all()
    # One step of the chain adds what the skipped steps add one after the other.
    for step in range(1, steps, max(1, steps // 7)):
        first, last = int(chain.timestep[step - 1]) + 1, int(chain.timestep[step]) + 1
        assert 1 - chain.beta[step].item() == pytest.approx(float((1 - full.beta[first:last]).prod()), rel=1e-12)


def test_steps_of_the_250_chain_stand_for_evenly_spaced_levels() -> None:
    chain = respace(linear_schedule(), 250)
    # round(step * 999 / 249), as guided diffusion spaces them
    assert [int(chain.timestep[step]) for step in (0, 5, 50, 100, 249)] == [0, 20, 201, 401, 999]
    assert [chain.step_of(int(t)) for t in chain.timestep] == list(range(250))
    assert chain.step_of(200) == 50


def test_a_chain_cannot_be_longer_than_what_it_is_cut_from() -> None:
    with pytest.raises(ValueError, match=r"respaced to 2\.\.10, got 11"):
        respace(linear_schedule(10), 11)
    with pytest.raises(ValueError, match="got 1"):
        respace(linear_schedule(10), 1)


def test_noised_images_have_the_mean_and_variance_of_their_level() -> None:
    generator = torch.Generator().manual_seed(0)
    x0 = torch.full((2, 3, 200, 200), 0.5)
    abar = torch.tensor([0.36, 0.91], dtype=torch.float64)
    x_t = add_noise(x0, torch.randn(x0.shape, generator=generator), abar)
    assert x_t.dtype == torch.float32
    for row, level in enumerate(abar.tolist()):
        # 120,000 draws: the standard error of the mean is below 0.003, that of the variance below 0.003
        assert x_t[row].mean().item() == pytest.approx(0.5 * math.sqrt(level), abs=0.01)
        assert x_t[row].var().item() == pytest.approx(1 - level, abs=0.012)
