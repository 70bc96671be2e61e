"""Bytes and operations of kernels against counts by hand, by precision."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import helper

from diffad_calibration.lint.graphview import view
from diffad_calibration.roofline.operators import operations
from diffad_calibration.roofline.work import graph_work

Build = Callable[..., bytes]
VALUES = 8 * 16 * 16
WEIGHTS = 8 * 8 * 9
PRODUCTS = 2 * VALUES * 72


def test_a_residual_block_in_fp32(residual: Build) -> None:
    first, second = graph_work(residual()).kernels
    assert (first.name, first.kind, first.nodes) == ("first", "Conv", ("first", "relu"))
    assert first.operations == {"tf32": PRODUCTS, "cuda": VALUES}
    assert (first.read, first.weights, first.written) == (4 * VALUES, 4 * WEIGHTS, 4 * VALUES)
    assert (second.name, second.nodes) == ("second", ("second", "add"))
    assert second.read == 4 * VALUES  # the residual is the same tensor, read once
    assert second.intensity == (PRODUCTS + VALUES) / (8 * VALUES + 4 * WEIGHTS)
    assert first.apart == second.apart == 0


def test_without_tf32_the_products_are_of_cuda_cores(residual: Build) -> None:
    work = graph_work(residual(), tf32=False)
    assert [kernel.operations for kernel in work.kernels] == [{"fp32": PRODUCTS, "cuda": VALUES}] * 2


def test_int8_moves_a_quarter_and_fp16_half(residual: Build) -> None:
    exact, half = graph_work(residual()), graph_work(residual("fp16"))
    assert half.moved[0] * 2 == exact.moved[0]
    assert {rate for kernel in half.kernels for rate in kernel.operations} == {"fp16", "cuda"}
    rounding, first, second = graph_work(residual("int8")).kernels
    assert (rounding.kind, rounding.read, rounding.written) == ("Elementwise", 4 * VALUES, VALUES)
    ours = exact.kernels[0]
    assert (4 * first.read, 4 * first.weights, 4 * first.written) == (ours.read, ours.weights, ours.written)
    assert first.operations["int8"] == ours.operations["tf32"]
    assert (second.read, second.weights, second.written) == (VALUES, WEIGHTS, 4 * VALUES)  # the output is float


def test_int8_may_be_two_kernels_with_float_between(residual: Build) -> None:
    work = graph_work(residual("int8"))
    assert [kernel.apart for kernel in work.kernels] == [0, 2 * 4 * VALUES, 2 * 4 * VALUES]
    assert work.launches == (3, 5)
    assert work.moved[1] == work.moved[0] + 16 * VALUES


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_kernels_add_up_to_the_graph(residual: Build, precision: str) -> None:
    model = residual(precision)
    work, graph = graph_work(model), view(onnx.load_from_string(model))
    assert work.total == sum(kernel.total for kernel in work.kernels)
    # what reads a tensor that Q made does not compute; weights are dequantised when the engine is built
    counted = sum(operations(graph, node) for node in graph.nodes if node.op_type != "DequantizeLinear")
    assert work.total == counted
    assert work.weights == 2 * WEIGHTS * {"fp32": 4, "fp16": 2, "int8": 1}[precision]
    assert work.float_weights == 2 * WEIGHTS * 4


def test_depthwise_convolutions_are_not_for_tensor_cores(make: Build) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "thin"], ["a"], name="depthwise", group=16),
        helper.make_node("Conv", ["a", "wide"], ["y"], name="grouped", group=2),
    ]
    weights = {"thin": np.ones((16, 1, 1, 1)), "wide": np.ones((16, 8, 1, 1))}
    first, second = graph_work(make(nodes, {"x": (1, 16, 4, 4)}, {"y": (1, 16, 4, 4)}, weights)).kernels
    assert first.operations == {"cuda": 2 * 256}
    assert second.operations == {"tf32": 2 * 256 * 8}


def test_a_weight_that_two_kernels_read_is_moved_twice_and_kept_once(make: Build) -> None:
    nodes = [helper.make_node("Conv", [name, "w"], [made], name=made) for name, made in (("x", "a"), ("a", "y"))]
    work = graph_work(make(nodes, {"x": (1, 4, 2, 2)}, {"y": (1, 4, 2, 2)}, {"w": np.ones((4, 4, 1, 1))}))
    assert [kernel.weights for kernel in work.kernels] == [64, 64]
    assert work.weights == 64


def test_what_must_be_in_memory_at_one_time(make: Build) -> None:
    # x and y (64 bytes each) all along; a and b at once while b is made, then b and c
    nodes = [helper.make_node("MaxPool", [name], [made], name=made, kernel_shape=[1, 1])
             for name, made in (("x", "a"), ("a", "b"), ("b", "c"), ("c", "y"))]  # fmt: skip
    work = graph_work(make(nodes, {"x": (1, 1, 4, 4)}, {"y": (1, 1, 4, 4)}, {}))
    assert work.live == 4 * 64


def test_what_depends_on_constants_and_sizes_alone_is_not_run(make: Build) -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["size"], name="shape"),
        helper.make_node("Add", ["c", "c"], ["twice"], name="folded"),
        helper.make_node("Add", ["x", "twice"], ["b"], name="add"),
        helper.make_node("Reshape", ["b", "size"], ["y"], name="reshape"),
    ]
    (only,) = graph_work(make(nodes, {"x": (2, 3)}, {"y": (2, 3)}, {"c": np.ones(3)})).kernels
    assert (only.nodes, only.weights) == (("add",), 12)
