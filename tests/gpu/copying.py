"""Networks that copy bytes on the GPU, in place of TensorRT's: the engine around them needs no TensorRT.

Knows what `Network` promises and what these two give. The copies are enqueued on the engine's stream by its handle, as
TensorRT does it, so buffers, order, capture and times are those of the real engine.
"""

import ctypes
from collections.abc import Mapping
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt

from diffad_runtime.cuda.gpu import Gpu
from diffad_runtime.engines.signature import Nodes
from diffad_runtime.engines.tensorrt import TensorRtEngine
from diffad_runtime.errors import EngineError
from diffad_runtime.result import Image

SIZE, GRID = 32, 8

_X = (1, 3, SIZE, SIZE)
_F = (1, 3, GRID, GRID)


def frame(number: int) -> Image:
    """Bytes below 64: four of them, read as a float, are finite."""
    return np.random.default_rng(number).integers(0, 64, (SIZE, SIZE, 3), np.uint8)


def expected(image: Image) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """(anomaly, feature) that the engine gives for a frame: its bytes, read as floats."""
    x = np.tile(image.reshape(-1), 4)
    anomaly = x[: 4 * SIZE * SIZE].view(np.float32).reshape(SIZE, SIZE)
    feature = x[: 4 * GRID * GRID].view(np.float32).reshape(GRID, GRID)
    return anomaly, feature


class Copying:
    """What `Network` promises, for one side: "extractor" or "reconstructor".

    Attributes:
        fails: whether enqueue() raises.
        closed: how often close() was called.
    """

    def __init__(self, side: str) -> None:
        between: Nodes = {"x": ("float32", list(_X)), "f": ("float32", list(_F))}
        image: Nodes = {"image": ("uint8", [1, SIZE, SIZE, 3])}
        maps: Nodes = {"anomaly_map": ("float32", [1, SIZE, SIZE]), "feature_score": ("float32", [1, GRID, GRID])}
        self.inputs, self.outputs = (image, between) if side == "extractor" else (between, maps)
        self.fails = False
        self.closed = 0
        self._at: dict[str, int] = {}
        self._copy = ctypes.CDLL("libcuda.so.1").cuMemcpyDtoDAsync_v2
        self._copy.argtypes = [ctypes.c_uint64, ctypes.c_uint64, ctypes.c_size_t, ctypes.c_void_p]

    def bind(self, addresses: Mapping[str, int]) -> None:
        self._at |= addresses

    def enqueue(self, stream: int, heard: object) -> None:  # noqa: ARG002  nothing is said here
        if self.fails:
            raise EngineError("it does not run", mend="Nothing")
        at, pixels = self._at, 3 * SIZE * SIZE
        if "image" in self.inputs:
            copies = [(at["x"] + pixels * quarter, at["image"], pixels) for quarter in range(4)]
            copies.append((at["f"], at["image"], 4 * 3 * GRID * GRID))
        else:
            copies = [(at["anomaly_map"], at["x"], 4 * SIZE * SIZE), (at["feature_score"], at["f"], 4 * GRID * GRID)]
        for copy in copies:
            if status := self._copy(*copy, stream):
                raise EngineError(f"cuMemcpyDtoDAsync gave {status}", mend="Nothing")

    def close(self) -> None:
        self.closed += 1


def _tensorrt() -> ModuleType:
    """As much of the module tensorrt as an engine uses that is given its networks."""

    class ILogger:
        Severity = SimpleNamespace(ERROR=1, INTERNAL_ERROR=0, WARNING=2)

    module = ModuleType("tensorrt")
    vars(module)["ILogger"] = ILogger
    return module


_TRT = _tensorrt()


def open_copying(gpu: Gpu, note: Any = lambda _: None) -> tuple[TensorRtEngine, list[Copying]]:
    """The engine, and its two networks."""
    networks = [Copying("extractor"), Copying("reconstructor")]
    with gpu.current():
        extractor, reconstructor = networks
        made = TensorRtEngine(_TRT, gpu, extractor, reconstructor, input_size=SIZE, variant="copying", note=note)  # type: ignore[arg-type]
    return made, networks
