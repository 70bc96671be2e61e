"""The teacher's training step: levels spread over the range, features clean, terms named."""

import pytest
import torch
from torch import Tensor, nn

from diffad_export.config import OptimiserConfig, TeacherConfig, TrainConfig
from diffad_export.denoiser import Denoised
from diffad_export.distributed import Share, World
from diffad_export.feature_cache import FeatureCache
from diffad_export.training.loop import step_generator
from diffad_export.training.teacher import TeacherObjective, fit_teacher

CPU = torch.device("cpu")


class Spy(nn.Module):
    """Keeps the levels it is asked about; answers zero."""

    def __init__(self) -> None:
        super().__init__()
        self.levels, self.seen = list[Tensor](), list[Tensor]()

    def forward(self, x_t: Tensor, t: Tensor, label: Tensor | None = None) -> Denoised:  # noqa: ARG002
        self.levels.append(t)
        self.seen.append(x_t)
        pixels, f = torch.zeros(len(x_t), 48, 8, 8), torch.zeros(len(x_t), 6, 8, 8)
        return Denoised(pixels, pixels, (f,), (f,))


def test_levels_cover_the_trained_range_and_stay_in_it(small_cache: FeatureCache) -> None:
    spy = Spy()
    objective = TeacherObjective(small_cache, TeacherConfig(max_timestep=80), 8, CPU)
    for step in range(40):
        _, parts = objective(spy, step_generator(0, step))
        # one level in each eighth of the range
        assert (spy.levels[-1] // 10).tolist() == list(range(8))
        assert parts.keys() == {"pixels", "bound", "features", "likelihood"}
    levels = torch.cat(spy.levels)
    assert 0 <= levels.min() < 4
    assert 76 <= levels.max() < 80
    assert len(set(levels.tolist())) > 70


@pytest.mark.parametrize("size", [2, 4])
def test_shares_make_up_the_global_batch(small_cache: FeatureCache, size: int) -> None:
    objective, whole, parts = TeacherObjective(small_cache, TeacherConfig(), 8, CPU), Spy(), Spy()
    loss, terms = objective(whole, step_generator(0, 3))
    shares = [objective(parts, step_generator(0, 3), Share(rank, size)) for rank in range(size)]
    assert torch.equal(torch.cat(parts.levels), whole.levels[0])
    assert torch.equal(torch.cat(parts.seen), whole.seen[0])
    torch.testing.assert_close(torch.stack([part for part, _ in shares]).mean(), loss)
    for name, term in terms.items():
        torch.testing.assert_close(torch.stack([part[name] for _, part in shares]).mean(), term)


def test_a_short_training_lowers_the_loss_and_hands_back_the_average(small_cache: FeatureCache) -> None:
    config = TrainConfig(
        size=64,
        teacher=TeacherConfig(widths=(16,)),
        optimiser=OptimiserConfig(steps=40, batch=8, warmup_steps=5, learning_rate=3e-3),
    )
    teacher, outcome = fit_teacher(config, small_cache, None, World(CPU))
    assert not teacher.training
    assert outcome.step == 40
    assert outcome.losses[-1][1] < 0.95 * outcome.losses[0][1]
    again, same = fit_teacher(config, small_cache, None, World(CPU))
    assert all(
        torch.equal(a, b) for a, b in zip(teacher.state_dict().values(), again.state_dict().values(), strict=True)
    )
    assert [loss for _, loss in outcome.losses] == pytest.approx([loss for _, loss in same.losses])
