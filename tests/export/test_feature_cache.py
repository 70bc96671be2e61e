"""The feature cache: standardised batches, named by what it depends on, whole or not there."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from diffad_export.augment import augmented
from diffad_export.backbone import Extractor
from diffad_export.backbone.extractor import BackboneFacts, normalise
from diffad_export.config import AugmentConfig
from diffad_export.feature_cache import FeatureCache, build_feature_cache, copies_within
from diffad_runtime.result import Image

CONFIG = AugmentConfig(copies=2, rotation_degrees=8)
CPU = torch.device("cpu")


class Counting(nn.Module):
    """Averages 2 x 2 and counts; breaks at a given call."""

    def __init__(self, breaks_at: int = 0) -> None:
        super().__init__()
        self.calls, self.breaks_at = 0, breaks_at

    def forward(self, h: Tensor) -> Tensor:
        self.calls += 1
        if self.calls == self.breaks_at:
            raise KeyboardInterrupt
        return nn.functional.avg_pool2d(h, 2)


def extractor(first: Counting | None = None, name: str = "halving") -> Extractor:
    facts = BackboneFacts(name, (3, 3, 3, 3), (0.4, 0.5, 0.6), (0.2, 0.2, 0.2), "none")
    return Extractor([first or Counting(), *(nn.AvgPool2d(2) for _ in range(3))], facts)


@pytest.fixture(scope="module")
def images() -> Image:
    return np.random.default_rng(0).integers(0, 256, (9, 32, 32, 3), dtype=np.uint8)


def build(folder: Path, images: Image, stage: Counting | None = None, **changes: object) -> FeatureCache:
    settings: dict[str, object] = {"config": CONFIG, "seed": 0, "data_digest": "d", "extractor": extractor(stage)}
    return build_feature_cache(folder, images, **(settings | changes))  # type: ignore[arg-type]


def test_all_rows_together_are_standardised(tmp_path: Path, images: Image) -> None:
    cache = build(tmp_path, images)
    assert len(cache) == 27
    x, f = cache.batch(np.arange(27), CPU)
    assert (x.dtype, f.dtype) == (torch.float32, torch.float32)
    torch.testing.assert_close(f.mean((0, 2, 3)), torch.zeros(12), rtol=0, atol=5e-3)
    torch.testing.assert_close(f.std((0, 2, 3)), torch.ones(12), rtol=0, atol=5e-3)


def test_rows_hold_copies_and_their_own_features(tmp_path: Path, images: Image) -> None:
    cache = build(tmp_path, images)
    assert np.array_equal(cache.images[:9], images)
    turned = augmented(images[4], CONFIG, seed=0, index=4, copy=2)
    assert np.array_equal(cache.images[2 * 9 + 4], turned)
    x, f = cache.batch(np.array([22]), CPU)
    expected = extractor().features(normalise(torch.from_numpy(turned[None])))
    assert torch.equal(x, normalise(torch.from_numpy(turned[None])))
    raw = f * cache.norm.std.view(1, -1, 1, 1) + cache.norm.mean.view(1, -1, 1, 1)
    torch.testing.assert_close(raw, expected, rtol=0, atol=5e-3)


def test_a_finished_cache_is_opened_not_made_again(tmp_path: Path, images: Image) -> None:
    first = build(tmp_path, images)
    stage = Counting()
    second = build(tmp_path, images, stage)
    assert stage.calls == 0
    assert first.digest == second.digest
    assert np.array_equal(first.features, second.features)


def test_an_interrupted_cache_is_none(tmp_path: Path, images: Image) -> None:
    whole = build(tmp_path / "whole", images)
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path / "cut", images, Counting(breaks_at=2))
    assert not [p for p in (tmp_path / "cut").iterdir() if not p.name.endswith(".part")]
    stage = Counting()
    again = build(tmp_path / "cut", images, stage)
    assert stage.calls == 2
    assert np.array_equal(again.features, whole.features)
    assert not list((tmp_path / "cut").glob("*.part"))


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"data_digest": "e"},
        {"config": CONFIG.model_copy(update={"flips": True})},
        {"config": CONFIG.model_copy(update={"copies": 1})},
        {"extractor": extractor(name="other")},
    ],
)
def test_the_name_changes_with_all_that_the_numbers_depend_on(
    tmp_path: Path, images: Image, change: dict[str, object]
) -> None:
    assert build(tmp_path, images).digest != build(tmp_path, images, None, **change).digest
    assert len(list(tmp_path.iterdir())) == 2


def test_copies_stop_at_the_size_limit() -> None:
    # 100 images of 64 px with 192 channels: 100 * (192 * 16 * 16 * 2 + 64 * 64 * 3) = 11.06 MB a copy
    for limit, expected in ((1.0, 7), (0.05, 3), (0.012, 0), (0.001, 0)):
        assert copies_within(AugmentConfig(copies=7, cache_gb=limit), 100, 192, 64) == expected
