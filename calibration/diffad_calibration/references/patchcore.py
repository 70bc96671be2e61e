"""PatchCore: distance to the nearest of many good patches. Roth et al., CVPR 2022, sections 3.1 to 3.3.

The memory is a random sample in place of the paper's greedy coreset: the same size, seconds in place of minutes.
The image score is a map's maximum, without the paper's re-weighting. Knows feature arrays, not their network.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from diffad_calibration.references.upsampling import upsample
from diffad_runtime.errors import DataError

FloatArray = npt.NDArray[np.float32]
_CHUNK = 1024  # patches whose distances to the whole memory are held at once: 25 MB at 6000


@dataclass(frozen=True, slots=True)
class PatchCore:
    """A fitted model; make one with PatchCore.fit.

    Attributes:
        channels: int64 (d,), the channels used.
        memory: float32 (M, d), good patches.
        input_size: S, side of the maps, pixels.
    """

    channels: npt.NDArray[np.int64]
    memory: FloatArray
    input_size: int

    @classmethod
    def fit(
        cls,
        feature_batches: Iterable[FloatArray],
        *,
        input_size: int,
        strides: Sequence[int],
        channels: Sequence[int],
        used: Sequence[int] = (8, 16),
        patches: int = 6000,
        seed: int = 0,
    ) -> "PatchCore":
        """Fill the memory from good images.

        Args:
            feature_batches: float32 (N, C, G, G) each; read once, only the memory is kept.
            input_size: S, pixels.
            strides, channels: of the backbone, in the order of the features' channels.
            used: strides that count.
            patches: size of the memory; all patches if there are no more.
            seed: of the sample.

        Raises:
            DataError: no images, or no channels of the strides asked for.
        """
        owner = np.repeat(np.asarray(strides), np.asarray(channels))
        chosen = np.flatnonzero(np.isin(owner, np.asarray(used))).astype(np.int64)
        if chosen.size == 0:
            raise DataError(f"no features of strides {list(used)} among {list(strides)}", mend="Name other strides")
        rng = np.random.default_rng(seed)
        memory = np.empty((0, chosen.size), np.float32)
        keys = np.empty(0)
        for batch in feature_batches:
            # The patches with the smallest of independent random keys are a uniform sample, whatever the batches.
            found = _patches(batch, chosen)
            memory = np.concatenate([memory, found])
            keys = np.concatenate([keys, rng.random(len(found))])
            if len(keys) > patches:
                kept = np.argpartition(keys, patches - 1)[:patches]
                memory, keys = memory[kept], keys[kept]
        if len(memory) == 0:
            raise DataError("PatchCore needs good images, got none", mend="Add good images")
        return cls(chosen, memory, input_size)

    def maps(self, features: FloatArray) -> FloatArray:
        """Euclidean distance to the nearest good patch; the image score is a map's maximum.

        Args:
            features: float32 (N, C, G, G).

        Returns:
            float32 (N, S, S).
        """
        patches = _patches(features, self.channels)
        distance = np.empty(len(patches), np.float32)
        lengths = np.square(self.memory).sum(axis=1)
        for start in range(0, len(patches), _CHUNK):
            part = patches[start : start + _CHUNK]
            # |a - b|^2 = |a|^2 + |b|^2 - 2 a.b; rounding can take an exact hit below zero.
            squared = np.square(part).sum(axis=1) + (lengths - 2 * (part @ self.memory.T)).min(axis=1)
            distance[start : start + _CHUNK] = np.sqrt(np.maximum(squared, 0))
        return upsample(distance.reshape(len(features), *features.shape[2:]), self.input_size)


def _patches(features: FloatArray, channels: npt.NDArray[np.int64]) -> FloatArray:
    """(N, C, G, G) -> (N * G * G, d): mean over the 3 x 3 neighbourhood, border cells repeated outwards."""
    height, width = features.shape[2:]
    padded = np.pad(features[:, channels], ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    rows = padded[:, :, :height] + padded[:, :, 1 : height + 1] + padded[:, :, 2:]
    mean = (rows[..., :width] + rows[..., 1 : width + 1] + rows[..., 2:]) / 9
    return np.ascontiguousarray(mean.transpose(0, 2, 3, 1)).reshape(-1, channels.size)
