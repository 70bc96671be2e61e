"""The feature cache: batches, categories alike, named by what it depends on, the same for any number of processes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from diffad_export.augment import augmented
from diffad_export.backbone import Extractor
from diffad_export.backbone.extractor import BackboneFacts, normalise
from diffad_export.config import AugmentConfig
from diffad_export.distributed import World
from diffad_export.feature_cache import FeatureCache, build_feature_cache, rows_per_group
from diffad_runtime.result import Image

CONFIG = AugmentConfig(samples=27, rotation_degrees=8)
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


def extractor(first: nn.Module | None = None, name: str = "halving", **features: object) -> Extractor:
    facts = BackboneFacts(name, (3, 3, 3, 3), (0.4, 0.5, 0.6), (0.2, 0.2, 0.2), "none")
    return Extractor([first or Counting(), *(nn.AvgPool2d(2) for _ in range(3))], facts, **features)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def images() -> Image:
    return np.random.default_rng(0).integers(0, 256, (9, 32, 32, 3), dtype=np.uint8)


def build(folder: Path, images: Image, stage: Counting | None = None, **changes: object) -> FeatureCache:
    settings: dict[str, object] = {
        "groups": [images],
        "config": CONFIG,
        "seed": 0,
        "data_digest": "d",
        "extractor": extractor(stage),
    }
    return build_feature_cache(folder, **(settings | changes))  # type: ignore[arg-type]


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
    assert cache.grid_stride == 4
    assert cache.labels.tolist() == [0] * 27
    turned = augmented(images[4], CONFIG, seed=0, index=4, copy=2)
    assert np.array_equal(cache.images[np.array([2 * 9 + 4])][0], turned)
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
    assert np.array_equal(first.features[:], second.features[:])


def test_an_interrupted_cache_is_none(tmp_path: Path, images: Image) -> None:
    whole = build(tmp_path / "whole", images)
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path / "cut", images, Counting(breaks_at=2))
    stage = Counting()
    again = build(tmp_path / "cut", images, stage)
    assert stage.calls == 2
    assert np.array_equal(again.features[:], whole.features[:])
    assert not list((tmp_path / "cut").rglob("*.part"))


def convolution(bias: float) -> nn.Module:
    layer = nn.Conv2d(3, 3, 2, stride=2)
    nn.init.constant_(layer.weight, 0.1)
    nn.init.constant_(layer.bias, bias)  # type: ignore[arg-type]
    return layer


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"data_digest": "e"},
        {"config": CONFIG.model_copy(update={"flips": True})},
        {"config": CONFIG.model_copy(update={"samples": 28})},
        {"extractor": extractor(convolution(0.0), name="other")},
        {"extractor": extractor(convolution(0.01))},
        {"extractor": extractor(convolution(0.0), strides=(2, 4))},
        {"extractor": extractor(convolution(0.0), grid_stride=8)},
    ],
)
def test_the_name_changes_with_all_that_the_numbers_depend_on(
    tmp_path: Path, images: Image, change: dict[str, object]
) -> None:
    same = build(tmp_path, images, extractor=extractor(convolution(0.0)))
    change = {"extractor": extractor(convolution(0.0))} | change
    assert build(tmp_path, images, None, **change).digest != same.digest
    assert len(list(tmp_path.iterdir())) == 2


def test_the_name_does_not_change_with_limits_that_leave_the_rows_alone(tmp_path: Path, images: Image) -> None:
    first = build(tmp_path, images)
    stage = Counting()
    wider = CONFIG.model_copy(update={"cache_gb": 7.0, "samples": 20})
    assert build(tmp_path, images, stage, config=wider).digest == first.digest
    assert stage.calls == 0


def test_processes_fill_one_cache_together(tmp_path: Path, images: Image) -> None:
    config = CONFIG.model_copy(update={"samples": 150})  # 153 rows, three shards
    alone = build(tmp_path / "one", images, config=config)
    first = build_in_turn(tmp_path / "two", images, config)
    assert first.digest == alone.digest
    assert torch.equal(first.norm.mean, alone.norm.mean)
    assert torch.equal(first.norm.std, alone.norm.std)
    assert np.array_equal(first.features[:], alone.features[:])
    assert np.array_equal(first.images[:], alone.images[:])


def build_in_turn(folder: Path, images: Image, config: AugmentConfig) -> FeatureCache:
    """As two processes, one after the other; the first does not wait for the second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("diffad_export.shards.WAIT_SECONDS", 0.0)
        with pytest.raises(Exception, match="written by another process"):
            build(folder, images, config=config, world=World(CPU, 1, 2))
    stage = Counting()
    cache = build(folder, images, stage, config=config, world=World(CPU, 0, 2))
    assert 0 < stage.calls < 10  # not all of it
    return cache


def test_categories_are_seen_equally_often(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    groups = [rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8) for count in (7, 3, 1)]
    config = CONFIG.model_copy(update={"samples": 20})  # 20 / 3 is 7 rows each: the largest once
    cache = build(tmp_path, groups[0], groups=groups, config=config)
    assert np.bincount(cache.labels).tolist() == [7, 7, 7]
    assert np.array_equal(cache.images[0:7], groups[0])
    assert np.array_equal(cache.images[7:10], groups[1])
    assert np.array_equal(cache.images[14:15], groups[2])
    # Images are numbered through, and copies of an image differ.
    expected = augmented(groups[1][0], config, seed=0, index=7, copy=2)
    assert np.array_equal(cache.images[13:14][0], expected)
    assert len({image.tobytes() for image in cache.images[14:21]}) == 7


def test_rows_follow_samples_and_stop_at_the_size_limit() -> None:
    # 192 channels at 64 px: 192 * 16 * 16 * 2 + 64 * 64 * 3 = 110,592 bytes a row
    each = 110_592
    for samples, limit, counts, expected in (
        (800, 1.0, [100], 800),
        (801, 1.0, [100], 900),
        (10, 1.0, [100], 100),
        (800, 0.05, [100], 400),
        (800, 0.012, [100], 100),
        (800, 0.001, [100], 100),
        (800, 1.0, [100, 20, 30, 100], 200),
        (800, 0.05, [100, 20, 30, 100], 100),
        (800, 1.0, [300, 20], 600),
    ):
        config = AugmentConfig(samples=samples, cache_gb=limit)
        assert rows_per_group(config, counts, each) == expected, (samples, limit, counts)
