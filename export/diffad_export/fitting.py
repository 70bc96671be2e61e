"""What is set on good images once a denoiser is trained: correlation, statistics, weights, fusion weight, thresholds.

The order of the steps. Good images that training did not see, and the same images with pasted synthetic defects. No
real defect is ever seen here.
"""

from dataclasses import dataclass, replace

import torch

from diffad_calibration.metrics import evaluate_maps
from diffad_export.backbone import Extractor
from diffad_export.config import ScoreConfig
from diffad_export.pasted import PastedSet
from diffad_export.reconstructor import Reconstructor
from diffad_export.score import TERMS, FittedScore
from diffad_export.statistics import inputs, normal_statistics, whitening_of
from diffad_export.weights import fit_weights
from diffad_runtime.result import FloatMap, Image

ALPHAS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5)


@dataclass(frozen=True, slots=True)
class Fit:
    """A fitted score, and AUPRO@0.3 on pasted defects by fusion weight; empty where the weight was given."""

    score: FittedScore
    alphas: dict[float, float]


def fit_score(
    model: Reconstructor, extractor: Extractor, held: Image, pasted: PastedSet, config: ScoreConfig, *, more: Image
) -> Fit:
    """Set everything that `config` asks for; `model` then carries it.

    Args:
        model: a reconstructor, fitted or not.
        held: good images that training did not see, uint8 (N, S, S, 3).
        pasted: the same with synthetic defects.
        more: good images of the training, without copies: the correlation needs many, and a network that is trained for
            minutes errs on them as on others.
    """
    channels, levels = sum(extractor.channels), len(model.levels)
    neutral = FittedScore.neutral(
        config.feature_score, levels, channels, alpha=config.alpha or 0.0, floor=config.variance_floor
    )
    model.refit(neutral)
    if "whitened" in TERMS[config.feature_score]:
        both = torch.cat([torch.from_numpy(held[:32]), torch.from_numpy(more[: max(32, 64 - len(held))])]).numpy()
        model.refit(replace(model.fitted, whitening=whitening_of(model, extractor, both)))
    model.refit(normal_statistics(model, extractor, held, per_location=config.per_location))
    if config.weights == "fitted":
        model.refit(fit_weights(model, extractor, pasted))
        # Other channel weights, another score: its mean and deviation are measured anew.
        model.refit(normal_statistics(model, extractor, held, per_location=config.per_location))
    if config.alpha is not None:
        return Fit(model.fitted, {})
    alpha, table = choose_alpha(model, extractor, pasted)
    model.refit(replace(model.fitted, alpha=alpha))
    return Fit(model.fitted, table)


@torch.no_grad()
def choose_alpha(model: Reconstructor, extractor: Extractor, pasted: PastedSet) -> tuple[float, dict[float, float]]:
    """The fusion weight with the best AUPRO@0.3 on pasted defects, the smaller one in a tie; and the whole table.

    `model` must already hold its normal statistics.
    """
    raw = [model.raw_scores(x, f) for x, f in inputs(extractor, pasted.images, "Fusion weight")]
    pixels, features = torch.cat([p for p, _ in raw]), torch.cat([q for _, q in raw])
    before, table = model.fitted, {}
    for alpha in ALPHAS:
        model.refit(replace(before, alpha=alpha))
        maps: FloatMap = model.fuse(pixels, features)[0].numpy()
        scores = maps.reshape(len(maps), -1).max(1)
        table[alpha] = float(evaluate_maps(maps, pasted.masks, scores, pasted.labels).aupro_30 or 0.0)
    model.refit(before)
    return max(table, key=lambda a: (round(table[a], 4), -a)), table
