"""Small graphs with convolutions, written node by node, so that this room is tested without torch."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from diffad_calibration.precision.variants import Calibrator, Graphs

SIZE, GRID, CHANNELS = 32, 8, 6


class Sketch:
    """A graph while it is written down. Every method returns the name of the tensor it makes; node NAME makes it."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def constant(self, name: str, array: Any, dtype: type = np.float32) -> str:
        self._constants.append(numpy_helper.from_array(np.asarray(array, dtype), name))
        return name

    def op(self, kind: str, name: str, *inputs: str, **attributes: Any) -> str:
        self._nodes.append(helper.make_node(kind, list(inputs), [name], name=f"node_{name}", **attributes))
        return name

    def conv(
        self,
        name: str,
        source: str,
        shape: tuple[int, ...],
        *,
        stride: int = 1,
        weight: Any = None,
        bias: Any = None,
        gain: float = 1.0,
    ) -> str:
        """3 x 3 or 1 x 1 by `shape` (out, in, k, k), constants NAME.w and NAME.b; bias False: none."""
        if weight is None:
            weight = self.rng.normal(size=shape) * gain * (2 / np.prod(shape[1:])) ** 0.5
        inputs = [source, self.constant(f"{name}.w", weight)]
        if bias is not False:
            inputs.append(self.constant(f"{name}.b", self.rng.normal(size=shape[0]) * 0.1 if bias is None else bias))
        return self.op("Conv", name, *inputs, pads=[shape[-1] // 2] * 4, strides=[stride, stride])

    def model(
        self, inputs: dict[str, Sequence[int]], outputs: dict[str, Sequence[int]], *, kind: int = TensorProto.FLOAT
    ) -> bytes:
        """Serialised, opset 18. Inputs are of `kind`, outputs float."""
        graph = helper.make_graph(
            self._nodes,
            "sketch",
            [helper.make_tensor_value_info(name, kind, shape) for name, shape in inputs.items()],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
            self._constants,
        )
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
        onnx.checker.check_model(made, full_check=True)
        return bytes(made.SerializeToString())


def _extractor() -> bytes:
    """image -> x in [-1, 1] and f: three convolutions, a skip connection, a pooling."""
    s = Sketch(seed=1)
    planes = s.op("Transpose", "planes", s.op("Cast", "levels", "image", to=TensorProto.FLOAT), perm=[0, 3, 1, 2])
    scaled = s.op("Div", "scaled", planes, s.constant("half", 127.5))
    x = s.op("Sub", "x", scaled, s.constant("one", 1.0))
    a = s.op("Relu", "a", s.conv("first", x, (8, 3, 3, 3), stride=2))
    b = s.op("MaxPool", "b", a, kernel_shape=[2, 2], strides=[2, 2])
    c = s.op("Relu", "c", s.op("Add", "sum", s.conv("second", b, (8, 8, 3, 3)), b))
    f = s.conv("f", c, (CHANNELS, 8, 1, 1))
    return s.model(
        {"image": [1, SIZE, SIZE, 3]},
        {x: [1, 3, SIZE, SIZE], f: [1, CHANNELS, GRID, GRID]},
        kind=TensorProto.UINT8,
    )


def _reconstructor() -> bytes:
    """x and f -> a small U with a concatenation -> what it thinks f is -> mean square of the difference, enlarged."""
    s = Sketch(seed=2)
    a = s.op("Relu", "a", s.conv("stem", "x", (8, 3, 3, 3), stride=2))
    b = s.op("Relu", "b", s.conv("down", a, (12, 8, 3, 3), stride=2))
    c = s.op("Relu", "c", s.conv("mix", s.op("Concat", "both", b, "f", axis=1), (12, 12 + CHANNELS, 3, 3)))
    up = s.op("Resize", "up", c, "", s.constant("twice", [1, 1, 2, 2]), mode="nearest", nearest_mode="floor",
              coordinate_transformation_mode="asymmetric")  # fmt: skip
    d = s.op("Relu", "d", s.conv("merge", s.op("Concat", "cat", up, a, axis=1), (8, 20, 3, 3)))
    mean = s.conv("mean", d, (CHANNELS, 8, 3, 3), stride=2, gain=0.5)
    difference = s.op("Sub", "difference", "f", mean)
    square = s.op("Mul", "square", difference, difference)
    score = s.op("ReduceMean", "score", square, s.constant("channel", [1], np.int64), keepdims=1)
    large = s.op("Resize", "large", score, "", s.constant("scales", [1, 1, SIZE // GRID, SIZE // GRID]), mode="linear")
    outputs = {"anomaly_map": large, "feature_score": score}
    for name, source in outputs.items():
        s.op("Squeeze", name, source, "channel")
    return s.model(
        {"x": [1, 3, SIZE, SIZE], "f": [1, CHANNELS, GRID, GRID]},
        {"anomaly_map": [1, SIZE, SIZE], "feature_score": [1, GRID, GRID]},
    )


@pytest.fixture(scope="session")
def sketch() -> type[Sketch]:
    """To write down a graph with."""
    return Sketch


@pytest.fixture(scope="session")
def pair() -> Graphs:
    """An extractor and a reconstructor with convolutions: 32 px, 8 x 8 grid, 6 features."""
    return Graphs(_extractor(), _reconstructor())


@pytest.fixture(scope="session")
def frames() -> np.ndarray:
    """uint8 (10, 32, 32, 3): smooth shades with noise, so that neighbours are alike as in pictures."""
    rng = np.random.default_rng(3)
    coarse = rng.uniform(40, 215, (10, 4, 4, 3))
    smooth = coarse.repeat(SIZE // 4, 1).repeat(SIZE // 4, 2)
    return np.clip(smooth + rng.normal(0, 8, smooth.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def calibrator(pair: Graphs, frames: np.ndarray) -> Calibrator:
    """What `pair` did on `frames`."""
    return Calibrator.watch(pair, frames)


@pytest.fixture(scope="session")
def reference() -> Callable[[bytes, dict[str, np.ndarray]], dict[str, np.ndarray]]:
    """(model, feed) -> outputs, by ONNX's own slow reference.

    It rounds every tensor of FP16 to FP16. ONNX Runtime's CPU provider has no FP16: it computes in FP32, and leaves out
    the casts between two such nodes, so that nothing overflows there.
    """

    def answers(model: bytes, feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        evaluator = ReferenceEvaluator(model)
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = evaluator.run(None, {name: feed[name] for name in evaluator.input_names})
        return dict(zip(evaluator.output_names, found, strict=True))

    return answers


@pytest.fixture(scope="session")
def run() -> Callable[..., dict[str, np.ndarray]]:
    """(model, feed, tensors=None, optimise=True) -> outputs, or tensors within the graph, by ONNX Runtime."""

    def answers(
        model: bytes, feed: dict[str, np.ndarray], tensors: Sequence[str] = (), *, optimise: bool = True
    ) -> dict[str, np.ndarray]:
        proto = onnx.load_from_string(model)
        if tensors:
            proto = onnx.shape_inference.infer_shapes(proto)
            kinds = {entry.name: entry for entry in (*proto.graph.value_info, *proto.graph.output)}
            known = {entry.name for entry in proto.graph.output}
            proto.graph.output.extend(kinds[name] for name in tensors if name not in known)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = 1
        if not optimise:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = onnxruntime.InferenceSession(
            proto.SerializeToString(), options, providers=["CPUExecutionProvider"],
            disabled_optimizers=["WeightBiasQuantization"],
        )  # fmt: skip
        names = list(tensors) or [entry.name for entry in session.get_outputs()]
        wanted = {entry.name for entry in session.get_inputs()}
        return dict(zip(names, session.run(names, {k: v for k, v in feed.items() if k in wanted}), strict=True))

    return answers
