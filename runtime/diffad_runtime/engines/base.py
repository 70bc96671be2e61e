"""What every inference engine promises, and the checks that all of them share.

Knows shapes and dtypes of the two graphs. Does not know any inference library; each has a sibling file.
"""

import time
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from diffad_runtime.errors import EngineError
from diffad_runtime.result import FloatMap, Image


@dataclass(frozen=True, slots=True)
class RawMaps:
    """What the two graphs make of one frame.

    Attributes:
        anomaly: float32 (S, S), the fused map that is thresholded.
        pixel: float32 (G, G), standardised KL of the pixels, on the feature grid.
        feature: float32 (G, G), standardised feature score, on the feature grid.
        extract_ms, reconstruct_ms: milliseconds spent in each graph.
    All arrays are fresh or copied: the caller owns them.
    """

    anomaly: FloatMap
    pixel: FloatMap
    feature: FloatMap
    extract_ms: float
    reconstruct_ms: float


class Engine(ABC):
    """Extractor and reconstructor of one variant, ready to run. Use as a context manager; close() twice is harmless."""

    backend: str
    variant: str
    input_size: int

    @abstractmethod
    def _extract(self, image: Image) -> tuple[FloatMap, FloatMap]:
        """uint8 (1, S, S, 3) BGR -> x float32 (1, 3, S, S) in [-1, 1], f float32 (1, C, G, G)."""

    @abstractmethod
    def _reconstruct(self, x: FloatMap, f: FloatMap) -> tuple[FloatMap, FloatMap, FloatMap]:
        """x, f -> anomaly (1, S, S), pixel (1, G, G), feature (1, G, G), float32."""

    @abstractmethod
    def close(self) -> None:
        """Free what the engine holds."""

    def infer(self, image: Image) -> RawMaps:
        """Run both graphs on one resized frame.

        Args:
            image: uint8 (S, S, 3), BGR, C-contiguous.

        Raises:
            EngineError: wrong shape or dtype, or the engine failed, or its map holds NaN or infinity.
        """
        expected = (self.input_size, self.input_size, 3)
        if image.shape != expected or image.dtype != np.uint8:
            raise EngineError(
                f"the engine expects a uint8 image of shape {expected}, got {image.dtype} {image.shape}",
                mend="Resize the frame first, or hand it to Inspector.inspect, which does",
            )
        start = time.perf_counter()
        x, f = self._extract(np.ascontiguousarray(image[None]))
        middle = time.perf_counter()
        anomaly, pixel, feature = self._reconstruct(x, f)
        end = time.perf_counter()
        if not np.isfinite(anomaly).all():
            raise EngineError(
                f"the {self.backend} engine, variant {self.variant}, gave a map with NaN or infinite values",
                mend="Check the variant with 'diffad-edge inspect', or run another with --variant fp32",
            )
        return RawMaps(anomaly[0], pixel[0], feature[0], 1e3 * (middle - start), 1e3 * (end - middle))

    def __enter__(self) -> "Engine":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
