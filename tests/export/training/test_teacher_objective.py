"""The teacher's training step: levels spread over the range, features clean, terms named."""

import pytest
import torch
from torch import Tensor, nn

from diffad_export.config import OptimiserConfig, TeacherConfig, TrainConfig
from diffad_export.denoiser import Denoised
from diffad_export.feature_cache import FeatureCache
from diffad_export.training.loop import step_generator
from diffad_export.training.teacher import TeacherObjective, fit_teacher

CPU = torch.device("cpu")


class Spy(nn.Module):
    """Keeps the levels it is asked about; answers zero."""

    def __init__(self) -> None:
        super().__init__()
        self.levels = list[Tensor]()

    def forward(self, x_t: Tensor, t: Tensor) -> Denoised:
        self.levels.append(t)
        pixels, f = torch.zeros(len(x_t), 48, 8, 8), torch.zeros(len(x_t), 6, 8, 8)
        return Denoised(pixels, pixels, f, f)


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


def test_a_short_training_lowers_the_loss_and_hands_back_the_average(small_cache: FeatureCache) -> None:
    config = TrainConfig(
        size=64,
        teacher=TeacherConfig(width=16, multipliers=(1,)),
        optimiser=OptimiserConfig(steps=40, batch=8, warmup_steps=5, learning_rate=3e-3),
    )
    teacher, outcome = fit_teacher(config, small_cache, None, CPU)
    assert not teacher.training
    assert outcome.step == 40
    assert outcome.losses[-1][1] < 0.95 * outcome.losses[0][1]
    again, same = fit_teacher(config, small_cache, None, CPU)
    assert all(
        torch.equal(a, b) for a, b in zip(teacher.state_dict().values(), again.state_dict().values(), strict=True)
    )
    assert [loss for _, loss in outcome.losses] == pytest.approx([loss for _, loss in same.losses])
