"""An engine without a network, for tests: ours and those of whoever builds on this package.

Knows how to make maps that depend on the image and on nothing else. Does not know any model; its maps mean little.
"""

from collections.abc import Callable

import cv2
import numpy as np

from diffad_runtime.engines.base import Engine
from diffad_runtime.errors import EngineError
from diffad_runtime.result import FloatMap, Image


class FakeEngine(Engine):
    """Says that whatever is not mid-grey is anomalous: the blurred absolute difference from grey 128, over 128.

    A mid-grey image gives 0 everywhere, a black or white one 1 (white: 127 / 128). Same image, same map.

    Args:
        input_size: S, a multiple of 4; the feature grid is S / 4.
        fails: called with the uint8 (1, S, S, 3) image; where it says True, the engine raises EngineError.
    """

    backend = "fake"
    variant = "fake"

    def __init__(self, input_size: int = 64, *, fails: Callable[[Image], bool] | None = None) -> None:
        self.input_size = input_size
        self._fails = fails
        self._closed = False

    def close(self) -> None:
        self._closed = True

    def _extract(self, image: Image) -> tuple[FloatMap, FloatMap]:
        if self._closed:
            raise EngineError("the engine is closed", mend="Open a new one")
        if self._fails is not None and self._fails(image):
            raise EngineError("the fake engine fails on this image, as it was told to", mend="Give it another")
        x = np.ascontiguousarray(image.transpose(0, 3, 1, 2), dtype=np.float32) / np.float32(128) - np.float32(1)
        grid = self.input_size // 4
        f = x.reshape(1, 3, grid, 4, grid, 4).mean(axis=(3, 5), dtype=np.float32)
        return x, f

    def _reconstruct(self, x: FloatMap, f: FloatMap) -> tuple[FloatMap, FloatMap, FloatMap]:
        anomaly = cv2.blur(np.abs(x[0]).mean(axis=0, dtype=np.float32), (3, 3))
        feature = np.abs(f).mean(axis=1, dtype=np.float32)
        return np.asarray(anomaly, np.float32)[None], feature, feature.copy()
