"""Which nodes share a kernel; that every node has one and none waits for itself; TensorRT-RTX where it is there."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from diffad_calibration import oracle
from diffad_calibration.lint.graphview import view
from diffad_calibration.roofline.fusion import Group, fuse
from diffad_calibration.roofline.work import graph_work

Make = Callable[..., bytes]
WEIGHTS = np.ones((4, 4, 3, 3), np.float32)


def groups(nodes: list[onnx.NodeProto], *outputs: str, make: Make, inputs: tuple[str, ...] = ("x",)) -> list[Group]:
    shape = (1, 4, 8, 8)
    model = make(nodes, dict.fromkeys(inputs, shape), {}, {"w": WEIGHTS, "two": np.float32([1, 1, 2, 2])})
    proto = onnx.load_from_string(model)
    proto.graph.output.extend(helper.make_tensor_value_info(name, 1, None) for name in outputs)
    return fuse(view(proto))


def names(found: list[Group]) -> list[list[str]]:
    return [[node.name for node in group.nodes] for group in found]


def node(kind: str, made: str, *read: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(kind, list(read), [made], name=made, **attributes)


def conv(made: str, read: str) -> onnx.NodeProto:
    return node("Conv", made, read, "w", pads=[1] * 4)


def test_a_convolution_takes_in_what_is_elementwise_behind_it(make: Make) -> None:
    found = groups([conv("a", "x"), node("Relu", "b", "a"), conv("c", "b"), node("Add", "y", "c", "b")], "y", make=make)
    assert names(found) == [["a", "b"], ["c", "y"]]
    assert found[1].reads == ("b",)
    assert found[0].writes == ("b",)
    assert found[1].constants == ("w",)


def test_branches_that_meet_again_stay_in_one_kernel(make: Make) -> None:
    found = groups([conv("a", "x"), node("Sigmoid", "s", "a"), node("Mul", "y", "a", "s")], "y", make=make)
    assert names(found) == [["a", "s", "y"]]
    assert found[0].writes == ("y",)


def test_a_tensor_that_a_convolution_or_the_caller_reads_is_not_fused_away(make: Make) -> None:
    found = groups([conv("a", "x"), node("Relu", "b", "a"), conv("c", "a")], "b", "c", make=make)
    assert sorted(names(found)) == [["a"], ["b"], ["c"]]
    found = groups([conv("a", "x"), node("Relu", "b", "a")], "a", "b", make=make)
    assert names(found) == [["a"], ["b"]]


def test_a_follower_that_grows_the_tensor_is_a_kernel_of_its_own(make: Make) -> None:
    nodes = [conv("a", "x"), node("GlobalAveragePool", "m", "a"), conv("c", "m"), node("Mul", "y", "c", "x")]
    assert names(groups(nodes, "y", make=make)) == [["a"], ["m"], ["c"], ["y"]]


def test_resize_starts_a_kernel_and_is_followed(make: Make) -> None:
    nodes = [
        conv("a", "x"),
        node("Relu", "b", "a"),
        node("Resize", "r", "b", "", "two", mode="nearest"),
        node("Add", "y", "r", "r"),
    ]
    assert names(groups(nodes, "y", make=make)) == [["a", "b"], ["r", "y"]]


def test_other_names_of_the_same_memory_cost_nothing(make: Make) -> None:
    nodes = [conv("a", "x"), node("Squeeze", "s", "a"), node("Identity", "y", "s")]
    found = groups(nodes, "y", make=make)
    assert names(found) == [["a"]]
    assert found[0].writes == ("a",)


def test_two_kernels_never_wait_for_each_other(make: Make) -> None:
    # y could join b's kernel, but the pool needs b and y needs the pool.
    nodes = [
        node("Relu", "b", "x"),
        node("MaxPool", "p", "b", kernel_shape=[1, 1]),
        conv("c", "p"),
        node("Add", "y", "b", "p"),
    ]
    assert names(groups(nodes, "c", "y", make=make)) == [["b"], ["p"], ["c"], ["y"]]


def test_rounding_goes_with_who_makes_and_reading_costs_nothing(residual: Callable[..., bytes]) -> None:
    found = fuse(view(onnx.load_from_string(residual("int8"))))
    assert names(found) == [["x_q"], ["first", "relu", "b_q"], ["second", "add"]]
    assert [group.reads for group in found] == [("x",), ("x_q",), ("b_q",)]


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_every_node_once_and_makers_before_readers(make: Make, data: st.DataObject) -> None:
    made, nodes = ["x"], []
    for index in range(data.draw(st.integers(1, 14))):
        kind = data.draw(st.sampled_from(["Conv", "Relu", "Add", "MaxPool", "Identity", "Transpose"]))
        first, second = (data.draw(st.sampled_from(made)) for _ in range(2))
        name = f"t{index}"
        if kind == "Conv":
            nodes.append(conv(name, first))
        elif kind == "MaxPool":
            nodes.append(node("MaxPool", name, first, kernel_shape=[3, 3], pads=[1] * 4))
        elif kind == "Transpose":
            nodes.append(node("Transpose", name, first, perm=[0, 1, 3, 2]))
        else:
            nodes.append(node(kind, name, *([first, second] if kind == "Add" else [first])))
        made.append(name)
    found = groups(nodes, made[-1], make=make)
    placed = [name for group in names(found) for name in group]
    assert sorted(placed) == sorted(one.name for one in nodes if one.op_type != "Identity")
    there = {"x"}
    for group in found:
        assert there.issuperset(group.reads)
        there.update(group.writes)


@pytest.mark.skipif(not oracle.available(), reason="tensorrt_rtx is not installed")
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_as_the_builder_of_tensorrt_rtx_fuses(residual: Callable[..., bytes], precision: str) -> None:
    model = residual(precision)
    report, work = oracle.build_report(model, precision), graph_work(model)
    layers = [layer for layer in report.layers if layer.nodes]  # without its copies of inputs and outputs
    theirs = sum(tensor.bytes for layer in layers for tensor in {*layer.inputs, *layer.outputs})  # each once
    ours = sum(kernel.read + kernel.written for kernel in work.kernels)
    assert work.launches[0] <= len(layers) <= work.launches[1]
    assert 0.95 * ours <= theirs <= 1.05 * (ours + sum(kernel.apart for kernel in work.kernels))
