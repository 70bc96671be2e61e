"""The torch teacher as a contestant: for `eval RUN`, for `eval --teacher` beside a bundle, and timed for `bench`."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from diffad_calibration.dataset import Dataset
from diffad_calibration.evaluation import Contestant, Display, Lineup, Parts
from diffad_export.backbone import Extractor
from diffad_export.backbone.extractor import normalise
from diffad_export.config import PAPER_SCORE
from diffad_export.maps import torch_maps
from diffad_export.reconstructor import Reconstructor
from diffad_export.runfolder import Run, open_run
from diffad_export.runset import open_runs
from diffad_export.scorefile import CategoryScore
from diffad_export.train import fit_category
from diffad_runtime.bundle import Bundle
from diffad_runtime.errors import InputError
from diffad_runtime.geometry import to_input
from diffad_runtime.manifest import ImageScore
from diffad_runtime.result import Image
from diffad_runtime.scoring import image_score


def run_lineup(run_folder: Path, *, paper_score: bool = True) -> Lineup:
    """A run's teacher, or those of a folder of runs, without a bundle: as configured, and by the paper's own score.

    Args:
        run_folder: of a run, or one that holds a run for each category.
        paper_score: with the second; it needs the good images that the run was trained on.

    Raises:
        InputError: no run there, or an unfinished one.
    """
    runs = open_runs(run_folder)
    first, extractor = runs.first, runs.first.extractor()
    told = first.label(first.categories[0]) is not None

    def contestants(dataset: Dataset) -> list[Contestant]:
        run, category = runs.find(dataset.name)
        made = [teacher_of_category(run, extractor, category, run.score(category), "teacher")]
        if paper_score and run.config.score != PAPER_SCORE:
            fitted = fit_category(run, extractor, run.split(dataset), PAPER_SCORE, keep=False)
            made.append(teacher_of_category(run, extractor, category, fitted, "teacher, paper's score"))
        return made

    return Lineup(
        title=f"{'Teacher' if len(runs.runs) == 1 else 'Teachers'} of {', '.join(runs.categories)}",
        size=first.config.size,
        contestants=contestants,
        features=lambda images: _features(extractor, images),
        backbone=_Facts(extractor),
        facts=(
            ("Teacher", f"{first.config.teacher.network}, {first.config.size} px, {first.config.backbone}"),
            ("Models", f"{len(runs.runs)} for {len(runs.categories)} categories{', told which' if told else ''}"),
            ("Score", first.config.score.feature_score),
        ),
    )


def teacher_of_category(run: Run, extractor: Extractor, category: str, score: CategoryScore, name: str) -> Contestant:
    """The teacher at the levels of `score`, in float32."""
    model = run.reconstructor(run.teacher(), category, score.config, score.fitted)
    how = ImageScore(pixels=min(score.config.top_pixels, run.config.size**2))
    return Contestant(
        name=name,
        maps=lambda images: torch_maps(extractor, model, images),
        score=lambda one: image_score(one, how),
        note=f"{len(model.levels) * score.config.draws} evaluations, torch fp32",
        threshold=score.thresholds.image,
        display=Display(lambda image: _parts(extractor, model, image), score.thresholds.pixel),
    )


def teacher_contestant(run_folder: Path, bundle: Bundle) -> Callable[[Dataset], Contestant]:
    """The teacher of a run beside a bundle: made for each category, with its own statistics and weights.

    Raises:
        InputError: no run there, or one of another input size than the bundle.
    """
    run = open_run(run_folder)
    _same_size(run.config.size, bundle)
    extractor = run.extractor()

    def made(dataset: Dataset) -> Contestant:
        category = run.category(dataset.name)
        return teacher_of_category(run, extractor, category, run.score(category), "teacher")

    return made


def teacher_timing(run_folder: Path, bundle: Bundle) -> dict[str, Callable[[Image], dict[str, float]]]:
    """For an interleaved benchmark: name -> function of a frame (H, W, 3) that gives milliseconds per stage.

    "reconstruct" is the teacher's network calls with their score, one call per level.
    """
    run = open_run(run_folder)
    _same_size(run.config.size, bundle)
    category, extractor = run.categories[0], run.extractor()
    score = run.score(category)
    model = run.reconstructor(run.teacher(), category, score.config, score.fitted)

    @torch.no_grad()
    def judge(frame: Image) -> dict[str, float]:
        marks = [time.perf_counter()]
        x = normalise(torch.from_numpy(to_input(frame, run.config.size)[None]))
        marks.append(time.perf_counter())
        f = extractor.grids(x)
        marks.append(time.perf_counter())
        model(x, f)
        marks.append(time.perf_counter())
        resize, extract, reconstruct = (1e3 * (b - a) for a, b in pairwise(marks))
        total = resize + extract + reconstruct
        return {"resize": resize, "extract": extract, "reconstruct": reconstruct, "total": total}

    return {f"teacher, {len(model.levels)} calls, torch": judge}


@torch.no_grad()
def _features(extractor: Extractor, images: Image) -> npt.NDArray[np.float32]:
    f: npt.NDArray[np.float32] = extractor.features(normalise(torch.from_numpy(images))).numpy()
    return f


@torch.no_grad()
def _parts(extractor: Extractor, model: Reconstructor, image: Image) -> Parts:
    x = normalise(torch.from_numpy(image[None]))
    fused, pixel, feature = (one[0].numpy() for one in model(x, extractor.grids(x)))
    return Parts(pixel, feature, fused)


@dataclass(frozen=True)
class _Facts:
    """What the references must know of an extractor."""

    extractor: Extractor

    @cached_property
    def name(self) -> str:
        return self.extractor.facts.name

    @cached_property
    def strides(self) -> tuple[int, ...]:
        return self.extractor.strides

    @cached_property
    def channels(self) -> tuple[int, ...]:
        return self.extractor.channels


def _same_size(size: int, bundle: Bundle) -> None:
    if size != bundle.manifest.input_size:
        raise InputError(
            f"the teacher was trained at {size} px, the bundle works at {bundle.manifest.input_size} px",
            mend="Give the run folder that the bundle was exported from",
        )
