"""Figures on test sets: of trained teachers by one score or along a chain, and of the published references.

Knows evaluation and run folders. Does not know studies, students or what is stored.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from diffad_calibration.dataset import Dataset
from diffad_calibration.evaluation import Contestant, EvalRequest, Evaluation, Lineup, evaluate_lineup
from diffad_calibration.evaluation.contestants import Progress
from diffad_calibration.metrics import Bootstrap
from diffad_export.ablation.chain import ChainDenoiser, chain_score, chain_start
from diffad_export.ablation.pairs import Measured
from diffad_export.ablation.record import Figures
from diffad_export.ablation.settings import Setting
from diffad_export.ablation.training import Training
from diffad_export.backbone import load_backbone
from diffad_export.backbone.extractor import normalise
from diffad_export.config import ScoreConfig
from diffad_export.fitting import fit_score
from diffad_export.maps import torch_maps
from diffad_export.pasted import paste_set
from diffad_export.runfolder import Run
from diffad_export.split import Split
from diffad_export.teacher_contestant import teacher_of_category
from diffad_export.train import fit_category
from diffad_runtime.manifest import Backbone, ImageScore
from diffad_runtime.result import Image
from diffad_runtime.scoring import image_score

TEACHER = "teacher"


def measure_teachers(
    data: Path,
    trainings: Mapping[str, Training],
    setting: Setting,
    *,
    confidence: bool,
    progress: Progress,
) -> Measured:
    """Every category under `data` by its finished training; the score is fitted anew where the run holds another.

    Args:
        trainings: by category.
        setting: of the row.
        confidence: with intervals.

    Raises:
        DataError: files that cannot be read, or other good images than those of the training.
    """
    score = setting.train.score

    def contestants(dataset: Dataset) -> list[Contestant]:
        run = trainings[dataset.name].run()
        extractor, category = run.extractor(), run.category(dataset.name)
        if setting.chain:
            return [_along_chain(run, run.split(dataset), score, setting.chain)]
        fitted = run.score(category)
        if fitted.config != score:
            fitted = fit_category(run, extractor, run.split(dataset), score, keep=False)
        return [teacher_of_category(run, extractor, category, fitted, TEACHER)]

    return measure_one(data, Lineup(TEACHER, setting.train.size, contestants), confidence=confidence, progress=progress)


def measure_one(data: Path, lineup: Lineup, *, confidence: bool, progress: Progress) -> Measured:
    """A line-up of one contestant on every category under `data`.

    Raises:
        DataError: files that cannot be read.
    """
    request = EvalRequest(data, bootstrap=Bootstrap() if confidence else None)
    (one,) = _measured(evaluate_lineup(lineup, request, progress).evaluation).values()
    return one


def measure_references(
    data: Path, names: tuple[str, ...], size: int, backbone: str, *, confidence: bool, progress: Progress
) -> dict[str, Measured]:
    """References on all strides and the finest grid, whatever the rows do: an anchor does not move with the ship.

    Args:
        names: as `check_references` knows them.
        size: S, pixels.

    Returns:
        By the name in tables.

    Raises:
        DataError: files that cannot be read.
        MissingExtraError: the backbone's package is not installed.
    """
    extractor = load_backbone(backbone)
    facts = Backbone(
        name=extractor.facts.name,
        strides=list(extractor.strides),
        channels=list(extractor.channels),
        licence=extractor.facts.licence,
    )

    @torch.no_grad()
    def features(images: Image) -> npt.NDArray[np.float32]:
        f: npt.NDArray[np.float32] = extractor.features(normalise(torch.from_numpy(images))).numpy()
        return f

    lineup = Lineup("references", size, lambda _dataset: [], features, facts)
    request = EvalRequest(data, names, bootstrap=Bootstrap() if confidence else None)
    return _measured(evaluate_lineup(lineup, request, progress).evaluation)


def _along_chain(run: Run, split: Split, score: ScoreConfig, evaluations: int) -> Contestant:
    extractor, how = run.extractor(), chain_score(score)
    network = ChainDenoiser(
        run.teacher(), extractor, run.norm(), start=chain_start(score), evaluations=evaluations
    ).eval()
    model = run.reconstructor(network, split.name, how)
    fit_score(model, extractor, split.held, paste_set(split.held, seed=run.config.seed), how, more=split.train)
    pixels = ImageScore(pixels=min(how.top_pixels, run.config.size**2))
    return Contestant(
        name=TEACHER,
        maps=lambda images: torch_maps(extractor, model, images),
        score=lambda one: image_score(one, pixels),
        note=f"{evaluations * how.draws} evaluations, torch fp32",
    )


def _measured(evaluation: Evaluation) -> dict[str, Measured]:
    models = evaluation.to_json()["models"]
    if not isinstance(models, dict):
        raise TypeError(f"expected figures by model, got {type(models).__name__}")
    made = {}
    for name, one in models.items():
        drawn = {c.name: c.models[name].replicates for c in evaluation.classes if evaluation.bootstrap is not None}
        made[name] = Measured(Figures.model_validate(one), drawn)
    return made
