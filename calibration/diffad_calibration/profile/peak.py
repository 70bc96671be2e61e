"""What this processor can do in convolutions: graphs of nothing else, in shapes that suit it.

A practical peak, not one from a data sheet: the best of a few shapes, in onnxruntime, with as many threads as the
graphs that it is held against. Does not know any bundle.
"""

import time
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnx import TensorProto, helper, numpy_helper  # noqa: TID251  calibration is where graphs are made

from diffad_calibration.profile.figures import Peak
from diffad_runtime.engines.onnxruntime import session_options

# Kernel, channels, side: many channels fill the multiplier, few pixels keep the activations in the cache.
SHAPES = ((3, 256, 32), (3, 256, 64), (3, 512, 16), (3, 128, 64), (1, 512, 64))
_LONG = 2  # convolutions in a row, so that what surrounds them counts for less
_TRIALS = 4


@dataclass(slots=True)
class PeakRun:
    """One shape in one number format, run again and again."""

    session: Any
    image: npt.NDArray[Any]
    gop: float
    shape: str
    ms: list[float] = field(default_factory=list)

    def run(self) -> None:
        """Once, timed."""
        start = time.perf_counter()
        self.session.run(None, {"image": self.image})
        self.ms.append(1e3 * (time.perf_counter() - start))

    def peak(self) -> Peak:
        """From the median of the runs so far."""
        return Peak(1e3 * self.gop / float(np.median(self.ms)), self.shape)


def fastest(threads: int, *, int8: bool, shapes: tuple[tuple[int, int, int], ...] = SHAPES) -> list[PeakRun]:
    """Try every shape a few times and keep the two fastest, their trials forgotten; the best of them is the peak."""
    runs = [_run(threads, *shape, int8=int8) for shape in shapes]
    for _ in range(_TRIALS):
        for run in runs:
            run.run()
    best = sorted(runs, key=lambda run: run.gop / min(run.ms))[-2:]
    for run in best:
        run.ms.clear()
    return best


def peak_graph(kernel: int, channels: int, side: int, *, int8: bool) -> bytes:
    """A row of convolutions, channels -> channels, same size: QLinearConv, uint8 by int8, or Conv in float32."""
    rng = np.random.default_rng(0)
    weights = rng.integers(-127, 128, (channels, channels, kernel, kernel)).astype(np.int8)
    constants: dict[str, npt.NDArray[Any]]
    if int8:
        kind, operator = TensorProto.UINT8, "QLinearConv"
        constants = {
            "weights": weights,
            "scale": np.array(0.02, np.float32),
            "weight_scale": np.array(1 / (127 * channels), np.float32),
            "zero": np.array(128, np.uint8),
            "weight_zero": np.array(0, np.int8),
        }
        names = ["scale", "zero", "weights", "weight_scale", "weight_zero", "scale", "zero"]
    else:
        kind, operator, names = TensorProto.FLOAT, "Conv", ["weights"]
        constants = {"weights": (weights / (127.0 * channels)).astype(np.float32)}
    tensors = ["image", *(f"t{i}" for i in range(1, _LONG)), "out"]
    nodes = [
        helper.make_node(operator, [before, *names], [after], kernel_shape=[kernel] * 2, pads=[kernel // 2] * 4)
        for before, after in pairwise(tensors)
    ]
    size = [1, channels, side, side]
    graph = helper.make_graph(
        nodes,
        "peak",
        [helper.make_tensor_value_info("image", kind, size)],
        [helper.make_tensor_value_info("out", kind, size)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())


def _run(threads: int, kernel: int, channels: int, side: int, *, int8: bool) -> PeakRun:
    session = onnxruntime.InferenceSession(
        peak_graph(kernel, channels, side, int8=int8), session_options(threads), providers=["CPUExecutionProvider"]
    )
    image = np.random.default_rng(1).integers(0, 256, (1, channels, side, side), dtype=np.uint8)
    return PeakRun(
        session,
        image if int8 else (image / 255).astype(np.float32),
        _LONG * 2 * kernel**2 * channels**2 * side**2 / 1e9,
        f"{kernel} x {kernel}, {channels} -> {channels}, {side} x {side}",
    )
