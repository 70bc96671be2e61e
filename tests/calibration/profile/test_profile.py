"""The profiler on graphs small enough to count by hand."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from diffad_calibration.precision.quantise import quantise_for_cpu
from diffad_calibration.profile import ConvolutionFigures, profile_bundle
from diffad_calibration.profile.peak import fastest, peak_graph
from diffad_calibration.profile.trace import TracedGraph
from diffad_calibration.profile.work import convolution_work
from diffad_runtime.bundle import open_bundle
from diffad_runtime.errors import DiffadError, InputError

SHAPES = ((3, 16, 8), (1, 32, 8), (3, 8, 8))
# 3 -> 8, 3 x 3, stride 2: 8 x 8 x 8 values of 27 products; then depthwise: 9 products; then 8 -> 16, 1 x 1: 8 products.
OPERATIONS = 2 * (8 * 64 * 27 + 8 * 64 * 9 + 16 * 64 * 8)


def _graph(*, named: bool = True) -> bytes:
    rng = np.random.default_rng(0)

    def weights(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array(rng.normal(0, 0.3, shape).astype(np.float32), name)

    names = ("first", "second", "third") if named else ("", "", "")
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], name=names[0], pads=[1] * 4, strides=[2, 2]),
        helper.make_node("Relu", ["a"], ["ra"]),
        helper.make_node("Conv", ["ra", "w2"], ["b"], name=names[1], pads=[1] * 4, group=8),
        helper.make_node("Relu", ["b"], ["rb"]),
        helper.make_node("Conv", ["rb", "w3"], ["c"], name=names[2]),
        helper.make_node("Exp", ["c"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 16, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 16, 8, 8])],
        [weights("w1", 8, 3, 3, 3), weights("w2", 8, 1, 3, 3), weights("w3", 16, 8, 1, 1)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())


def _feed() -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(1).normal(size=(1, 3, 16, 16)).astype(np.float32)}


@pytest.mark.parametrize("named", [True, False])
def test_trace_counts_runs_and_nodes(named: bool) -> None:
    with TracedGraph(_graph(named=named), 1) as traced:
        outputs = [traced.run(_feed())["y"] for _ in range(4)]
        trace = traced.finish()
    np.testing.assert_array_equal(outputs[0], outputs[3])
    assert trace.operators["Conv"][0] == 3
    assert trace.operators["Exp"][0] == 1
    assert all(spent.shape == (4,) for _, spent in trace.operators.values())
    assert len(traced.wall_ms) == 4
    assert sum(spent.sum() for _, spent in trace.operators.values()) > 0


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("keep", [(), ("c",), ("a", "b", "c")])
def test_operations_by_number_format(keep: tuple[str, ...], named: bool) -> None:
    graph = _graph(named=named)
    if len(keep) < 3:
        graph = quantise_for_cpu(graph, [_feed()], keep_float=keep)
    with TracedGraph(graph, 1) as traced:
        traced.run(_feed())
        work = convolution_work(graph, traced.optimised, traced.finish().output_sizes)
    floats = {(): 0, ("c",): 2 * 16 * 64 * 8, ("a", "b", "c"): OPERATIONS}[keep]
    assert (work.int8, len(work.float_names)) == (3 - len(keep), len(keep))
    assert work.int8_gop == pytest.approx((OPERATIONS - floats) / 1e9)
    assert work.float_gop == pytest.approx(floats / 1e9)


def test_sizes_that_are_not_fixed_are_refused() -> None:
    model = onnx.load_from_string(_graph())
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "h"
    with pytest.raises(DiffadError, match="size of the convolution 'first' is not known"):
        convolution_work(model.SerializeToString(), model, {})


def test_garbage_is_refused() -> None:
    with pytest.raises(DiffadError):
        TracedGraph(b"garbage", 1)


@pytest.mark.parametrize("int8", [True, False])
def test_peak_graphs_are_convolutions_and_nothing_else(int8: bool) -> None:
    model = onnx.load_from_string(peak_graph(3, 16, 8, int8=int8))
    onnx.checker.check_model(model)
    assert {node.op_type for node in model.graph.node} == {"QLinearConv" if int8 else "Conv"}
    runs = fastest(1, int8=int8, shapes=SHAPES)
    assert len(runs) == 2
    for run in runs:
        assert run.ms == []
        run.run()
        assert run.peak().gop_per_s == pytest.approx(1e3 * run.gop / run.ms[0])
    assert {run.gop for run in runs} <= {2 * 2 * k**2 * c**2 * s**2 / 1e9 for k, c, s in SHAPES}


def test_rates() -> None:
    figures = ConvolutionFigures(count=2, gop=1.5, ms=3.0, peak=1000.0)
    assert (figures.rate, figures.share_of_peak) == (500.0, 0.5)
    assert ConvolutionFigures(0, 0.0, 0.0, 1000.0).to_json()["share_of_peak"] is None
    assert ConvolutionFigures(2, 1.5, 3.0, None).share_of_peak is None


def test_a_bundle_whole(tiny_bundle: Path) -> None:
    rounds: list[tuple[int, int]] = []
    found = profile_bundle(
        open_bundle(tiny_bundle), frames=3, threads=1, shapes=SHAPES, on_round=lambda *done: rounds.append(done)
    )
    assert rounds == [(1, 3), (2, 3), (3, 3)]
    assert list(found.variants) == ["fp32", "second"]
    for graphs in found.variants.values():
        assert [graph.graph for graph in graphs] == ["extractor", "reconstructor"]
        for graph in graphs:
            shares = [one.share for one in graph.operators]
            assert sum(shares) == pytest.approx(1)
            assert shares == sorted(shares, reverse=True)
            assert graph.wall_ms > 0
            assert graph.int8.count == graph.fp32.count == 0  # these graphs have no convolution
    record = found.to_json()
    assert record["threads"] == 1
    assert set(record["peak_gop_per_s"]) == {"int8", "fp32"}
    assert record["variants"]["fp32"]["extractor"]["int8_convolutions"]["count"] == 0
    with pytest.raises(InputError, match="variants of fp32, second"):
        profile_bundle(open_bundle(tiny_bundle), ["int4"])
    with pytest.raises(InputError, match="at least one frame"):
        profile_bundle(open_bundle(tiny_bundle), frames=0)
