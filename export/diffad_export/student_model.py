"""A category's student with its score: levels chosen, distilled, fitted on good images.

The order of the steps, which export, search and studies share. Does not know graphs, thresholds or bundles.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch

from diffad_export.backbone import Extractor
from diffad_export.config import DistilConfig, ScoreConfig
from diffad_export.distil import Distilled, Material, distil
from diffad_export.fitting import Fit, fit_score
from diffad_export.levelchoice import choose_levels
from diffad_export.networks.student import Student
from diffad_export.pasted import PastedSet, paste_set
from diffad_export.reconstructor import Reconstructor, fixed_noise, levels_of
from diffad_export.runfolder import NOISE_SEED, Run
from diffad_export.score import FittedScore
from diffad_export.split import Split
from diffad_export.training.halving import chain_levels

LEVEL_IMAGES = 32


@dataclass(frozen=True, slots=True)
class StudentModel:
    """A fitted student.

    Attributes:
        model: folded student with its score, in eval mode; `extractor` gives its features.
        config: with levels chosen.
        pasted: good images held back, and the same with pasted defects: what the fit was made on, and gates judge by.
    """

    model: Reconstructor
    extractor: Extractor
    config: DistilConfig
    distilled: Distilled
    fit: Fit
    pasted: PastedSet


def student_extractor(run: Run) -> Extractor:
    """The run's backbone with coarse strides on their own grids."""
    return run.extractor().as_pyramid()


def make_student(
    run: Run, split: Split, config: DistilConfig, score: ScoreConfig, device: torch.device
) -> StudentModel:
    """Distil the student of a category, or open it where the run has it, and fit its score.

    Args:
        config: where it names no levels, they are chosen on good images with pasted defects.
        score: its `chain_steps` are not read, the levels are those of `config`.

    Raises:
        InputError: more levels are wanted than the teacher was trained at; otherwise as `distil`.
    """
    one_grid = run.extractor()
    extractor = one_grid.as_pyramid()
    pasted = paste_set(split.held, seed=run.config.seed)
    if config.chain_steps is None:
        # A few good images get several defects each, or chance would choose.
        many = np.resize(split.held, (max(LEVEL_IMAGES, len(split.held)), *split.held.shape[1:]))
        shown = paste_set(many, seed=run.config.seed + 2)
        config = config.model_copy(update={"chain_steps": choose_levels(run, split, shown, config.steps)})
    if config.halvings:  # the levels that are left of a chain down from the noisiest
        config = config.model_copy(update={"chain_steps": chain_levels(config.steps, max(config.chain_steps or ()))})
    # Standardised as the teacher was trained: over all categories, where it serves several.
    cache = run.feature_cache([split], one_grid)
    cache = replace(cache, norm=run.norm(), labels=np.full(len(cache), run.label(split.name) or 0))
    distilled = distil(Material(run, split, cache, extractor.layout), config, device)
    model = student_reconstructor(run, distilled.student, extractor, config, score)
    fit = fit_score(model, extractor, split.held, pasted, score, more=split.train)
    return StudentModel(model, extractor, config, distilled, fit, pasted)


def student_reconstructor(
    run: Run, student: Student, extractor: Extractor, config: DistilConfig, score: ScoreConfig
) -> Reconstructor:
    """`student`, folded, at the levels of `config`; with neutral statistics."""
    levels = levels_of(tuple(sorted(config.chain_steps or ())))
    return Reconstructor(
        student.fold(),
        run.norm(),
        levels,
        fixed_noise(len(levels), run.config.size, NOISE_SEED, score.draws),
        FittedScore.neutral(score.feature_score, len(levels), extractor.layout.total, floor=score.variance_floor),
        sigma=score.smoothing * run.config.size,
        layout=extractor.layout,
    ).eval()
