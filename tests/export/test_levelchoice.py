"""Levels for the student: where a teacher that is made up sees pasted defects, and what it may look at."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from diffad_calibration.dataset import open_dataset
from diffad_export.backbone import Extractor
from diffad_export.backbone.extractor import normalise
from diffad_export.denoiser import Denoised, Denoiser, to_blocks
from diffad_export.diffusion.schedule import linear_schedule
from diffad_export.levelchoice import CANDIDATES, choose_levels
from diffad_export.pasted import PastedSet, paste_set
from diffad_export.reconstructor import fixed_noise
from diffad_export.runfolder import NOISE_SEED, Run, open_run
from diffad_export.split import Split
from diffad_runtime.errors import InputError

TIMES = {5: 20, 25: 100, 50: 201, 75: 301, 100: 401}


@pytest.fixture(scope="module")
def run(tiny_run: Path) -> Run:
    return open_run(tiny_run)


@pytest.fixture(scope="module")
def split(run: Run, line_data: Path) -> Split:
    return run.split(open_dataset(line_data))


@pytest.fixture(scope="module")
def pasted(split: Split) -> PastedSet:
    return paste_set(split.held, seed=0, most=6)


class Seer(Denoiser):
    """Is surprised by pasted defects at some chain steps, which it looks up, and by nothing but chance at others."""

    def __init__(self, pasted: PastedSet, *steps: int) -> None:
        super().__init__()
        self.images = normalise(torch.from_numpy(pasted.images)).flatten(1)
        masks = torch.from_numpy(pasted.masks).float()[:, None] / 255
        self.masks = F.adaptive_avg_pool2d(masks, masks.shape[-1] // 4)
        self.sharp, self.asked = {TIMES[step] for step in steps}, set[int]()
        self.noise = fixed_noise(8, masks.shape[-1], NOISE_SEED)[:, 0]
        self.generator = torch.Generator().manual_seed(0)

    def at_level(self, k: int, x_t: Tensor, t: Tensor, label: Tensor | None = None) -> Denoised:  # noqa: ARG002
        self.asked.add(int(t[0]))
        abar = linear_schedule().abar[int(t[0])]
        x = (x_t - (1 - abar).sqrt() * self.noise[k]) / abar.sqrt()
        nearest = torch.cdist(x.flatten(1), self.images).argmin(1)
        surprise = self.masks[nearest]
        if int(t[0]) not in self.sharp:
            surprise = torch.rand(surprise.shape, generator=self.generator)
        # A variance that is taken too small makes every feature loud.
        log_var = (-0.3 * surprise).expand(-1, 192, -1, -1)
        return Denoised(to_blocks(x_t), to_blocks(x_t), (torch.zeros_like(log_var),), (log_var,))


def chosen(
    monkeypatch: pytest.MonkeyPatch, run: Run, split: Split, pasted: PastedSet, seer: Seer, count: int
) -> tuple[int, ...]:
    monkeypatch.setattr(Run, "teacher", lambda _self: seer)
    return choose_levels(run, split, pasted, count)


@pytest.mark.parametrize("steps", [(25,), (100,), (5, 75), (50, 100)])
def test_the_levels_at_which_the_teacher_sees_are_chosen(
    steps: tuple[int, ...], run: Run, split: Split, pasted: PastedSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    seer = Seer(pasted, *steps)
    assert chosen(monkeypatch, run, split, pasted, seer, len(steps)) == steps
    assert seer.asked == {TIMES[step] for step in CANDIDATES}


def test_with_a_whitened_score_too(run: Run, split: Split, pasted: PastedSet, monkeypatch: pytest.MonkeyPatch) -> None:
    score = run.config.score.model_copy(update={"feature_score": "combined", "variance_floor": 0.2})
    run = replace(run, config=run.config.model_copy(update={"score": score}))
    assert chosen(monkeypatch, run, split, pasted, Seer(pasted, 75), 1) == (75,)


def test_the_teacher_s_own_levels_are_candidates(
    run: Run, split: Split, pasted: PastedSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TIMES, 60, 241)
    score = run.config.score.model_copy(update={"chain_steps": (60,)})
    run = replace(run, config=run.config.model_copy(update={"score": score}))
    assert chosen(monkeypatch, run, split, pasted, Seer(pasted, 60), 1) == (60,)


def test_the_teacher_s_own_levels_win_a_tie_then_those_nearest_to_their_middle(
    run: Run, split: Split, pasted: PastedSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sorted(run.config.score.chain_steps) == [5, 50, 100]
    assert chosen(monkeypatch, run, split, pasted, Seer(pasted, *CANDIDATES), 1) == (50,)
    assert chosen(monkeypatch, run, split, pasted, Seer(pasted, *CANDIDATES), 2) == (5, 50)
    assert chosen(monkeypatch, run, split, pasted, Seer(pasted, 25, 75), 1) == (25,)


def test_only_good_images_held_back_and_their_spoilt_twins_are_looked_at(
    run: Run, split: Split, pasted: PastedSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = list[Tensor]()
    grids = Extractor.grids

    def watched(self: Extractor, x: Tensor) -> Any:
        seen.append(x)
        return grids(self, x)

    monkeypatch.setattr(Extractor, "grids", watched)
    chosen(monkeypatch, run, split, pasted, Seer(pasted, 50), 1)
    allowed = {x.numpy().tobytes() for x in normalise(torch.from_numpy(np.concatenate([split.held, pasted.images])))}
    looked_at = {x.numpy().tobytes() for x in torch.cat(seen)}
    assert looked_at == allowed


def limited(run: Run, max_timestep: int) -> Run:
    teacher = run.config.teacher.model_copy(update={"max_timestep": max_timestep})
    score = run.config.score.model_copy(update={"chain_steps": (5,)})
    return replace(run, config=run.config.model_copy(update={"teacher": teacher, "score": score}))


def test_levels_that_the_teacher_was_not_trained_at_are_not_asked_about(
    run: Run, split: Split, pasted: PastedSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    seer = Seer(pasted, 5, 100)
    assert chosen(monkeypatch, limited(run, 250), split, pasted, seer, 1) == (5,)
    assert seer.asked == {20, 100, 201}


def test_more_levels_than_the_teacher_knows_are_refused(
    run: Run, split: Split, pasted: PastedSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="4 levels are wanted, the teacher was trained at 3 of the candidates"):
        chosen(monkeypatch, limited(run, 250), split, pasted, Seer(pasted), 4)
