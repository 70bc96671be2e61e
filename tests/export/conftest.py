"""Fixtures of this room: the frozen backbone, and a cache of random numbers for what only needs arrays."""

import numpy as np
import pytest
import torch

from diffad_export.backbone import Extractor, load_backbone
from diffad_export.feature_cache import FeatureCache
from diffad_export.reconstructor import FeatureNorm

CHANNELS = 6


@pytest.fixture(scope="session")
def lite0() -> Extractor:
    """EfficientNet-Lite0 with its packaged weights."""
    return load_backbone("efficientnet_lite0")


@pytest.fixture(scope="session")
def small_cache() -> FeatureCache:
    """12 random images of 32 px with 6 random channels on the 8 x 8 grid; no backbone had a part in it."""
    rng = np.random.default_rng(0)
    features = rng.normal(0.5, 2, (12, CHANNELS, 8, 8)).astype(np.float16)
    norm = FeatureNorm(
        torch.from_numpy(features.astype(np.float32).mean((0, 2, 3))),
        torch.from_numpy(features.astype(np.float32).std((0, 2, 3))),
    )
    return FeatureCache(rng.integers(0, 256, (12, 32, 32, 3), dtype=np.uint8), features, norm, digest="random")
