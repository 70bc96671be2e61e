"""Sizes of what operators give: the same as onnx's own shape inference, wherever it says any."""

from math import prod

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper, shape_inference

from diffad_runtime.bundle.onnxcall import Call, ShapeError
from diffad_runtime.bundle.onnxgraph import read_graph
from diffad_runtime.bundle.onnxlimits import check_limits
from diffad_runtime.bundle.onnxshapes import RULES, output_shapes
from diffad_runtime.errors import BundleError

Sizes = tuple[int, ...]


def model(
    node: onnx.NodeProto,
    inputs: dict[str, Sizes],
    constants: dict[str, np.ndarray] | None = None,
    opset: int = 18,
    kind: int = TensorProto.FLOAT,
) -> bytes:
    """One operator; outputs of any size."""
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info(name, kind, sizes) for name, sizes in inputs.items()],
        [helper.make_tensor_value_info(name, kind, None) for name in node.output],
        [numpy_helper.from_array(values, name) for name, values in (constants or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9).SerializeToString()


def ours(data: bytes) -> list[Sizes] | None:
    """By our rules; None where they refuse."""
    graph = read_graph(data, "g.onnx")
    shapes = {**graph.inputs, **{name: weight.shape for name, weight in graph.weights.items()}}
    (node,) = graph.nodes
    try:
        made = output_shapes(Call(node, [shapes[name] if name else () for name in node.inputs], graph.weights))
    except ShapeError:
        return None
    return list(made)[: len(node.outputs)]


def theirs(data: bytes) -> list[Sizes] | None:
    """By onnx; None where it refuses, or knows no size."""
    try:
        inferred = shape_inference.infer_shapes(onnx.load_from_string(data), strict_mode=True, data_prop=True)
    except onnx.shape_inference.InferenceError:
        return None
    found = []
    for value in inferred.graph.output:
        if not value.type.tensor_type.HasField("shape"):
            return None
        found.append(tuple(side.dim_value for side in value.type.tensor_type.shape.dim))
    return found


def agree(data: bytes) -> None:
    """Where both say sizes, the same; where onnx finds the node valid and ours to be known, ours says so too."""
    expected, got = theirs(data), ours(data)
    if expected is not None and got is not None:
        assert got == expected
    if expected is not None and got is None:
        assert any(min(sizes, default=1) < 1 for sizes in expected), f"refused, though onnx says {expected}"


SIDE = st.integers(1, 9)
SHAPE = st.lists(SIDE, min_size=1, max_size=4).map(tuple)


def _i(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


@settings(max_examples=300, deadline=None)
@given(
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    sides=st.tuples(st.integers(3, 12), st.integers(3, 12)),
    strides=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    dilations=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    pad=st.integers(0, 2),
    group=st.integers(1, 3),
    ceil_mode=st.integers(0, 1),
    operator=st.sampled_from(["Conv", "MaxPool", "AveragePool", "ConvTranspose"]),
)
def test_windows(
    kernel: Sizes,
    sides: Sizes,
    strides: Sizes,
    dilations: Sizes,
    pad: int,
    group: int,
    ceil_mode: int,
    operator: str,
) -> None:
    pads = [min(pad, side - 1) for side in kernel] * 2
    told = {"strides": strides, "pads": pads}
    x = {"x": (1, 2 * group, *sides)}
    if operator == "Conv":
        node = helper.make_node("Conv", ["x", "w"], ["y"], group=group, dilations=dilations, **told)
        data = model(node, x, {"w": np.zeros((group, 2, *kernel), np.float32)})
    elif operator == "ConvTranspose":
        node = helper.make_node("ConvTranspose", ["x", "w"], ["y"], group=group, **told)
        data = model(node, x, {"w": np.zeros((2 * group, 3, *kernel), np.float32)})
    else:
        # The last window may begin in the padding, which ONNX counted differently from one version to the next.
        ceil_mode = 0 if pad else ceil_mode
        node = helper.make_node(operator, ["x"], ["y"], kernel_shape=kernel, ceil_mode=ceil_mode, **told)
        data = model(node, x)
    expected, got = theirs(data), ours(data)
    if expected is None or got is None:
        assert expected is None or got is None
        return
    if ceil_mode:  # of windows that would begin beyond the input, onnx leaves the last one out since opset 18
        assert all(0 <= a - b <= 1 for a, b in zip(got[0], expected[0], strict=True))
    else:
        assert got == expected


@settings(max_examples=200, deadline=None)
@given(a=SHAPE, b=SHAPE, operator=st.sampled_from(["Add", "Mul", "MatMul", "Max"]))
def test_two_of_any_size(a: Sizes, b: Sizes, operator: str) -> None:
    agree(model(helper.make_node(operator, ["a", "b"], ["y"]), {"a": a, "b": b}))


@settings(max_examples=200, deadline=None)
@given(
    x=SHAPE, axes=st.lists(st.integers(-4, 3), max_size=3, unique=True), keep=st.integers(0, 1), noop=st.integers(0, 1)
)
def test_reductions(x: Sizes, axes: list[int], keep: int, noop: int) -> None:
    node = helper.make_node("ReduceMean", ["x", "axes"], ["y"], keepdims=keep, noop_with_empty_axes=noop)
    if len({axis % len(x) for axis in axes}) == len(axes):
        agree(model(node, {"x": x}, {"axes": _i(*axes)}))


@settings(max_examples=300, deadline=None)
@given(
    x=SHAPE, wanted=st.lists(st.sampled_from([-1, 0, 1, 2, 3, 4, 6, 9]), min_size=1, max_size=4), zero=st.integers(0, 1)
)
def test_reshape(x: Sizes, wanted: list[int], zero: int) -> None:
    data = model(helper.make_node("Reshape", ["x", "s"], ["y"], allowzero=zero), {"x": x}, {"s": _i(*wanted)})
    expected = theirs(data)
    if expected is not None and prod(expected[0]) != prod(x):  # which onnx does not look at
        assert ours(data) is None
    else:
        agree(data)


@settings(max_examples=300, deadline=None)
@given(
    x=SHAPE,
    cuts=st.lists(
        st.tuples(st.integers(-12, 12), st.integers(-12, 12), st.sampled_from([-3, -1, 1, 2])), min_size=1, max_size=2
    ),
)
def test_slice(x: Sizes, cuts: list[Sizes]) -> None:
    cuts = cuts[: len(x)]
    starts, ends, steps = (_i(*part) for part in zip(*cuts, strict=True))
    node = helper.make_node("Slice", ["x", "s", "e", "a", "t"], ["y"])
    agree(model(node, {"x": x}, {"s": starts, "e": ends, "a": _i(*range(len(cuts))), "t": steps}))


@settings(max_examples=200, deadline=None)
@given(x=SHAPE, axis=st.integers(-5, 4), count=st.integers(1, 3), data=st.data())
def test_moves_along_an_axis(x: Sizes, axis: int, count: int, data: st.DataObject) -> None:
    agree(model(helper.make_node("Concat", ["x"] * count, ["y"], axis=axis), {"x": x}))
    agree(
        model(helper.make_node("Split", ["x"], [f"y{i}" for i in range(count)], axis=axis, num_outputs=count), {"x": x})
    )
    agree(model(helper.make_node("Flatten", ["x"], ["y"], axis=axis), {"x": x}))
    agree(model(helper.make_node("Squeeze", ["x", "a"], ["y"]), {"x": x}, {"a": _i(axis)}))
    agree(model(helper.make_node("Unsqueeze", ["x", "a"], ["y"]), {"x": x}, {"a": _i(axis)}))
    agree(model(helper.make_node("Gather", ["x", "i"], ["y"], axis=axis), {"x": x}, {"i": np.zeros((2, 1), np.int64)}))
    order = data.draw(st.permutations(range(len(x))))
    agree(model(helper.make_node("Transpose", ["x"], ["y"], perm=order), {"x": x}))
    agree(model(helper.make_node("Tile", ["x", "t"], ["y"]), {"x": x}, {"t": _i(*([count] * len(x)))}))
    agree(model(helper.make_node("Expand", ["x", "t"], ["y"]), {"x": x}, {"t": _i(count, *([1] * len(x)))}))
    pads = data.draw(st.lists(st.integers(0, 3), min_size=2 * len(x), max_size=2 * len(x)))
    agree(model(helper.make_node("Pad", ["x", "p"], ["y"]), {"x": x}, {"p": _i(*pads)}))
    scales = np.array(
        data.draw(st.lists(st.sampled_from([0.5, 1, 1.5, 2]), min_size=len(x), max_size=len(x))), np.float32
    )
    agree(model(helper.make_node("Resize", ["x", "", "s"], ["y"]), {"x": x}, {"s": scales}))
    agree(model(helper.make_node("Resize", ["x", "", "", "s"], ["y"]), {"x": x}, {"s": _i(*(2 * side for side in x))}))


@pytest.mark.parametrize(
    ("node", "x"),
    [
        (helper.make_node("Gemm", ["x", "x"], ["y"], transB=1), (3, 5)),
        (helper.make_node("Gemm", ["x", "x"], ["y"], transA=1), (3, 5)),
        (helper.make_node("GlobalAveragePool", ["x"], ["y"]), (1, 3, 5, 7)),
        (helper.make_node("DepthToSpace", ["x"], ["y"], blocksize=2), (1, 8, 3, 5)),
        (helper.make_node("SpaceToDepth", ["x"], ["y"], blocksize=2), (1, 3, 4, 6)),
        (helper.make_node("ArgMax", ["x"], ["y"], axis=-1, keepdims=0), (2, 3, 4)),
        (helper.make_node("Softmax", ["x"], ["y"]), (2, 3)),
        (helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT16), (2, 3)),
        (helper.make_node("Constant", [], ["y"], value=numpy_helper.from_array(np.zeros((4, 2), np.float32))), (1,)),
    ],
)
def test_others(node: onnx.NodeProto, x: Sizes) -> None:
    data = model(node, {"x": x})
    assert ours(data) is not None
    agree(data)


def test_every_operator_of_the_rules_is_one_of_onnx() -> None:
    known = {schema.name for schema in onnx.defs.get_all_schemas()}
    assert set(RULES) <= known


def _grown(times: int) -> bytes:
    nodes = [helper.make_node("Concat", [f"d{i}", f"d{i}"], [f"d{i + 1}"], axis=0) for i in range(times)]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "g", [value("d0", TensorProto.FLOAT, [1])], [value(f"d{times}", TensorProto.FLOAT, None)]
    )
    return helper.make_model(graph).SerializeToString()


def test_what_grows_by_itself_is_stopped() -> None:
    """512 planes of 128 x 128 at least: 2^23 values."""
    check_limits(_grown(23), "g.onnx", 32)
    with pytest.raises(BundleError, match=r"operator 23, 'Concat', gives 16777216 values, at most 8388608 allowed"):
        check_limits(_grown(24), "g.onnx", 32)
    check_limits(_grown(24), "g.onnx", 256)


def test_all_values_together_and_the_work_are_bounded() -> None:
    x = {"x": (8, 1024, 1024)}
    many = [helper.make_node("Relu", ["x"], [f"y{i}"]) for i in range(20)]
    value = helper.make_tensor_value_info
    inputs = [value("x", TensorProto.FLOAT, x["x"])]
    graph = helper.make_graph(many, "g", inputs, [value("y0", TensorProto.FLOAT, None)])
    data = helper.make_model(graph).SerializeToString()
    with pytest.raises(BundleError, match="has 167772160 values to compute, at most 134217728 allowed"):
        check_limits(data, "g.onnx", 32)
    heavy = model(helper.make_node("MatMul", ["a", "b"], ["y"]), {"a": (2048, 1 << 14), "b": (1 << 14, 2048)})
    with pytest.raises(BundleError, match="has 68719476736 multiplications to make, at most 34359738368 allowed"):
        check_limits(heavy, "g.onnx", 32)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda m: m.graph.node.add(op_type="Loop", output=["z"]), "'Loop', is none that this release knows"),
        (lambda m: m.graph.node.add(op_type="Relu", input=["no"], output=["z"]), "takes 'no', which nothing before"),
        (lambda m: m.graph.node.add(op_type="Relu", input=["x"], output=["y"]), "gives 'y', which is there already"),
        (lambda m: m.graph.node.add(op_type="Relu", domain="com.microsoft"), "of the domain 'com.microsoft'"),
        (
            lambda m: m.graph.node.add(op_type="Cast", input=["x"], output=["z"]).attribute.add(name="to", type=2, i=8),
            "casts to the type 8",
        ),
        (lambda m: m.graph.node[0].attribute.add(name="a").g.node.add(), "graphs or tensors inside attributes"),
        (lambda m: m.graph.node[0].attribute.add(name="a", i=1, s=b"1"), "'a' two values"),
        (lambda m: m.graph.node.add(op_type="AveragePool", input=["x"]), "cannot be worked out|gives 0 outputs"),
        (lambda m: m.graph.node.add(op_type="Relu", input=["x"]), "gives 0 outputs, expected"),
        (lambda m: m.graph.output[0].MergeFromString(b"\x0a\x03\x1b[2"), "name that cannot be printed"),
        (lambda m: m.graph.node.add(op_type="Relu", name="\x7f"), "name that cannot be printed"),
        (lambda m: m.functions.add(name="f"), "functions or training"),
        (lambda m: m.training_info.add(), "functions or training"),
        (lambda m: m.graph.sparse_initializer.add(), "sparse tensors"),
        (
            lambda m: m.graph.initializer.add(name="w", data_type=1, dims=[1 << 40]),
            "1099511627776 values, its data are of 0",
        ),
        (lambda m: m.graph.initializer.add(name="w", data_type=1, dims=[-1]), r"of the sizes \[-1\]"),
        (lambda m: m.graph.initializer.add(name="w", data_type=8), "type 8"),
        (lambda m: m.graph.input[0].type.tensor_type.shape.dim[0].Clear(), "'x' has no fixed size"),
        (lambda m: m.graph.node.extend([m.graph.node[0]] * 20_001), "20002 operators"),
    ],
)
def test_faults_are_named(change: object, expected: str) -> None:
    whole = onnx.load_from_string(model(helper.make_node("Relu", ["x"], ["y"]), {"x": (2, 3)}))
    check_limits(whole.SerializeToString(), "g.onnx", 32)
    change(whole)  # type: ignore[operator]
    with pytest.raises(BundleError, match=expected) as caught:
        check_limits(whole.SerializeToString(), "g.onnx", 32)
    assert "'g.onnx'" in str(caught.value)
