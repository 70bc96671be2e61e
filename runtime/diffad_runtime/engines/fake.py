"""An engine without a network, for tests: ours and those of whoever builds on this package.

Knows how to make maps that depend on the image and on nothing else. Does not know any model; its maps mean little.
"""

from collections.abc import Callable

import cv2
import numpy as np

from diffad_runtime.engines.base import Tensors, TwoCallEngine
from diffad_runtime.errors import EngineError
from diffad_runtime.result import Image


class FakeEngine(TwoCallEngine):
    """Says that whatever is not mid-grey is anomalous: the blurred absolute difference from grey 128, over 128.

    It has two feature tensors, means over 4 x 4 and 8 x 8 pixels; the feature score is made of the finer one.
    A mid-grey image gives 0 everywhere, a black or white one 1 (white: 127 / 128). Same image, same map.

    Args:
        input_size: S, a multiple of 8; the feature grids are S / 4 and S / 8.
        fails: called with the uint8 (1, S, S, 3) image; where it says True, the engine raises EngineError.
        pixel_score: give one, the same as the feature score; False: give none, like a bundle whose alpha is 0.
    """

    backend = "fake"
    variant = "fake"

    def __init__(
        self, input_size: int = 64, *, fails: Callable[[Image], bool] | None = None, pixel_score: bool = True
    ) -> None:
        self.input_size = input_size
        self._pixel_score = pixel_score
        self._fails = fails
        self._closed = False

    def close(self) -> None:
        self._closed = True

    def _extract(self, image: Image) -> Tensors:
        if self._closed:
            raise EngineError("the engine is closed", mend="Open a new one")
        if self._fails is not None and self._fails(image):
            raise EngineError("the fake engine fails on this image, as it was told to", mend="Give it another")
        x = np.ascontiguousarray(image.transpose(0, 3, 1, 2), dtype=np.float32) / np.float32(128) - np.float32(1)
        size = self.input_size
        means = {
            f"f{n}": x.reshape(1, 3, size // n, n, size // n, n).mean(axis=(3, 5), dtype=np.float32) for n in (4, 8)
        }
        return {"x": x, **means}

    def _reconstruct(self, inputs: Tensors) -> Tensors:
        anomaly = cv2.blur(np.abs(inputs["x"][0]).mean(axis=0, dtype=np.float32), (3, 3))
        feature = np.abs(inputs["f4"]).mean(axis=1, dtype=np.float32)
        maps = {"anomaly_map": np.asarray(anomaly, np.float32)[None], "feature_score": feature}
        return {**maps, "pixel_score": feature.copy()} if self._pixel_score else maps
