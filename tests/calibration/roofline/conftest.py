"""Graphs of a few nodes, with sizes that can be counted by hand."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

Shape = tuple[int | str, ...]
Make = Callable[..., bytes]


def make(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Shape],
    outputs: Mapping[str, Shape],
    constants: Mapping[str, Any],
    *,
    half: bool = False,
) -> bytes:
    """A model of opset 17. Constants: arrays, float32 unless they are of integers; `half`: floats are FLOAT16."""
    kind, dtype = (TensorProto.FLOAT16, np.float16) if half else (TensorProto.FLOAT, np.float32)

    def stored(value: Any) -> Any:
        array = np.asarray(value)
        return array.astype(dtype) if array.dtype.kind == "f" else array

    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info(name, kind, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, kind, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(stored(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())


@pytest.fixture(name="make", scope="session")
def _make() -> Make:
    """See `make`."""
    return make


@pytest.fixture(scope="session")
def residual() -> Callable[..., bytes]:
    """x (1, 8, 16, 16) -> conv 3 x 3 -> Relu -> conv 3 x 3 -> Add(Relu) -> y; no biases.

    "fp32" and "fp16": all in that type. "int8": weights, data and the residual through Q and DQ, x and y in float32.
    """

    def build(precision: str = "fp32") -> bytes:
        rng = np.random.default_rng(0)
        weights = {name: rng.normal(0, 0.1, (8, 8, 3, 3)) for name in ("w1", "w2")}
        node = helper.make_node
        shapes: tuple[Mapping[str, Shape], Mapping[str, Shape]] = ({"x": (1, 8, 16, 16)}, {"y": (1, 8, 16, 16)})
        if precision != "int8":
            nodes = [
                node("Conv", ["x", "w1"], ["a"], name="first", pads=[1] * 4),
                node("Relu", ["a"], ["b"], name="relu"),
                node("Conv", ["b", "w2"], ["c"], name="second", pads=[1] * 4),
                node("Add", ["c", "b"], ["y"], name="add"),
            ]
            return make(nodes, *shapes, weights, half=precision == "fp16")
        scales = {"s": np.array(0.1), "z": np.array(0, np.int8)}
        whole = {name: (value * 100).astype(np.int8) for name, value in weights.items()}

        def quantised(name: str) -> list[onnx.NodeProto]:
            return [
                node("QuantizeLinear", [name, "s", "z"], [f"{name}_q"], name=f"{name}_q"),
                node("DequantizeLinear", [f"{name}_q", "s", "z"], [f"{name}_d"], name=f"{name}_dq"),
            ]

        nodes = [
            node("DequantizeLinear", ["w1", "s", "z"], ["w1_d"], name="w1_dq"),
            node("DequantizeLinear", ["w2", "s", "z"], ["w2_d"], name="w2_dq"),
            *quantised("x"),
            node("Conv", ["x_d", "w1_d"], ["a"], name="first", pads=[1] * 4),
            node("Relu", ["a"], ["b"], name="relu"),
            *quantised("b"),
            node("Conv", ["b_d", "w2_d"], ["c"], name="second", pads=[1] * 4),
            node("Add", ["c", "b_d"], ["y"], name="add"),
        ]
        return make(nodes, *shapes, scales | whole)

    return build
