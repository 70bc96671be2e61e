"""PaDiM: a Gaussian of deep features at every place. Defard et al., arXiv:2011.08785, sections 3.1 to 3.3.

Knows feature arrays. Does not know the network they come from.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from diffad_calibration.references.upsampling import upsample
from diffad_runtime.errors import DataError

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class PaDiM:
    """A fitted model; make one with PaDiM.fit.

    Attributes:
        dims: int64 (d,), the channels drawn.
        mean: float32 (G * G, d).
        whitening: float32 (G * G, d, d), W with W^T W = covariance^-1, so that the distance is |W (f - mean)|.
        input_size: S, side of the maps, pixels.
    """

    dims: npt.NDArray[np.int64]
    mean: FloatArray
    whitening: FloatArray
    input_size: int

    @classmethod
    def fit(
        cls,
        feature_batches: Iterable[FloatArray],
        *,
        input_size: int,
        dims: int = 100,
        ridge: float = 0.01,
        seed: int = 0,
    ) -> "PaDiM":
        """Fit on good images.

        Args:
            feature_batches: float32 (N, C, G, G) each; read once, only sums are kept.
            input_size: S, pixels.
            dims: channels drawn at random, all of them if there are no more.
            ridge: added to the covariance's diagonal.
            seed: of the draw.

        Raises:
            DataError: fewer than two images.
        """
        count = 0
        for batch in feature_batches:
            if count == 0:
                channels, grid = batch.shape[1], batch.shape[2]
                rng = np.random.default_rng(seed)
                chosen = np.sort(rng.permutation(channels)[:dims]).astype(np.int64)
                first = _by_place(batch, chosen)
                # Sums of squares about a point near the mean: about zero they would cancel in float32.
                origin = first.mean(axis=1, keepdims=True)
                total = np.zeros((grid * grid, chosen.size))
                products = np.zeros((grid * grid, chosen.size, chosen.size))
            shifted = _by_place(batch, chosen) - origin
            total += shifted.sum(axis=1)
            products += shifted.transpose(0, 2, 1) @ shifted
            count += len(batch)
        if count < 2:
            raise DataError(f"PaDiM needs at least 2 good images, got {count}", mend="Add good images")
        offset = total / count
        covariance = (products - count * offset[:, :, None] * offset[:, None, :]) / (count - 1)
        covariance += ridge * np.eye(chosen.size)
        whitening = np.linalg.inv(np.linalg.cholesky(covariance)).astype(np.float32)
        return cls(chosen, (origin[:, 0] + offset).astype(np.float32), whitening, input_size)

    def maps(self, features: FloatArray) -> FloatArray:
        """Mahalanobis distance at every place; the image score is a map's maximum.

        Args:
            features: float32 (N, C, G, G).

        Returns:
            float32 (N, S, S).
        """
        centred = _by_place(features, self.dims) - self.mean[:, None, :]
        white = centred @ self.whitening.transpose(0, 2, 1)
        distance = np.sqrt(np.square(white).sum(axis=2)).T
        return upsample(distance.reshape(len(features), *features.shape[2:]), self.input_size)


def _by_place(features: FloatArray, channels: npt.NDArray[np.int64]) -> FloatArray:
    """(N, C, G, G) -> (G * G, N, d): one small matrix a place, as the batched products want it."""
    drawn = features[:, channels].reshape(len(features), channels.size, -1)
    return np.ascontiguousarray(drawn.transpose(2, 0, 1))
