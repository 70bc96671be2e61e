"""Distillation targets: the teacher averaged over draws, made once, named by all that they depend on."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from diffad_export.config import TeacherConfig, TrainConfig
from diffad_export.denoiser import Denoised
from diffad_export.distributed import World
from diffad_export.feature_cache import FeatureCache
from diffad_export.networks import make_teacher
from diffad_export.networks.teacher import Teacher
from diffad_export.reconstructor import levels_of
from diffad_export.training import targets as module
from diffad_export.training.targets import TeacherTargets, teacher_targets

CPU = torch.device("cpu")
(LEVEL,) = levels_of((50,))


def make(seed: int = 0) -> Teacher:
    teacher = make_teacher(TrainConfig(seed=seed, teacher=TeacherConfig(widths=(16,))), 6)
    assert isinstance(teacher, Teacher)
    nn.init.normal_(teacher.pixel_head.weight, std=0.05, generator=torch.Generator().manual_seed(seed))
    return teacher.eval()


def open_targets(folder: Path, cache: FeatureCache, teacher: Teacher | None = None, **changes: int) -> TeacherTargets:
    settings = {"draws": 3, "seed": 0} | changes
    level = LEVEL if "step" not in changes else levels_of((settings.pop("step"),))[0]
    return teacher_targets(folder, teacher or make(), cache, level, world=World(CPU), **settings)


@torch.no_grad()
def test_targets_are_the_mean_over_noise_draws(
    small_cache: FeatureCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "bf16_is_native", lambda _device: False)
    teacher, seen = make(), list[Tensor]()
    teacher.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    found = open_targets(tmp_path, small_cache, teacher)
    assert len(seen) == 3
    x, _ = small_cache.batch(np.arange(12), CPU)
    noises = [(x_t - LEVEL.signal * x) / LEVEL.noise for x_t in seen]
    assert all(noise.std().item() == pytest.approx(1, abs=0.03) for noise in noises)
    assert not torch.equal(noises[0], noises[1])
    answers: list[Denoised] = [teacher(x_t, torch.full((12,), LEVEL.timestep)) for x_t in seen[:3]]
    x0, f = found.batch(np.arange(12), CPU)
    expected = torch.stack([a.x0 for a in answers]).mean(0)
    torch.testing.assert_close(x0, expected, rtol=2e-3, atol=2e-3)  # kept as float16
    torch.testing.assert_close(f, torch.stack([a.f for a in answers]).mean(0), rtol=2e-3, atol=2e-3)
    # One draw is further away than rounding: the mean is really taken.
    assert (answers[0].x0 - expected).abs().max() > 0.05


def test_the_second_time_they_are_opened(
    small_cache: FeatureCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = open_targets(tmp_path, small_cache)

    def refuse(*_: object) -> None:
        raise AssertionError("made again")

    monkeypatch.setattr(Teacher, "forward", refuse)
    second = open_targets(tmp_path, small_cache)
    assert np.array_equal(first.x0[:], second.x0[:])
    assert np.array_equal(first.f[:], second.f[:])
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("change", [{"draws": 2}, {"seed": 1}, {"step": 20}, {"teacher": 1}])
def test_other_settings_make_others(small_cache: FeatureCache, tmp_path: Path, change: dict[str, int]) -> None:
    first = open_targets(tmp_path, small_cache)
    settings = dict(change)
    teacher = make(settings.pop("teacher", 0))
    second = open_targets(tmp_path, small_cache, teacher, **settings)
    assert not np.array_equal(first.x0[:], second.x0[:])
    assert len(list(tmp_path.iterdir())) == 2


def test_interrupted_targets_are_none(
    small_cache: FeatureCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Teacher, "forward", interrupt)
        with pytest.raises(KeyboardInterrupt):
            open_targets(tmp_path, small_cache)
    assert not list(tmp_path.glob("*/*"))
    assert np.abs(open_targets(tmp_path, small_cache).x0[:]).max() > 0
