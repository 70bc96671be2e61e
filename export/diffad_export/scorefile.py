"""A category's fitted score on disk: one safetensors file, its facts in the same file.

Knows the format. Does not know how a score is fitted.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from diffad_export.checkpoint import load_tensors, save_tensors
from diffad_export.config import ScoreConfig
from diffad_export.score import FittedScore
from diffad_runtime.errors import InputError
from diffad_runtime.manifest import Thresholds

_TENSORS = (
    "pixel_mean",
    "pixel_std",
    "feature_mean",
    "feature_std",
    "pixel_weight",
    "feature_weight",
    "channel_weight",
)


@dataclass(frozen=True, slots=True)
class CategoryScore:
    """What a teacher needs to judge one category.

    Attributes:
        config: how it was asked for.
        fitted: statistics and weights.
        thresholds: set on the images held back.
        alphas: AUPRO@0.3 on pasted defects by fusion weight, empty where the weight was given.
    """

    config: ScoreConfig
    fitted: FittedScore
    thresholds: Thresholds
    alphas: dict[float, float]


def save_category_score(path: Path, score: CategoryScore) -> None:
    """Write under a temporary name, then rename."""
    fitted = score.fitted
    tensors = {name: getattr(fitted, name) for name in _TENSORS}
    if fitted.whitening is not None:
        tensors["whitening"] = fitted.whitening
    facts: dict[str, Any] = {
        "config": score.config.model_dump(mode="json"),
        "alpha": fitted.alpha,
        "thresholds": score.thresholds.model_dump(mode="json"),
        "aupro_on_pasted_defects": {str(k): v for k, v in score.alphas.items()},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    save_tensors(path, tensors, facts)


def load_category_score(path: Path) -> CategoryScore:
    """Read what `save_category_score` wrote.

    Raises:
        InputError: the file is missing, broken, or of another version.
    """
    tensors, facts = load_tensors(path)
    try:
        config = ScoreConfig.model_validate(facts["config"])
        fitted = FittedScore(
            kind=config.feature_score,
            whitening=tensors.get("whitening"),
            alpha=float(facts["alpha"]),
            floor=config.variance_floor,
            **{name: tensors[name] for name in _TENSORS},
        )
        thresholds = Thresholds.model_validate(facts["thresholds"])
        alphas = {float(k): float(v) for k, v in facts["aupro_on_pasted_defects"].items()}
    except (ValidationError, KeyError, TypeError, ValueError) as error:
        first = str(error).splitlines()[0]
        raise InputError(f"{path} is not usable: {first}", mend="Fit the scores again with this version") from None
    return CategoryScore(config, fitted, thresholds, alphas)
