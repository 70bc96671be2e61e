"""Distillation: which terms there are with and without a teacher, and that noise is drawn anew every step."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from diffad_export.config import DistilConfig, OptimiserConfig
from diffad_export.denoiser import Denoised, to_blocks
from diffad_export.distributed import Share, World
from diffad_export.feature_cache import FeatureCache
from diffad_export.networks.student import Student
from diffad_export.reconstructor import levels_of
from diffad_export.training.loop import step_generator
from diffad_export.training.student import StudentObjective, fit_student
from diffad_export.training.targets import TeacherTargets
from diffad_export.training.teacher import draw_rows
from diffad_runtime.errors import InputError

CPU = torch.device("cpu")
(LEVEL,) = levels_of((50,))
CONFIG = DistilConfig(width=8, teacher_weight=0.5, truth_weight=2.0, optimiser=OptimiserConfig(batch=12, steps=3))


class Oracle(nn.Module):
    """Answers with given tensors; keeps what it was shown."""

    def __init__(self, x0: Tensor, f: Tensor) -> None:
        super().__init__()
        self.x0, self.f, self.seen = x0, f, list[Tensor]()

    def forward(self, x_t: Tensor, t: Tensor, label: Tensor | None = None) -> Denoised:  # noqa: ARG002
        self.seen.append(x_t)
        return Denoised(self.x0, -torch.ones_like(self.x0), self.f, torch.zeros_like(self.f))


def targets(shift: float, cache: FeatureCache) -> TeacherTargets:
    x, f = cache.batch(np.arange(12), CPU)
    return TeacherTargets((to_blocks(x) + shift).half().numpy(), (f + shift).half().numpy())


def test_terms_by_hand(small_cache: FeatureCache) -> None:
    objective = StudentObjective(small_cache, targets(0.25, small_cache), CONFIG, LEVEL, CPU)
    x, f = small_cache.batch(draw_rows(12, 12, step_generator(0, 0)), CPU)
    loss, parts = objective(Oracle(to_blocks(x) + 0.5, f + 0.5), step_generator(0, 0))
    snr = LEVEL.abar / (1 - LEVEL.abar)
    assert parts["features"].item() == pytest.approx(2 * 0.25, rel=1e-4)
    assert parts["pixels"].item() == pytest.approx(2 * snr * 0.25, rel=1e-4)
    assert parts["likelihood"].item() == pytest.approx(0.5 * 0.25, rel=1e-4)
    assert parts["teacher_features"].item() == pytest.approx(0.5 * 0.0625, rel=2e-2)  # targets are float16
    assert parts["teacher_pixels"].item() == pytest.approx(0.5 * snr * 0.0625, rel=2e-2)
    assert loss.item() == pytest.approx(sum(part.item() for part in parts.values()), rel=1e-5)


def test_the_control_has_no_teacher_in_it(small_cache: FeatureCache) -> None:
    x, f = small_cache.batch(draw_rows(12, 12, step_generator(0, 0)), CPU)
    oracle = Oracle(to_blocks(x), f)
    without = StudentObjective(small_cache, None, CONFIG, LEVEL, CPU)(oracle, step_generator(0, 0))[1]
    assert without.keys() == {"features", "pixels", "likelihood", "bound"}
    zero = CONFIG.model_copy(update={"teacher_weight": 0.0})
    unused = StudentObjective(small_cache, targets(9.0, small_cache), zero, LEVEL, CPU)(oracle, step_generator(0, 0))[1]
    assert unused == without
    assert without["features"] == without["pixels"] == 0


def test_every_step_draws_rows_and_noise_anew(small_cache: FeatureCache) -> None:
    one = CONFIG.model_copy(update={"optimiser": OptimiserConfig(batch=1)})
    objective = StudentObjective(small_cache, None, one, LEVEL, CPU)
    oracle = Oracle(torch.zeros(1, 48, 8, 8), torch.zeros(1, 6, 8, 8))
    for step in range(30):
        objective(oracle, step_generator(0, step))
    rows = [int(draw_rows(12, 1, step_generator(0, step))[0]) for step in range(30)]
    first = rows[0]
    again = next(step for step in range(1, 30) if rows[step] == first)
    noise = oracle.seen[again] - oracle.seen[0]  # of the same image
    assert noise.std().item() == pytest.approx(LEVEL.noise * 2**0.5, rel=0.1)
    assert len(set(rows)) > 8


def test_shares_make_up_the_global_batch(small_cache: FeatureCache) -> None:
    objective = StudentObjective(small_cache, targets(0.25, small_cache), CONFIG, LEVEL, CPU)
    pixels, features = torch.zeros(12, 48, 8, 8), torch.zeros(12, 6, 8, 8)
    whole, parts = Oracle(pixels, features), Oracle(pixels[:4], features[:4])
    loss, _ = objective(whole, step_generator(0, 3))
    shares = [objective(parts, step_generator(0, 3), Share(rank, 3))[0] for rank in range(3)]
    assert torch.equal(torch.cat(parts.seen), whole.seen[0])
    torch.testing.assert_close(torch.stack(shares).mean(), loss)


def test_several_cpu_processes_are_refused(small_cache: FeatureCache) -> None:
    with pytest.raises(InputError, match="over 2 CPU processes is not possible"):
        fit_student(CONFIG, small_cache, None, LEVEL, None, World(CPU, 0, 2))


def test_the_averaged_student_is_handed_back(small_cache: FeatureCache) -> None:
    state = torch.random.get_rng_state()
    student, outcome = fit_student(CONFIG, small_cache, None, LEVEL, None, World(CPU))
    assert isinstance(student, Student)
    assert not student.training
    assert outcome.step == 3
    same, _ = fit_student(CONFIG, small_cache, None, LEVEL, None, World(CPU))
    for a, b in zip(student.state_dict().values(), same.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert torch.equal(state, torch.random.get_rng_state())
