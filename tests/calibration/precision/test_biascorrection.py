"""Bias correction: means of channels are those of the float graph afterwards, with a bias and without one before."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from diffad_calibration.precision.biascorrection import bias_shifts, channel_means
from diffad_calibration.precision.coverage import int8_coverage
from diffad_calibration.precision.int8ranges import int8_ranges
from diffad_calibration.precision.quantise import quantise_for_cpu
from diffad_calibration.precision.ranges import collect
from diffad_calibration.precision.recipes import CPU, TENSORRT, Recipe, quantise
from diffad_runtime.errors import DiffadError

SIZE, MIDDLE, OUT = 12, 6, 5


def network(*, bias: bool = True) -> bytes:
    """Two convolutions; the second sums 54 ReLUs, all positive, so that what rounding does to its weights adds up."""
    rng = np.random.default_rng(0)
    arrays = {
        "a.w": rng.normal(size=(MIDDLE, 3, 3, 3)),
        "b.w": rng.normal(size=(OUT, MIDDLE, 3, 3)) * np.where(rng.random((OUT, MIDDLE, 3, 3)) < 0.05, 30, 1),
        "a.b": np.full(MIDDLE, 2.0),
        "b.b": rng.normal(size=OUT),
    }
    own = [["a.b"], ["b.b"]] if bias else [["a.b"], []]
    nodes = [
        helper.make_node("Conv", ["x", "a.w", *own[0]], ["a"], name="first", pads=[1] * 4),
        helper.make_node("Relu", ["a"], ["h"], name="relu"),
        helper.make_node("Conv", ["h", "b.w", *own[1]], ["y"], name="second", pads=[1] * 4),
    ]
    graph = helper.make_graph(
        nodes,
        "two",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, OUT, SIZE, SIZE])],
        [
            numpy_helper.from_array(value.astype(np.float32), name)
            for name, value in arrays.items()
            if bias or name != "b.b"
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return bytes(model.SerializeToString())


def feeds(count: int = 12) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(1)
    return [{"x": rng.uniform(-1, 1, (1, 3, SIZE, SIZE)).astype(np.float32)} for _ in range(count)]


def answers(model: bytes) -> np.ndarray:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, feed)[0] for feed in feeds()])


@pytest.mark.parametrize("bias", [True, False])
def test_channel_means_are_those_of_the_float_graph(bias: bool) -> None:
    model = network(bias=bias)
    expected = answers(model).mean((0, 2, 3))
    off = {}
    for correct in (False, True):
        made = quantise_for_cpu(model, feeds(), correct_bias=correct)
        assert int8_coverage(made).qlinear_conv == 2
        off[correct] = np.abs(answers(made).mean((0, 2, 3)) - expected).max()
    step = int8_ranges(quantise_for_cpu(model, feeds()))["b.w"].output
    assert step is not None
    assert off[False] > 0.2 * step.scale  # there is something to correct
    assert off[True] < 0.1 * off[False], f"{off[False]} before, {off[True]} after"


def branched(sketch: type) -> bytes:
    """Five convolutions: one across a skip connection, one behind a concatenation, one ("kept") that stays float."""
    s = sketch()
    a = s.op("Relu", "a", s.conv("first", "x", (8, 3, 3, 3), bias=np.full(8, 0.5)))
    b = s.op("Relu", "b", s.op("Add", "sum", s.conv("around", a, (8, 8, 3, 3)), a))
    c = s.op("Relu", "c", s.conv("kept", b, (6, 8, 3, 3)))
    d = s.op("Relu", "d", s.conv("after", s.op("Concat", "both", c, a, axis=1), (8, 14, 3, 3), bias=False))
    s.conv("last", s.op("MaxPool", "small", d, kernel_shape=[2, 2], strides=[2, 2]), (OUT, 8, 1, 1))
    return bytes(s.model({"x": [1, 3, SIZE, SIZE]}, {"last": [1, OUT, SIZE // 2, SIZE // 2]}))


@pytest.mark.parametrize("recipe", [CPU, TENSORRT], ids=["cpu", "tensorrt"])
def test_shifts_are_those_of_running_the_whole_graph_for_each(
    recipe: Recipe, sketch: type, run: Callable[..., Any]
) -> None:
    model, frames, kept = branched(sketch), feeds(4), ["kept"]
    ranges = collect(model, frames).ranges("minmax", symmetric=recipe.symmetric)

    def means(made: bytes, node: str) -> np.ndarray:
        tensor = next(one.output[0] for one in onnx.load_from_string(made).graph.node if one.name == node)
        return np.mean([run(made, feed, [tensor])[tensor].mean((0, 2, 3), dtype=np.float64) for feed in frames], 0)

    slow: dict[str, np.ndarray] = {}
    for node in ("node_first", "node_around", "node_after", "node_last"):
        so_far = quantise(model, recipe, ranges, keep_float=kept, shifts=slow)
        slow[node] = (means(model, node) - means(so_far, node)).astype(np.float32)

    found = bias_shifts(model, quantise(model, recipe, ranges, keep_float=kept), frames)
    assert list(found) == list(slow)
    largest = max(np.abs(shift).max() for shift in slow.values())
    assert largest > 5e-3  # there is something to correct
    for node, shift in slow.items():
        # On a CPU a bias is a whole number of steps, which tips a few values to their other neighbour.
        atol = 0.1 * largest if recipe == CPU else 1e-6
        np.testing.assert_allclose(found[node], shift, atol=atol, err_msg=node)
    for node in slow:
        off = means(quantise(model, recipe, ranges, keep_float=kept, shifts=found), node) - means(model, node)
        assert np.abs(off).max() < (0.1 * largest if recipe == CPU else 1e-6), node


def test_channel_means_within_a_graph() -> None:
    proto = onnx.load_from_string(network())
    (inside,) = channel_means(proto, ["a"], feeds())
    weight = numpy_helper.to_array(next(entry for entry in proto.graph.initializer if entry.name == "a.w"))
    slow = np.zeros(MIDDLE)
    for feed in feeds():
        padded = np.pad(feed["x"][0], ((0, 0), (1, 1), (1, 1)))
        for row in range(SIZE):
            for column in range(SIZE):
                slow += 2 + np.tensordot(weight, padded[:, row : row + 3, column : column + 3], 3)
    np.testing.assert_allclose(inside, slow / (12 * SIZE * SIZE), atol=1e-5)
    assert [output.name for output in proto.graph.output] == ["y"]


def test_ranges_are_read_back_by_weight() -> None:
    made = quantise_for_cpu(network(), feeds(), correct_bias=False)
    ranges = int8_ranges(made)
    assert ranges.keys() == {"a.w", "b.w"}
    first, second = ranges["a.w"], ranges["b.w"]
    assert first.output == second.input  # the ReLU is part of the first, and nothing lies between
    assert second.input.zero_point == 0
    highest = max(feed["x"].max() for feed in feeds())
    lowest = min(feed["x"].min() for feed in feeds())
    assert first.input.scale == pytest.approx((highest - lowest) / 255, rel=1e-5)
    assert first.bias is not None
    np.testing.assert_allclose(first.bias, 2.0, atol=1e-3)
    with pytest.raises(DiffadError, match="no INT8 convolution"):
        int8_ranges(network())
