"""Progressive halving: one step with the target leads where two steps led; levels and weights are handed down."""

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from diffad_export.config import DistilConfig
from diffad_export.denoiser import from_blocks, to_blocks
from diffad_export.grids import GridLayout, Grids
from diffad_export.networks.student import Student
from diffad_export.reconstructor import levels_of
from diffad_export.training.halving import TwoSteps, chain_length, chain_levels, inherit, rounds

STEPS = chain_levels(8, 50)
LEVELS = levels_of(STEPS)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def opinion(x_t: Tensor, level: Tensor) -> tuple[Tensor, Grids]:
    """Some smooth answer that depends on image and level."""
    x0 = torch.tanh(x_t) * (1 - 0.05 * level.view(-1, 1, 1, 1).double()) + 0.1
    return to_blocks(x0), (level.double().view(-1, 1, 1, 1),)


def ddim(x_t: Tensor, x0: Tensor, at: int, to: int) -> Tensor:
    """Written out with the noise that x_t would hold; -1 is the clean image."""
    eps = (x_t - LEVELS[at].signal * x0) / LEVELS[at].noise
    return x0 if to < 0 else LEVELS[to].signal * x0 + LEVELS[to].noise * eps


@pytest.mark.parametrize("level", [0, 1, 3])
def test_one_step_with_the_target_ends_where_two_steps_end(level: int) -> None:
    x = draw(2, 3, 8, 8)
    target, features = TwoSteps(opinion, LEVELS)(x, torch.full((2,), level))
    start, middle = 2 * level + 1, 2 * level
    x_middle = ddim(x, from_blocks(opinion(x, torch.full((2,), start))[0]), start, middle)
    x_end = ddim(x_middle, from_blocks(opinion(x_middle, torch.full((2,), middle))[0]), middle, middle - 1)
    torch.testing.assert_close(ddim(x, from_blocks(target), start, middle - 1), x_end, rtol=1e-6, atol=1e-6)
    assert features[0].flatten().tolist() == [middle, middle]  # of the second, cleaner step


def test_who_always_knows_the_truth_is_repeated() -> None:
    truth = draw(3, 3, 8, 8, seed=1)
    known = TwoSteps(lambda _x, _level: (to_blocks(truth), (truth,)), LEVELS)
    target, _ = known(draw(3, 3, 8, 8), torch.tensor([0, 2, 3]))
    torch.testing.assert_close(from_blocks(target), truth, rtol=1e-5, atol=1e-5)


def test_levels_of_a_halved_chain_are_every_second_one() -> None:
    for halvings in (1, 2, 3):
        for steps in (1, 2, 4):
            numbers = rounds(steps, halvings)
            assert numbers[-1] == steps
            assert chain_length(steps, halvings) == 2 * numbers[0]
            chain = chain_levels(chain_length(steps, halvings), 100)
            for number in numbers:
                chain = chain[1::2]
                assert chain == chain_levels(number, 100)
                assert chain[-1] == 100
    assert len(set(chain_levels(16, 50))) == 16
    with pytest.raises(ValueError, match="at least one halving"):
        rounds(1, 0)


def test_a_round_starts_where_the_one_before_ended() -> None:
    layout = GridLayout((4, 8), (3, 2))
    before, after, last = (Student(layout, 8, levels, shared=True) for levels in (4, 2, 1))
    assert before.shift is not None
    torch.nn.init.normal_(before.shift)
    inherit(after, before)
    assert after.shift is not None
    assert torch.equal(after.shift, before.shift[1::2])
    inherit(last, after)
    for a, b in zip(last.trunks.parameters(), before.trunks.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        ({"teacher": 0.0}, "halvings need a weight of the teacher above 0"),
        ({"teacher": 1.0, "map": 0.5}, "halvings cannot be joined with losses.map or losses.consistency"),
        ({"teacher": 1.0, "consistency": 0.5}, "halvings cannot be joined"),
    ],
)
def test_what_halving_cannot_be_joined_with(losses: dict[str, float], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        DistilConfig.model_validate({"halvings": 2, "losses": losses})
