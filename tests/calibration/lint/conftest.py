"""Small good graphs to plant faults in: FP32, and quantised by onnxruntime for each family of backends."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from diffad_calibration.precision.onnxfile import quiet

SIDE = 16
WEIGHTED = ["Conv", "Gemm", "MatMul"]


class Frames(CalibrationDataReader):
    def __init__(self) -> None:
        rng = np.random.default_rng(1)
        self._frames: Iterator[dict[str, np.ndarray]] = iter(
            [{"image": rng.integers(0, 256, (1, SIDE, SIDE, 3), np.uint8)} for _ in range(3)]
        )

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._frames, None)


def _float() -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array(np.float32(1 / 255), "level"),
        numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "twice"),
    ]
    for name, shape in (("one", (8, 3, 3, 3)), ("two", (8, 8, 3, 3)), ("three", (4, 16, 1, 1))):
        weights.append(numpy_helper.from_array(rng.normal(0, 0.2, shape).astype(np.float32), f"{name}.weight"))
        weights.append(numpy_helper.from_array(rng.normal(0, 0.1, shape[0]).astype(np.float32), f"{name}.bias"))
    make = helper.make_node
    nodes = [
        make("Cast", ["image"], ["levels"], name="cast", to=TensorProto.FLOAT),
        make("Transpose", ["levels"], ["planes"], name="transpose", perm=[0, 3, 1, 2]),
        make("Mul", ["planes", "level"], ["x"], name="mul"),
        make("Conv", ["x", "one.weight", "one.bias"], ["a"], name="one", pads=[1] * 4),
        make("Relu", ["a"], ["b"], name="relu"),
        make("MaxPool", ["b"], ["c"], name="pool", kernel_shape=[2, 2], strides=[2, 2]),
        make("Conv", ["c", "two.weight", "two.bias"], ["d"], name="two", pads=[1] * 4),
        make("Resize", ["d", "", "twice"], ["e"], name="resize", mode="linear"),
        make("Concat", ["b", "e"], ["f"], name="concat", axis=1),
        make("Conv", ["f", "three.weight", "three.bias"], ["g"], name="three"),
        make("Add", ["g", "g"], ["map"], name="add"),
    ]
    inputs = [helper.make_tensor_value_info("image", TensorProto.UINT8, [1, SIDE, SIDE, 3])]
    outputs = [helper.make_tensor_value_info("map", TensorProto.FLOAT, [1, 4, SIDE, SIDE])]
    graph = helper.make_graph(nodes, "small", inputs, outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def _quantised(folder: Path, activations: QuantType, **options: Any) -> onnx.ModelProto:
    onnx.save(_float(), folder / "float.onnx")
    with quiet():
        quantize_static(
            folder / "float.onnx",
            folder / "int8.onnx",
            Frames(),
            quant_format=QuantFormat.QDQ,
            activation_type=activations,
            weight_type=QuantType.QInt8,
            per_channel=True,
            op_types_to_quantize=WEIGHTED,
            extra_options={
                "WeightSymmetric": True,
                "OpTypesToExcludeOutputQuantization": WEIGHTED,
                **options,
            },
        )
    return onnx.load(folder / "int8.onnx")


@pytest.fixture(scope="session")
def good(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], onnx.ModelProto]:
    """A fresh copy of the good graph for a target."""
    trt = {"ActivationSymmetric": True, "QuantizeBias": False}
    made = {
        "any": _float(),
        "cpu": _quantised(tmp_path_factory.mktemp("cpu"), QuantType.QUInt8),
        "tensorrt": _quantised(tmp_path_factory.mktemp("trt"), QuantType.QInt8, **trt),
    }

    def copy(target: str) -> onnx.ModelProto:
        fresh = onnx.ModelProto()
        fresh.CopyFrom(made[target])
        return fresh

    return copy
