"""What every inference engine promises, and the checks that all of them share.

Knows names, shapes and dtypes of what goes into and comes out of the two graphs. Does not know any inference library;
each has a sibling file.

    extractor      image -> x, and features: one tensor or several, each of a name and a grid of its own
    reconstructor  x and these features -> anomaly_map, feature_score and, where the pixel score has weight, pixel_score
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from typing_extensions import Self

from diffad_runtime.errors import EngineError
from diffad_runtime.result import FloatMap, Image

Tensors = Mapping[str, FloatMap]
"""Name -> float32 array, as the graphs name them."""


@dataclass(frozen=True, slots=True)
class Ran:
    """What the graphs gave for one frame, by their names, and milliseconds spent in each. Arrays are fresh."""

    maps: Tensors
    extract_ms: float
    reconstruct_ms: float


@dataclass(frozen=True, slots=True)
class RawMaps:
    """What the two graphs make of one frame.

    Attributes:
        anomaly: float32 (S, S), the fused map that is thresholded.
        pixel: float32 (G, G), standardised KL of the pixels; None where the fused map does not use it.
        feature: float32 (G, G), standardised feature score.
        extract_ms, reconstruct_ms: milliseconds spent in each graph.
    All arrays are fresh or copied: the caller owns them.
    """

    anomaly: FloatMap
    pixel: FloatMap | None
    feature: FloatMap
    extract_ms: float
    reconstruct_ms: float


class Engine(ABC):
    """Extractor and reconstructor of one variant, ready to run. Use as a context manager; close() twice is harmless.

    Attributes:
        backend, variant: for results and messages.
        input_size: S.
        lanes: frames that it may be given at once, each from a thread of its own.
    """

    backend: str
    variant: str
    input_size: int
    lanes: int = 1

    @abstractmethod
    def _infer(self, image: Image) -> Ran:
        """uint8 (1, S, S, 3) BGR -> "anomaly_map" (1, S, S), "feature_score" (1, G, G); maybe "pixel_score"."""

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
        ran = self._infer(np.ascontiguousarray(image[None]))
        anomaly, pixel = ran.maps["anomaly_map"], ran.maps.get("pixel_score")
        if not np.isfinite(anomaly).all():
            raise EngineError(
                f"the {self.backend} engine, variant {self.variant}, gave a map with NaN or infinite values",
                mend="Check the variant with 'diffad-edge inspect', or run another with --variant fp32",
            )
        return RawMaps(
            anomaly=anomaly[0],
            pixel=None if pixel is None else pixel[0],
            feature=ran.maps["feature_score"][0],
            extract_ms=ran.extract_ms,
            reconstruct_ms=ran.reconstruct_ms,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class TwoCallEngine(Engine):
    """An engine that is called once for each graph, with what lies between in the host's memory."""

    @abstractmethod
    def _extract(self, image: Image) -> Tensors:
        """uint8 (1, S, S, 3) BGR -> "x" (1, 3, S, S) in [-1, 1] and features (1, C, g, g), by name."""

    @abstractmethod
    def _reconstruct(self, inputs: Tensors) -> Tensors:
        """What `_extract` gave -> maps, as `_infer`."""

    def _infer(self, image: Image) -> Ran:
        start = time.perf_counter()
        between = self._extract(image)
        middle = time.perf_counter()
        maps = self._reconstruct(between)
        end = time.perf_counter()
        return Ran(maps, 1e3 * (middle - start), 1e3 * (end - middle))
