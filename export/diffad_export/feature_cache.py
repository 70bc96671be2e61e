"""Training images, their copies and the features of both, computed once and kept on disk.

A cache is named by everything that its numbers depend on. Several processes fill it together, each a share; what comes
out does not depend on how many there were. Rows of category g are g * T ... (g + 1) * T - 1: the same number T for each
category, so that a small one is seen as often as a large one. Within a category first the images as they are, then the
first copy of each, and so on.
"""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from diffad_export.augment import augmented
from diffad_export.backbone import Extractor
from diffad_export.backbone.extractor import normalise
from diffad_export.config import AugmentConfig
from diffad_export.distributed import World
from diffad_export.fingerprint import weights_digest
from diffad_export.reconstructor import FeatureNorm
from diffad_export.shards import Rows, ShardedArray, open_shards, write_shards
from diffad_runtime.result import Image

FORMAT = 2


@dataclass(frozen=True, slots=True)
class FeatureCache:
    """N images (copies included) and their raw features.

    Attributes:
        images: uint8 (N, S, S, 3), BGR.
        features: float16 (N, C, G, G).
        norm: mean and deviation of each channel over all of them.
        digest: names the cache's contents.
        labels: int64 (N,), the number of each row's category.
    """

    images: npt.NDArray[np.uint8] | ShardedArray
    features: npt.NDArray[np.float16] | ShardedArray
    norm: FeatureNorm
    digest: str
    labels: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.images)

    @property
    def grid_stride(self) -> int:
        """Pixels to a cell of the feature grid, along a side."""
        return int(self.images.shape[1] // self.features.shape[2])

    def batch(self, rows: npt.NDArray[np.int64], device: torch.device) -> tuple[Tensor, Tensor]:
        """Rows -> x float32 (B, 3, S, S) in [-1, 1], f float32 (B, C, G, G), standardised."""
        x = normalise(torch.from_numpy(self.images[rows]).to(device))
        f = torch.from_numpy(self.features[rows]).to(device).float()
        mean, std = (v.to(device).view(1, -1, 1, 1) for v in (self.norm.mean, self.norm.std))
        return x, f.sub_(mean).div_(std)


def rows_per_group(config: AugmentConfig, counts: Sequence[int], sample_bytes: int) -> int:
    """How many rows T each category gets: whole rounds over the largest, copies of the smaller ones to match.

    As many as make `config.samples` in all, fewer where the cache would pass `config.cache_gb`; at least one round, so
    that no image is left out.

    Args:
        counts: images of each category.
        sample_bytes: what one row takes.
    """
    largest = max(counts)
    wanted = math.ceil(config.samples / len(counts) / largest)
    room = int(config.cache_gb * 1e9 / sample_bytes / len(counts)) // largest
    return largest * max(1, min(wanted, room))


def build_feature_cache(
    folder: Path,
    groups: Sequence[Image],
    extractor: Extractor,
    config: AugmentConfig,
    *,
    seed: int,
    data_digest: str,
    world: World | None = None,
) -> FeatureCache:
    """Open the cache of these images, making first what of it is missing. To be called by all processes of `world`.

    Args:
        folder: where caches live; on a file system that all processes share.
        groups: the images of each category without copies, uint8 (N_i, S, S, 3); a single category is a list of one.
        data_digest: names the images' contents.
        world: the processes that fill it; this one alone where not given.

    Raises:
        InputError: what another process wrote does not show up here, or a file is broken.
    """
    world = world or World(torch.device("cpu"))
    counts, size = [len(group) for group in groups], groups[0].shape[1]
    values = sum(extractor.channels) * (size // extractor.grid_stride) ** 2
    each = rows_per_group(config, counts, 2 * values + 3 * size * size)
    count = each * len(groups)
    facts = {
        "format": FORMAT,
        "data": data_digest,
        "counts": counts,
        "rows": each,
        "size": size,
        "backbone": [extractor.facts.name, weights_digest(extractor), extractor.strides, extractor.grid_stride],
        "augment": config.model_dump(exclude={"samples", "cache_gb"}),
        "seed": seed,
    }
    digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
    place = folder / digest[:16]
    extractor.to(world.device)
    make = _Maker(groups, each, extractor, config, seed, world.device)
    write_shards(place, count, make, world, "Features of the good images")
    extractor.cpu()
    arrays = open_shards(place, count, ("images", "features", "moments"), world)
    return FeatureCache(
        images=arrays["images"],
        features=arrays["features"],
        norm=_norm(arrays["moments"][:]),
        digest=digest,
        labels=np.repeat(np.arange(len(groups)), each),
    )


@dataclass(frozen=True, slots=True)
class _Maker:
    """Rows of the cache -> their images, features, and the two moments of the features of each image."""

    groups: Sequence[Image]
    each: int
    extractor: Extractor
    config: AugmentConfig
    seed: int
    device: torch.device

    def __call__(self, rows: Rows) -> dict[str, npt.NDArray[Any]]:
        images = np.stack([self._image(int(row)) for row in rows])
        f = self.extractor.features(normalise(torch.from_numpy(images).to(self.device)))
        wide = f.double()
        moments = torch.stack([wide.mean((2, 3)), wide.square().mean((2, 3))], 1)
        return {"images": images, "features": f.half().cpu().numpy(), "moments": moments.cpu().numpy()}

    def _image(self, row: int) -> Image:
        group, within = divmod(row, self.each)
        copy, number = divmod(within, len(self.groups[group]))
        # Numbered through over the categories: no two images share their turns.
        index = sum(len(before) for before in self.groups[:group]) + number
        return augmented(self.groups[group][number], self.config, seed=self.seed, index=index, copy=copy)


def _norm(moments: npt.NDArray[np.float64]) -> FeatureNorm:
    """Moments (N, 2, C) -> mean and deviation; summed in the order of rows, so the same for any number of processes."""
    mean, square = moments.mean(axis=0)
    std = np.sqrt(np.maximum(square - mean**2, 1e-8))
    return FeatureNorm(torch.from_numpy(mean.astype(np.float32)), torch.from_numpy(std.astype(np.float32)))
