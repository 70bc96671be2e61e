"""Twelve steps in one sitting, and six, a checkpoint, and six more by a new trainer: the same run, bit for bit."""

import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from diffad_export.config import DistilConfig, LossConfig, OptimiserConfig, TeacherConfig, TrainConfig
from diffad_export.distributed import Share
from diffad_export.feature_cache import FeatureCache
from diffad_export.grids import GridLayout
from diffad_export.networks import make_teacher
from diffad_export.networks.student import Student
from diffad_export.reconstructor import levels_of
from diffad_export.training.lessons import Lessons
from diffad_export.training.loop import Objective, Trainer
from diffad_export.training.mapmatch import MapBank, MapMatching
from diffad_export.training.student import StudentObjective
from diffad_export.training.targets import TeacherTargets
from diffad_export.training.teacher import TeacherObjective

CPU = torch.device("cpu")
STEPS = OptimiserConfig(steps=12, batch=4, warmup_steps=3)
Make = Callable[[FeatureCache], tuple[nn.Module, Objective]]


def teacher_case(cache: FeatureCache) -> tuple[nn.Module, Objective]:
    config = TeacherConfig(widths=(16, 32))
    return make_teacher(TrainConfig(seed=1, teacher=config), 6), TeacherObjective(cache, config, STEPS.batch, CPU)


def student_case(cache: FeatureCache) -> tuple[nn.Module, Objective]:
    """All that a distillation can be asked for: levels, grids, pasted defects, every loss."""
    layout, levels = GridLayout((4, 8, 16), (3, 2, 1)), levels_of((5, 50))
    losses = LossConfig(teacher=1, consistency=0.5, map=0.5)
    config = DistilConfig(width=8, steps=2, chain_steps=(5, 50), losses=losses, optimiser=STEPS)
    rng = np.random.default_rng(1)

    def random(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float16)

    def features() -> tuple[np.ndarray, ...]:
        return random(12, 3, 8, 8), random(12, 2, 4, 4), random(12, 1, 2, 2)

    targets = tuple(TeacherTargets(random(12, 48, 8, 8), features()) for _ in levels)
    bank = MapBank(np.array(cache.images[:]), features(), random(12, 8, 8).astype(np.float32))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        student = Student(layout, 8, 2, shared=True)
    lessons = Lessons(targets, MapMatching(bank, layout, levels))
    return student, StudentObjective(cache, layout, config, levels, lessons, CPU)


class Recorded:
    """An objective with its losses written down; Ctrl-C comes in the middle of step `stop` of this sitting."""

    def __init__(self, objective: Objective, stop: int | None = None) -> None:
        self.objective, self.stop, self.losses = objective, stop, list[float]()

    def __call__(
        self, network: nn.Module, generator: torch.Generator, share: Share
    ) -> tuple[Tensor, dict[str, Tensor]]:
        loss, parts = self.objective(network, generator, share)
        self.losses.append(loss.item())
        if len(self.losses) == self.stop:
            signal.raise_signal(signal.SIGINT)
        return loss, parts


@pytest.mark.parametrize("make", [teacher_case, student_case])
def test_a_resumed_run_is_the_uninterrupted_one(make: Make, small_cache: FeatureCache, tmp_path: Path) -> None:
    def sitting(folder: Path, stop: int | None, *, resume: bool) -> tuple[list[float], Trainer]:
        folder.mkdir(exist_ok=True)
        network, objective = make(small_cache)
        recorded = Recorded(objective, stop)
        trainer = Trainer(network, recorded, STEPS, folder, seed=5, name="net")
        if stop is None:
            assert trainer.run(resume=resume).step == 12
        else:
            with pytest.raises(KeyboardInterrupt):
                trainer.run(resume=resume)
        return recorded.losses, trainer

    straight, one = sitting(tmp_path / "straight", None, resume=False)
    first, _ = sitting(tmp_path / "parts", 6, resume=False)
    second, two = sitting(tmp_path / "parts", None, resume=True)
    assert (len(first), len(second)) == (6, 6)
    assert first + second == straight
    assert one.outcome.losses == two.outcome.losses
    states = zip(one.network.state_dict().items(), two.network.state_dict().items(), strict=True)
    assert all(a == b and torch.equal(x, y) for (a, x), (b, y) in states)
    assert one.ema.keys() == two.ema.keys()
    assert all(torch.equal(one.ema[name], two.ema[name]) for name in one.ema)
    assert straight[-1] < straight[0]
