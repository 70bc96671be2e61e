"""Training images and their features, computed once and kept on disk as memory-mapped arrays.

A cache is named by everything that its numbers depend on; it is written under a temporary name and renamed when whole,
so that an interrupted run leaves none that could be mistaken for a finished one.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from diffad_export.augment import augmented
from diffad_export.backbone import Extractor
from diffad_export.backbone.extractor import normalise
from diffad_export.config import AugmentConfig
from diffad_export.progress import track
from diffad_export.reconstructor import FeatureNorm
from diffad_runtime.result import Image

BATCH = 16


@dataclass(frozen=True, slots=True)
class FeatureCache:
    """N images (copies included) and their raw features.

    Attributes:
        images: uint8 (N, S, S, 3), BGR.
        features: float16 (N, C, G, G).
        norm: mean and deviation of each channel over all of them.
        digest: names the cache's contents.
    """

    images: npt.NDArray[np.uint8]
    features: npt.NDArray[np.float16]
    norm: FeatureNorm
    digest: str

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, rows: npt.NDArray[np.int64], device: torch.device) -> tuple[Tensor, Tensor]:
        """Rows -> x float32 (B, 3, S, S) in [-1, 1], f float32 (B, C, G, G), standardised."""
        x = normalise(torch.from_numpy(self.images[rows]).to(device))
        f = torch.from_numpy(self.features[rows]).to(device).float()
        mean, std = (v.to(device).view(1, -1, 1, 1) for v in (self.norm.mean, self.norm.std))
        return x, (f - mean) / std


def copies_within(config: AugmentConfig, images: int, channels: int, size: int) -> int:
    """How many augmented copies per image fit into the cache's limit (at most `config.copies`)."""
    one = images * (channels * (size // 4) ** 2 * 2 + size * size * 3)
    return max(0, min(config.copies, int(config.cache_gb * 1e9 // max(one, 1)) - 1))


def build_feature_cache(
    folder: Path, images: Image, extractor: Extractor, config: AugmentConfig, *, seed: int, data_digest: str
) -> FeatureCache:
    """Open the cache of these images, making it first where it is missing.

    Args:
        folder: where caches live.
        images: uint8 (N, S, S, 3), the images without copies.
        data_digest: names the images' contents.
    """
    channels, size = sum(extractor.facts.channels), images.shape[1]
    copies = copies_within(config, len(images), channels, size)
    key = json.dumps([data_digest, len(images), size, extractor.facts.name, config.model_dump(), copies, seed, 1])
    digest = hashlib.sha256(key.encode()).hexdigest()
    final = folder / digest[:16]
    if not (final / "norm.npz").exists():
        _write(final, images, extractor, config, seed, copies)
    norm = np.load(final / "norm.npz")
    return FeatureCache(
        images=np.load(final / "images.npy", mmap_mode="r"),
        features=np.load(final / "features.npy", mmap_mode="r"),
        norm=FeatureNorm(torch.from_numpy(norm["mean"]), torch.from_numpy(norm["std"])),
        digest=digest,
    )


def _write(final: Path, images: Image, extractor: Extractor, config: AugmentConfig, seed: int, copies: int) -> None:
    work = final.with_name(f"{final.name}.{os.getpid()}.part")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    count, size, channels = len(images) * (1 + copies), images.shape[1], sum(extractor.facts.channels)
    out_images = np.lib.format.open_memmap(work / "images.npy", "w+", np.uint8, (count, size, size, 3))
    out_features = np.lib.format.open_memmap(
        work / "features.npy", "w+", np.float16, (count, channels, size // 4, size // 4)
    )
    total = torch.zeros(channels, dtype=torch.float64)
    squares = torch.zeros(channels, dtype=torch.float64)
    row = 0
    for batch in track(list(_batches(len(images), copies)), "Features of the good images"):
        stack = np.stack([augmented(images[i], config, seed=seed, index=i, copy=c) for i, c in batch])
        f = extractor.features(normalise(torch.from_numpy(stack)))
        out_images[row : row + len(batch)] = stack
        out_features[row : row + len(batch)] = f.half().numpy()
        total += f.double().mean((2, 3)).sum(0)
        squares += f.double().square().mean((2, 3)).sum(0)
        row += len(batch)
    mean = total / count
    std = (squares / count - mean.square()).clamp_min(1e-8).sqrt()
    out_images.flush()
    out_features.flush()
    del out_images, out_features
    np.savez(work / "norm.npz", mean=mean.float().numpy(), std=std.float().numpy())
    shutil.rmtree(final, ignore_errors=True)
    work.rename(final)


def _batches(images: int, copies: int) -> Iterator[list[tuple[int, int]]]:
    pairs = [(i, c) for c in range(copies + 1) for i in range(images)]
    for start in range(0, len(pairs), BATCH):
        yield pairs[start : start + BATCH]
