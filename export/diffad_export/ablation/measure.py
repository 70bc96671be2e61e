"""Figures on test sets: of trained teachers by one score, and of the published references.

Knows evaluation and run folders. Does not know studies or what is stored.
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
from diffad_export.ablation.record import Figures
from diffad_export.ablation.training import Training
from diffad_export.backbone import load_backbone
from diffad_export.backbone.extractor import normalise
from diffad_export.config import ScoreConfig
from diffad_export.teacher_contestant import teacher_of_category
from diffad_export.train import fit_category
from diffad_runtime.manifest import Backbone
from diffad_runtime.result import Image

TEACHER = "teacher"


def measure_teachers(
    data: Path,
    trainings: Mapping[str, Training],
    size: int,
    score: ScoreConfig,
    *,
    confidence: bool,
    progress: Progress,
) -> Figures:
    """Every category under `data` by its finished training; the score is fitted anew where the run holds another.

    Args:
        trainings: by category.
        size: S, pixels.
        confidence: with intervals.

    Raises:
        DataError: files that cannot be read, or other good images than those of the training.
    """

    def contestants(dataset: Dataset) -> list[Contestant]:
        run = trainings[dataset.name].run()
        extractor, category = run.extractor(), run.category(dataset.name)
        fitted = run.score(category)
        if fitted.config != score:
            fitted = fit_category(run, extractor, run.split(dataset), score, keep=False)
        return [teacher_of_category(run, extractor, category, fitted, TEACHER)]

    request = EvalRequest(data, bootstrap=Bootstrap() if confidence else None)
    return _figures(evaluate_lineup(Lineup(TEACHER, size, contestants), request, progress).evaluation)[TEACHER]


def measure_references(
    data: Path, names: tuple[str, ...], size: int, backbone: str, *, confidence: bool, progress: Progress
) -> dict[str, Figures]:
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
    return _figures(evaluate_lineup(lineup, request, progress).evaluation)


def _figures(evaluation: Evaluation) -> dict[str, Figures]:
    models = evaluation.to_json()["models"]
    if not isinstance(models, dict):
        raise TypeError(f"expected figures by model, got {type(models).__name__}")
    return {name: Figures.model_validate(one) for name, one in models.items()}
