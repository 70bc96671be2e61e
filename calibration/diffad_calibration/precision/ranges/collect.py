"""One pass over frames: what every tensor of an FP32 graph was, in constant memory.

Knows onnxruntime. Does not know precisions: what is seen here feeds every variant.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx  # noqa: TID251  calibration is where graphs are edited
import onnxruntime
from onnx import TensorProto, helper  # noqa: TID251

from diffad_calibration.precision.onnxfile import prepared, refused
from diffad_calibration.precision.placement import BETWEEN
from diffad_calibration.precision.ranges.estimators import Range, estimate
from diffad_calibration.precision.ranges.histogram import Histogram
from diffad_runtime.errors import DataError, DiffadError

Feed = dict[str, npt.NDArray[Any]]


class Collector:
    """Runs a graph frame by frame, and counts.

    Args:
        model: FP32 ONNX, static sizes, no external data.

    Raises:
        DiffadError: onnxruntime refuses the graph.
    """

    def __init__(self, model: bytes) -> None:
        proto = prepared(model)
        self.frames = 0
        self._histograms = {name: Histogram() for name in _near_convolutions(proto.graph)}
        self._extremes: dict[str, Range] = {}
        self._own = [node.name for node in proto.graph.output]
        watched = onnx.ModelProto()
        watched.CopyFrom(proto)
        inside = [name for name in _float_tensors(proto.graph) if name not in self._own]
        del watched.graph.output[:]  # own ones last: of tensors with NaN the first in the graph is to be named
        watched.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in inside)
        watched.graph.output.extend(proto.graph.output)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        try:
            self._session = onnxruntime.InferenceSession(
                watched.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's own exceptions derive from nothing narrower
            raise refused(error) from error
        self._names = [node.name for node in self._session.get_outputs()]
        self._inputs = {node.name for node in self._session.get_inputs()}

    def add(self, feed: Feed) -> Feed:
        """Run one frame.

        Args:
            feed: input name -> array; names that the graph does not read are passed over.

        Returns:
            The graph's own outputs, by name.

        Raises:
            DataError: NaN or infinity in a tensor.
            DiffadError: the feed does not fit the graph.
        """
        given = {name: np.ascontiguousarray(array) for name, array in feed.items() if name in self._inputs}
        try:
            found = dict(zip(self._names, self._session.run(self._names, given), strict=True))
        except DiffadError:
            raise
        except Exception as error:  # onnxruntime's own exceptions derive from nothing narrower
            raise refused(error) from error
        for name, values in (given | found).items():
            if values.dtype != np.float32:
                continue
            lowest, highest = float(values.min()), float(values.max())
            if not (math.isfinite(lowest) and math.isfinite(highest)):
                raise DataError(f"tensor {name!r} holds NaN or infinity", mend="Check the frame, and the model in FP32")
            if name in self._histograms:
                self._histograms[name].add(values)
            low, high = self._extremes.get(name, (lowest, highest))
            self._extremes[name] = min(low, lowest), max(high, highest)
        self.frames += 1
        return {name: found[name] for name in self._own}

    def extremes(self) -> dict[str, Range]:
        """Smallest and largest value of every float tensor.

        Raises:
            DataError: no frame was run.
        """
        self._seen()
        return dict(self._extremes)

    def ranges(self, kind: str, *, symmetric: bool) -> dict[str, Range]:
        """What an estimator makes of each tensor beside a convolution.

        Raises:
            DataError: no frame was run, or the estimator is unknown.
        """
        self._seen()
        return {name: estimate(kind, one, symmetric=symmetric) for name, one in self._histograms.items()}

    def _seen(self) -> None:
        if self.frames == 0:
            raise DataError("no frames to calibrate on", mend="Give at least one feed, better 32 or more")


def collect(model: bytes, feeds: Any) -> Collector:
    """Run all feeds of an iterable.

    Raises:
        DataError: there are none; otherwise as `Collector`.
    """
    collector = Collector(model)
    for feed in feeds:
        collector.add(feed)
    collector.extremes()
    return collector


def _near_convolutions(graph: onnx.GraphProto) -> list[str]:
    """Tensors that a convolution, or an op that can run between two, reads or makes."""
    constants = {entry.name for entry in graph.initializer}
    near: dict[str, None] = {}
    for node in graph.node:
        if node.op_type == "Conv" or node.op_type in BETWEEN:
            near.update(dict.fromkeys(name for name in (*node.input, *node.output) if name and name not in constants))
    return list(near)


def _float_tensors(graph: onnx.GraphProto) -> list[str]:
    kinds: Mapping[str, int] = {
        entry.name: entry.type.tensor_type.elem_type for entry in (*graph.value_info, *graph.output)
    }
    made = [name for node in graph.node for name in node.output if name]
    return [name for name in made if kinds.get(name) == TensorProto.FLOAT]
