"""Which nodes take another precision, and that the range guard of FP16 keeps finite what would become infinite."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest

from diffad_calibration.precision.half import to_half
from diffad_calibration.precision.onnxfile import finished, prepared
from diffad_calibration.precision.placement import (
    BETWEEN,
    HALF_HEADROOM,
    HALF_MAX,
    HALF_SMALLEST,
    SENSITIVE,
    convolutions,
    convolutions_and_between,
    half_nodes,
    kept_tensors,
)
from diffad_calibration.precision.ranges import collect
from diffad_calibration.precision.recipes import halve
from diffad_calibration.precision.variants import Graphs
from diffad_runtime.errors import DataError

SIDE = 8
CONVOLUTIONS = ["node_stem", "node_down", "node_mix", "node_merge", "node_mean"]


def chain(sketch: type, middle: Callable[[Any, str], str] = lambda _, a: a, **weights: Any) -> bytes:
    """x -> one, Relu -> whatever `middle` makes -> two; 4 channels."""
    s = sketch()
    a = s.op("Relu", "a", s.conv("one", "x", (4, 4, 3, 3), **weights))
    s.conv("two", middle(s, a), (4, 4, 3, 3))
    return bytes(s.model({"x": [1, 4, SIDE, SIDE]}, {"two": [1, 4, SIDE, SIDE]}))


def names(model: bytes) -> list[str]:
    return [node.name for node in onnx.load_from_string(model).graph.node]


def test_convolutions_and_what_lies_between(pair: Graphs) -> None:
    graph = onnx.load_from_string(pair.reconstructor).graph
    inner = {"node_a", "node_b", "node_both", "node_c", "node_up", "node_cat", "node_d"}
    assert convolutions(graph) == CONVOLUTIONS
    assert set(convolutions_and_between(graph)) == {*CONVOLUTIONS, *inner}
    assert set(half_nodes(graph, {})) == {*CONVOLUTIONS, *inner}  # the score has no convolution behind it

    kept = frozenset({"mean"})
    assert convolutions(graph, kept) == CONVOLUTIONS[:-1]
    depthwise = next(node for node in graph.node if node.name == "node_down")
    depthwise.attribute.add(name="group", type=onnx.AttributeProto.INT, i=4)
    assert convolutions(graph, kept, grouped=False) == ["node_stem", "node_mix", "node_merge"]
    assert convolutions(graph) == CONVOLUTIONS
    # With the last convolution gone nothing lies between "merge" and another; its activation is part of it.
    assert set(convolutions_and_between(graph, kept)) == {*CONVOLUTIONS[:-1], *inner}
    kept = frozenset({"mean", "merge"})
    assert set(convolutions_and_between(graph, kept)) == {*CONVOLUTIONS[:-2], "node_a", "node_b", "node_both", "node_c"}
    assert set(half_nodes(graph, {}, kept)) == {*CONVOLUTIONS[:-2], *inner}
    assert frozenset() == BETWEEN & SENSITIVE


def test_patterns_name_nodes_and_tensors(pair: Graphs) -> None:
    proto = onnx.load_from_string(pair.reconstructor)
    assert kept_tensors(proto, []) == frozenset()
    assert kept_tensors(proto, ["node_m*", "cat"]) == {"mix", "merge", "mean", "cat"}
    with pytest.raises(DataError, match="'node_z' matches no node"):
        kept_tensors(proto, ["mean", "node_z"])


@pytest.mark.parametrize("kind", ["Exp", "Softmax", "GlobalAveragePool", "Pow", "ReduceMean", "ReduceSum", "Log"])
def test_ops_that_add_up_or_stretch_stay_in_fp32(kind: str, sketch: type) -> None:
    def middle(s: Any, a: str) -> str:
        if kind in {"ReduceMean", "ReduceSum"}:
            return str(s.op(kind, "made", a, keepdims=1))
        if kind == "Pow":
            return str(s.op(kind, "made", a, s.constant("two.power", 2.0)))
        if kind == "Log":
            return str(s.op(kind, "made", s.op("Add", "above", a, s.constant("half", 0.5))))
        return str(s.op(kind, "made", a))

    s = sketch()
    made = middle(s, s.op("Relu", "a", s.conv("one", "x", (4, 4, 3, 3))))
    s.conv("two", made, (4, 4, 1, 1))
    pooled = kind in {"GlobalAveragePool", "ReduceMean", "ReduceSum"}
    model = s.model({"x": [1, 4, SIDE, SIDE]}, {"two": [1, 4, *([1, 1] if pooled else [SIDE, SIDE])]})
    found = half_nodes(onnx.load_from_string(model).graph, {})
    assert found == [name for name in names(model) if name != "node_made"]
    assert "node_made" in names(model)


@pytest.mark.parametrize(
    ("largest", "fits"),
    [
        (HALF_MAX / HALF_HEADROOM, True),
        (20000.0, False),
        (-20000.0, False),
        (HALF_SMALLEST, True),
        (HALF_SMALLEST / 2, False),  # headroom is for what is too large, not for what is too small
        (0.0, True),  # a tensor of zeros is exact
    ],
)
@pytest.mark.parametrize("tensor", ["x", "one", "a", "two"])
def test_the_guard_leaves_out_who_reads_or_makes_such_a_tensor(
    tensor: str, largest: float, fits: bool, sketch: type
) -> None:
    graph = onnx.load_from_string(chain(sketch)).graph
    touching = [node.name for node in graph.node if tensor in [*node.input, *node.output]]
    extremes = dict.fromkeys(("x", "one", "a", "two"), (-1.0, 1.0))
    extremes[tensor] = min(largest, 0.0), max(largest, 0.0)
    expected = ["node_one", "node_a", "node_two"]
    assert half_nodes(graph, extremes) == [name for name in expected if fits or name not in touching]


@pytest.mark.parametrize(
    ("largest", "fits"), [(HALF_MAX, True), (7e4, False), (HALF_SMALLEST, True), (HALF_SMALLEST * 0.9, False)]
)
@pytest.mark.parametrize("constant", ["weight", "bias"])
def test_the_guard_looks_at_constants_too(constant: str, largest: float, fits: bool, sketch: type) -> None:
    shape = (4, 4, 3, 3) if constant == "weight" else 4
    graph = onnx.load_from_string(chain(sketch, **{constant: np.full(shape, -largest)})).graph
    assert half_nodes(graph, {}) == [*(["node_one"] if fits else []), "node_a", "node_two"]


def test_convolutions_that_share_a_weight_have_one_type(sketch: type) -> None:
    s = sketch()
    weight = s.constant("w", s.rng.normal(size=(4, 4, 1, 1)))
    s.op("Conv", "one", "x", weight)
    s.op("Conv", "large", s.op("Mul", "times", "one", s.constant("much", 3e4)), weight)
    s.conv("other", "large", (4, 4, 1, 1), gain=1e-4)
    graph = onnx.load_from_string(s.model({"x": [1, 4, SIDE, SIDE]}, {"other": [1, 4, SIDE, SIDE]})).graph
    assert half_nodes(graph, {"times": (0, 3e4), "large": (0, 3e4)}) == []
    assert half_nodes(graph, {"times": (0, 3e4), "large": (0, 1e4)}) == ["node_other"]
    assert half_nodes(graph, {}) == ["node_one", "node_times", "node_large", "node_other"]


def times(sketch: type, factor: float) -> bytes:
    """Activations around `factor` between two convolutions; what comes out is around 1 again."""
    s = sketch()
    a = s.op("Relu", "a", s.conv("one", "x", (8, 4, 3, 3)))
    b = s.op("Relu", "b", s.conv("large", a, (8, 8, 3, 3), gain=factor**0.5, bias=False))
    c = s.op("Relu", "c", s.op("Mul", "times", b, s.constant("factor", factor**0.5)))
    d = s.op("Mul", "back", c, s.constant("inverse", factor**-0.5))
    e = s.op("Relu", "e", s.conv("small", d, (8, 8, 3, 3), gain=factor**-0.5))
    s.conv("last", e, (4, 8, 3, 3))
    return bytes(s.model({"x": [1, 4, SIDE, SIDE]}, {"last": [1, 4, SIDE, SIDE]}))


@pytest.mark.parametrize("factor", [1e4, 1e-8])
def test_guarded_graphs_stay_right_where_others_do_not(
    factor: float, sketch: type, run: Callable[..., Any], reference: Callable[..., Any]
) -> None:
    model, rng = times(sketch, factor), np.random.default_rng(0)
    calibration = [{"x": rng.uniform(-1, 1, (1, 4, SIDE, SIDE)).astype(np.float32)} for _ in range(4)]
    extremes = collect(model, calibration).extremes()
    brighter = {"x": calibration[0]["x"] * np.float32(HALF_HEADROOM)}
    expected = run(model, brighter)["last"]
    if factor > 1:
        assert 16376 < extremes["times"][1] < 65504  # FP16 holds what calibration saw, not what comes later
    else:
        assert extremes["times"][1] < HALF_SMALLEST

    proto = prepared(model)
    guarded = half_nodes(proto.graph, extremes)
    assert "node_times" not in guarded
    assert {"node_one", "node_last"} <= set(guarded)
    everywhere = finished(to_half(proto, names(model)))
    wrong = reference(everywhere, brighter)["last"]
    right = reference(halve(model, extremes), brighter)["last"]
    if factor > 1:
        assert not np.isfinite(wrong).all()
    else:
        assert np.abs(wrong - expected).max() > expected.std()
    error = np.abs(right - expected).max() / expected.std()
    assert error < 0.01, f"{error} standard deviations"
