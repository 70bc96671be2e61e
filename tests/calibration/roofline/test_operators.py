"""Operations of single nodes against counts by hand."""

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from diffad_calibration.lint.graphview import view
from diffad_calibration.precision.quantise import quantise_for_cpu
from diffad_calibration.profile.trace import TracedGraph
from diffad_calibration.profile.work import convolution_work
from diffad_calibration.roofline.operators import is_guessed, operations
from diffad_calibration.roofline.work import graph_work
from diffad_runtime.errors import DiffadError

Make = Callable[..., bytes]


def count(make: Make, kind: str, given: tuple[int, ...], *constants: Any, **attributes: Any) -> int:
    """Operations of one node that reads a tensor of that size, then constants ("" for an input left out)."""
    names = [f"c{index}" if value is not None else "" for index, value in enumerate(constants)]
    node = helper.make_node(kind, ["x", *names], ["y"], name="node", **attributes)
    values = {name: value for name, value in zip(names, constants, strict=True) if name}
    model = onnx.load_from_string(make([node], {"x": given}, {"y": ("?",)}, values))
    model.graph.output[0].type.tensor_type.ClearField("shape")
    graph = view(model)
    return operations(graph, graph.nodes[0])


def ones(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


@pytest.mark.parametrize(
    ("kind", "given", "constants", "attributes", "expected"),
    [
        # 16 x 8 x 8 values, each a sum of 3 x 3 x 3 products
        ("Conv", (1, 3, 16, 16), (ones(16, 3, 3, 3),), {"strides": [2, 2], "pads": [1] * 4}, 2 * 16 * 64 * 27),
        ("Conv", (1, 8, 16, 16), (ones(8, 1, 3, 3),), {"group": 8, "pads": [1] * 4}, 2 * 8 * 256 * 9),
        # every value of the input is multiplied by 4 x 2 x 2 weights
        ("ConvTranspose", (1, 6, 5, 5), (ones(6, 4, 2, 2),), {"strides": [2, 2]}, 2 * 6 * 25 * 16),
        ("MatMul", (5, 7), (ones(7, 3),), {}, 2 * 5 * 3 * 7),
        ("Gemm", (7, 5), (ones(3, 7), ones(3)), {"transA": 1, "transB": 1}, 2 * 5 * 3 * 7),
        ("Add", (1, 3, 4, 5), (ones(1, 3, 4, 5),), {}, 60),
        ("Add", (1, 3, 1, 1), (ones(1, 3, 4, 5),), {}, 60),
        ("Transpose", (2, 3, 4), (), {"perm": [2, 0, 1]}, 0),
        ("Reshape", (2, 3, 4), (np.array([6, 4]),), {}, 0),
        # linear in two directions: 4 products and 3 sums a value, 1 x 3 x 8 x 8 values; in one: 2 and 1
        ("Resize", (1, 3, 4, 4), (None, np.float32([1, 1, 2, 2])), {"mode": "linear"}, 192 * 7),
        ("Resize", (1, 3, 4, 4), (None, np.float32([1, 1, 2, 1])), {"mode": "linear"}, 96 * 3),
        ("Resize", (1, 3, 4, 4), (None, np.float32([1, 1, 2, 2])), {"mode": "nearest"}, 0),
        ("Resize", (1, 3, 4, 4), (None, np.float32([1, 1, 2, 2])), {"mode": "cubic"}, 192 * 31),
        ("AveragePool", (1, 3, 8, 8), (), {"kernel_shape": [4, 4], "strides": [4, 4]}, 3 * 4 * 16),
        ("GlobalAveragePool", (1, 3, 8, 8), (), {}, 192),
        ("ReduceMean", (1, 3, 8, 8), (), {"axes": [1]}, 192),
        ("Softmax", (4, 8), (), {}, 160),
        ("BatchNormalization", (1, 3, 4, 4), (ones(3), ones(3), ones(3), ones(3)), {}, 96),
    ],
)
def test_closed_forms(
    make: Make,
    kind: str,
    given: tuple[int, ...],
    constants: tuple[Any, ...],
    attributes: dict[str, Any],
    expected: int,
) -> None:
    assert count(make, kind, given, *constants, **attributes) == expected


def test_what_is_not_in_a_table_counts_one_a_value_and_is_said_to_be_guessed(make: Make) -> None:
    node = helper.make_node("CumSum", ["x", "axis"], ["y"], name="sum")
    model = make([node], {"x": (3, 5)}, {"y": (3, 5)}, {"axis": np.array(1)})
    work = graph_work(model)
    assert (work.total, work.guessed) == (15, ("CumSum",))
    assert not is_guessed(helper.make_node("ReduceSum", ["x"], ["y"]))


def test_a_size_that_is_not_known_is_named(make: Make) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["a"], name="r"), helper.make_node("Conv", ["a", "w"], ["y"], name="c")]
    model = make(nodes, {"x": (1, 3, "h", 8)}, {"y": (1, 4, "h", 8)}, {"w": ones(4, 3, 1, 1)})
    with pytest.raises(DiffadError, match=r"size of tensor '\w' is not known, expected numbers, got 1 x \d x \? x 8"):
        graph_work(model)
    with pytest.raises(DiffadError, match="not an ONNX graph"):
        graph_work(b"garbage")


def test_sizes_that_the_file_does_not_state_are_inferred(make: Make) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], name="c", pads=[1] * 4),
        helper.make_node("Conv", ["a", "w"], ["y"], name="d", pads=[1] * 4),
    ]
    model = onnx.load_from_string(make(nodes, {"x": (1, 4, 6, 6)}, {"y": (1, 4, 6, 6)}, {"w": ones(4, 4, 3, 3)}))
    assert not model.graph.value_info
    assert graph_work(model.SerializeToString()).total == 2 * 2 * 4 * 36 * 36


def test_control_flow_is_refused(make: Make) -> None:
    branch = helper.make_graph([helper.make_node("Identity", ["x"], ["z"])], "b", [], [
        helper.make_tensor_value_info("z", 1, [3])
    ])  # fmt: skip
    node = helper.make_node("If", ["c"], ["y"], name="fork", then_branch=branch, else_branch=branch)
    test = helper.make_node("Cast", ["x0"], ["c"], to=9)
    first = helper.make_node("ReduceSum", ["x"], ["x0"], keepdims=0)
    with pytest.raises(DiffadError, match="'fork' \\(If\\) holds a graph of its own"):
        graph_work(make([first, test, node], {"x": (3,)}, {"y": (3,)}, {}))


def test_convolutions_count_as_in_the_profile(residual: Callable[..., bytes]) -> None:
    feed = {"x": np.random.default_rng(1).normal(size=(1, 8, 16, 16)).astype(np.float32)}
    model = residual()
    quantised = quantise_for_cpu(model, [feed])
    with TracedGraph(quantised, 1) as traced:
        traced.run(feed)
        profile = convolution_work(quantised, traced.optimised, traced.finish().output_sizes)
    graph = view(onnx.load_from_string(model))
    counted = sum(operations(graph, node) for node in graph.of_type("Conv"))
    assert counted == 1e9 * (profile.int8_gop + profile.float_gop) == 2 * 2 * prod((8, 16, 16)) * 72
