"""A category's fitted score on disk: one safetensors file, its facts in the same file.

Knows the format. Does not know how a score is fitted.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from diffad_export.checkpoint import load_tensors, save_tensors
from diffad_export.config import ScoreConfig
from diffad_export.score import FITTED_TENSORS, TERMS, FittedScore
from diffad_runtime.errors import InputError
from diffad_runtime.manifest import Thresholds


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
    own = {name: getattr(fitted, name) for name in FITTED_TENSORS}
    tensors = {name: tensor for name, tensor in own.items() if tensor is not None}
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
        InputError: the file is missing, broken, of another version, or lacks a tensor that its score needs.
    """
    tensors, facts = load_tensors(path)
    try:
        config = ScoreConfig.model_validate(facts["config"])
        kind = config.feature_score
        needed = {name for name in FITTED_TENSORS if name != "whitening" or "whitened" in TERMS[kind]}
        if lacking := sorted(needed - tensors.keys()):
            raise ValueError(f"a {kind} score needs {', '.join(lacking)}")
        own: dict[str, Any] = {name: tensors.get(name) for name in FITTED_TENSORS}
        fitted = FittedScore(kind=kind, alpha=float(facts["alpha"]), floor=config.variance_floor, **own)
        thresholds = Thresholds.model_validate(facts["thresholds"])
        alphas = {float(k): float(v) for k, v in facts["aupro_on_pasted_defects"].items()}
    except (ValidationError, KeyError, TypeError, ValueError) as error:
        first = str(error).splitlines()[0]
        raise InputError(f"{path} is not usable: {first}", mend="Fit the scores again with this version") from None
    return CategoryScore(config, fitted, thresholds, alphas)
