"""Shares, kernels and traffic are counted from layers and graph. Needs no TensorRT."""

from pathlib import Path

import onnx
import pytest
from onnx import helper

from diffad_calibration.oracle.layertext import Layer, Tensor, parse_layers
from diffad_calibration.oracle.report import LayerReport, make_report

LAYERS = parse_layers((Path(__file__).parent / "layers.txt").read_text(encoding="utf-8"))


def graph(quantised: tuple[int, ...] = (0, 1, 2)) -> onnx.ModelProto:
    """Names as in layers.txt: conv0, conv1, conv2."""
    nodes = []
    for index in range(3):
        for tensor in (f"i{index}", f"w{index}"):
            kind = "DequantizeLinear" if index in quantised else "Identity"
            inputs = [f"{tensor}_q", "scale"] if index in quantised else [f"{tensor}_q"]
            nodes.append(helper.make_node(kind, inputs, [tensor], name=f"{tensor}_back"))
        nodes.append(helper.make_node("Conv", [f"i{index}", f"w{index}"], [f"c{index}"], name=f"conv{index}"))
    return helper.make_model(helper.make_graph(nodes, "g", [], [], []))


def report(model: onnx.ModelProto, layers: list[Layer] = LAYERS) -> LayerReport:
    return make_report(model, layers, name="g", builder="sample", plan_bytes=1, build_s=0.0)


def layer(kind: str, *, nodes: tuple[str, ...], reads: str, weights: str = "Int8", name: str = "k") -> Layer:
    return Layer(
        name, kind, (Tensor("in", reads, (4,)),), (Tensor("w", weights, (4,)),), (Tensor("o", "Half", (4,)),), nodes
    )


def test_all_marked_convolutions_that_read_int8_count() -> None:
    made = report(graph())
    assert (made.marked, made.int8, made.share, made.missed) == (3, 3, 1.0, [])
    assert [entry.kernel for entry in made.convolutions] == ["conv0_myl0_1", "conv1_myl0_3", "conv2_myl0_5"]
    assert {entry.output for entry in made.convolutions} == {"Float"}


def test_a_graph_with_nothing_marked_has_share_0() -> None:
    made = report(graph(()))
    assert (made.marked, made.int8, made.share) == (0, 0, 0.0)


def test_the_share_is_of_those_marked() -> None:
    made = report(graph((0, 1)))
    assert (made.marked, made.int8, made.share) == (2, 2, 1.0)


@pytest.mark.parametrize(("reads", "weights"), [("Float", "Int8"), ("Int8", "Float"), ("Half", "Half")])
def test_a_convolution_that_reads_float_is_missed(reads: str, weights: str) -> None:
    changed = [layer("correlation", nodes=("conv1",), reads=reads, weights=weights), *LAYERS[:3], *LAYERS[4:]]
    made = report(graph(), changed)
    assert made.missed == ["conv1"]
    assert made.share == pytest.approx(2 / 3)


def test_a_convolution_without_a_kernel_is_missed() -> None:
    made = report(graph(), [*LAYERS[:5], *LAYERS[6:]])  # the pointwise kernel behind conv2 names it too
    assert made.missed == ["conv2"]
    assert made.convolutions[2].kernel == ""


def test_a_convolution_within_a_fusion_counts() -> None:
    fused = layer("runtime_fusion", nodes=("conv2", "relu2"), reads="Int8", name="fused")
    made = report(graph(), [*LAYERS[:5], fused, *LAYERS[6:]])
    assert (made.share, made.convolutions[2].kernel) == (1.0, "fused")


def test_kernels_leave_events_out() -> None:
    assert report(graph()).kernels == len(LAYERS) - 2


def test_traffic_is_what_one_kernel_hands_to_another() -> None:
    made = report(graph(), LAYERS[:7])
    # Float: what the three convolutions make, 16 x 16 x 16 twice and 8 x 16 x 16; Int8: what they read. x, r2: no.
    assert [(entry.type, entry.tensors, entry.bytes) for entry in made.between] == [
        ("Float", 3, 4 * 256 * (16 + 16 + 8)),
        ("Int8", 3, 256 * (8 + 16 + 16)),
    ]
    assert (made.float_tensors, made.float_bytes) == (3, 40960)


def test_a_tensor_read_twice_is_counted_once() -> None:
    maker = Layer("a", "kgen", (), (), (Tensor("t", "Half", (8,)),), ())
    readers = [Layer(name, "kgen", (Tensor("t", "Half", (8,)),), (), (), ()) for name in "bc"]
    assert report(graph(), [maker, *readers]).float_bytes == 16


def test_transposed_convolutions_are_convolutions() -> None:
    model = graph()
    model.graph.node[2].op_type = "ConvTranspose"
    assert report(model).marked == 3
