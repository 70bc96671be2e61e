"""A fitted score on disk comes back as it was, and a damaged one is refused in one line."""

from pathlib import Path

import pytest
import torch

from diffad_export.checkpoint import load_tensors, save_tensors
from diffad_export.config import ScoreConfig
from diffad_export.score import TERMS, FeatureScore, FittedScore
from diffad_export.scorefile import CategoryScore, load_category_score, save_category_score
from diffad_runtime.errors import InputError
from diffad_runtime.manifest import Thresholds

LIMITS = Thresholds(
    pixel=1.5, image=2.5, good_images=40, false_reject_rate=0.01, guaranteed_rate=0.025, pixel_rate=0.001
)


def made(kind: FeatureScore) -> CategoryScore:
    config = ScoreConfig(feature_score=kind, variance_floor=0.3)
    fitted = FittedScore.neutral(kind, 3, 5, alpha=0.25, floor=0.3)
    return CategoryScore(config, fitted, LIMITS, {0.0: 0.7, 0.1: 0.8})


@pytest.mark.parametrize("kind", list(TERMS))
def test_it_comes_back_as_it_was(kind: FeatureScore, tmp_path: Path) -> None:
    path, score = tmp_path / "scores" / "cups.safetensors", made(kind)
    save_category_score(path, score)
    back = load_category_score(path)
    assert (back.config, back.thresholds, back.alphas) == (score.config, score.thresholds, score.alphas)
    for name in FittedScore.__slots__:
        before, after = getattr(score.fitted, name), getattr(back.fitted, name)
        assert torch.equal(before, after) if isinstance(before, torch.Tensor) else before == after, name
    assert [one.name for one in path.parent.iterdir()] == ["cups.safetensors"]


@pytest.mark.parametrize(
    ("kind", "name"), [("whitened", "whitening"), ("combined", "whitening"), ("residual", "channel_weight")]
)
def test_one_that_lacks_a_tensor_is_refused(kind: FeatureScore, name: str, tmp_path: Path) -> None:
    path = tmp_path / "cups.safetensors"
    save_category_score(path, made(kind))
    tensors, facts = load_tensors(path)
    del tensors[name]
    save_tensors(path, tensors, facts)
    with pytest.raises(InputError, match=rf"cups\.safetensors is not usable: a {kind} score needs {name}\. Fit"):
        load_category_score(path)


def test_a_damaged_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cups.safetensors"
    with pytest.raises(InputError, match=r"no cups\.safetensors in"):
        load_category_score(path)
    save_tensors(path, {"pixel_mean": torch.zeros(1)}, {"config": {}})
    with pytest.raises(InputError, match=r"cups\.safetensors is not usable"):
        load_category_score(path)
