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
from diffad_export.grids import FromOneGrid, GridLayout
from diffad_export.networks import make_teacher
from diffad_export.networks.teacher import Teacher
from diffad_export.reconstructor import levels_of
from diffad_export.training import targets as module
from diffad_export.training.targets import TeacherTargets, teacher_targets

CPU = torch.device("cpu")
(LEVEL,) = levels_of((50,))
ONE_GRID = GridLayout((4,), (6,))
PYRAMID = GridLayout((4, 8, 16), (3, 2, 1))


def make(seed: int = 0) -> Teacher:
    teacher = make_teacher(TrainConfig(seed=seed, teacher=TeacherConfig(widths=(16,))), 6)
    assert isinstance(teacher, Teacher)
    nn.init.normal_(teacher.pixel_head.weight, std=0.05, generator=torch.Generator().manual_seed(seed))
    return teacher.eval()


def open_targets(
    folder: Path, cache: FeatureCache, teacher: Teacher | None = None, layout: GridLayout = ONE_GRID, **changes: int
) -> TeacherTargets:
    settings = {"draws": 3, "seed": 0} | changes
    level = LEVEL if "step" not in changes else levels_of((settings.pop("step"),))[0]
    return teacher_targets(folder, teacher or make(), cache, level, layout, world=World(CPU), **settings)


@pytest.mark.parametrize("layout", [ONE_GRID, PYRAMID])
@torch.no_grad()
def test_targets_are_the_mean_over_noise_draws(
    layout: GridLayout, small_cache: FeatureCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "bf16_is_native", lambda _device: False)
    teacher, seen = make(), list[Tensor]()
    teacher.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    found = open_targets(tmp_path, small_cache, teacher, layout)
    assert len(seen) == 3
    x, _ = small_cache.batch(np.arange(12), CPU)
    noises = [(x_t - LEVEL.signal * x) / LEVEL.noise for x_t in seen]
    assert all(noise.std().item() == pytest.approx(1, abs=0.03) for noise in noises)
    assert not torch.equal(noises[0], noises[1])
    answers: list[Denoised] = [teacher(x_t, torch.full((12,), LEVEL.timestep)) for x_t in seen[:3]]
    x0, f = found.batch(np.arange(12), CPU)
    expected = torch.stack([a.x0 for a in answers]).mean(0)
    torch.testing.assert_close(x0, expected, rtol=2e-3, atol=2e-3)  # kept as float16
    mean = torch.stack([a.f[0] for a in answers]).mean(0)
    assert [one.shape[1:] for one in f] == [
        (c, 32 // s, 32 // s) for s, c in zip(layout.strides, layout.channels, strict=True)
    ]
    for one, expected_f in zip(f, FromOneGrid(layout, 32, 4)(mean), strict=True):
        torch.testing.assert_close(one, expected_f, rtol=2e-3, atol=2e-3)
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
    assert np.array_equal(first.f[0][:], second.f[0][:])
    assert len(list(tmp_path.iterdir())) == 1


def test_targets_of_another_layout_are_others(small_cache: FeatureCache, tmp_path: Path) -> None:
    one, several = (open_targets(tmp_path, small_cache, layout=layout) for layout in (ONE_GRID, PYRAMID))
    assert len(list(tmp_path.iterdir())) == 2
    assert (len(one.f), len(several.f)) == (1, 3)
    (x0, f), (same, parts) = (targets.batch(np.arange(12), CPU) for targets in (one, several))
    assert torch.equal(x0, same)
    assert torch.equal(f[0][:, :3], parts[0])


@pytest.mark.parametrize("change", [{"draws": 2}, {"seed": 1}, {"step": 20}, {"teacher": 1}])
def test_other_settings_make_others(small_cache: FeatureCache, tmp_path: Path, change: dict[str, int]) -> None:
    first = open_targets(tmp_path, small_cache)
    settings = dict(change)
    teacher = make(settings.pop("teacher", 0))
    second = open_targets(tmp_path, small_cache, teacher, ONE_GRID, **settings)
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
