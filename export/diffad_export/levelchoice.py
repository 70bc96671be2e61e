"""Which noise levels a student gets: the subset of the teacher's at which the teacher outlines pasted defects best.

Good images that training did not see, and synthetic defects; never a test set. The teacher is asked once at every
candidate, subsets are then only means of maps.
"""

from dataclasses import replace
from itertools import combinations

import numpy as np
import torch

from diffad_calibration.metrics import evaluate_maps
from diffad_export.pasted import PastedSet
from diffad_export.runfolder import Run
from diffad_export.score import FittedScore
from diffad_export.split import Split
from diffad_export.statistics import inputs, normal_statistics, whitening_of
from diffad_runtime.errors import InputError

CANDIDATES = (5, 25, 50, 75, 100)
"""Steps of the 250-step chain: t = 20, 100, 201, 301, 401."""

NEAR = 0.005
"""AUPRO; figures of a few dozen pasted defects that lie closer are taken as equal."""


@torch.no_grad()
def choose_levels(run: Run, split: Split, pasted: PastedSet, count: int) -> tuple[int, ...]:
    """`count` of CANDIDATES and of the teacher's own levels with the best AUPRO@0.3.

    Of those that are as good within NEAR the teacher's own win, then those nearest to their middle.

    Raises:
        InputError: the teacher was trained on fewer levels than are asked for.
    """
    score, extractor = run.config.score, run.extractor()
    trained = run.config.teacher.max_timestep / 4
    steps = tuple(step for step in sorted({*CANDIDATES, *score.chain_steps}) if step < trained)
    if len(steps) < count:
        raise InputError(
            f"{count} levels are wanted, the teacher was trained at {len(steps)} of the candidates",
            mend="Ask for fewer steps, or train with a larger teacher.max_timestep",
        )
    every = score.model_copy(update={"chain_steps": steps})
    model = run.reconstructor(run.teacher(), split.name, every)
    if model.whitening is not None:
        model.refit(replace(model.fitted, whitening=whitening_of(model, extractor, split.held)))
    model.refit(normal_statistics(model, extractor, split.held))
    fitted: FittedScore = model.fitted
    parts = []
    for x, f in inputs(extractor, pasted.images, "Choice of levels"):
        _, features = model.raw_scores(x, f)
        # Mean over the terms at each level: (B, K, G, G).
        parts.append(((features - fitted.feature_mean) / fitted.feature_std).mean(1))
    levels = torch.cat(parts)
    found: dict[tuple[int, ...], float] = {}
    for subset in combinations(range(len(steps)), count):
        maps = model.to_map(levels[:, list(subset)].mean(1)).numpy()
        scores = maps.reshape(len(maps), -1).max(1)
        metrics = evaluate_maps(maps, pasted.masks, np.asarray(scores), pasted.labels)
        found[tuple(steps[i] for i in subset)] = round(float(metrics.aupro_30 or 0.0), 4)
    own, best = sorted(score.chain_steps), max(found.values())
    middle = own[len(own) // 2]
    good = [subset for subset, figure in found.items() if figure >= best - NEAR]
    return min(good, key=lambda s: (not set(s) <= set(own), sum(abs(step - middle) for step in s), s))
