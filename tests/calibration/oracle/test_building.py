"""The real parser and builder, where installed: shares of real engines, refusals with the node's name."""

import importlib
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from diffad_calibration import oracle
from diffad_calibration.oracle import building
from diffad_runtime.errors import GateError, MissingExtraError

needs_builder = pytest.mark.skipif(not oracle.available(), reason="tensorrt_rtx is not installed")


def network(*, quantised: int, convolutions: int = 3, named: bool = True) -> onnx.ModelProto:
    """Conv and ReLU in turn; the first `quantised` convolutions read int8 activations and int8 weights."""
    rng = np.random.default_rng(0)
    nodes: list[onnx.NodeProto] = []
    constants = [
        numpy_helper.from_array(np.float32(0.05), "scale"),
        numpy_helper.from_array(np.int8(0), "zero"),
        numpy_helper.from_array(np.full(8, 0.01, np.float32), "scales"),
        numpy_helper.from_array(np.zeros(8, np.int8), "zeros"),
    ]

    def op(kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, [output], name=output if named else "", **attributes))
        return output

    current = "x"
    for index in range(convolutions):
        constants.append(numpy_helper.from_array(rng.normal(size=8).astype(np.float32), f"b{index}"))
        weight = rng.integers(-127, 128, (8, 8, 3, 3)).astype(np.int8)
        if index < quantised:
            constants.append(numpy_helper.from_array(weight, f"w{index}"))
            back = op("DequantizeLinear", [f"w{index}", "scales", "zeros"], f"weight{index}", axis=0)
            steps = op("QuantizeLinear", [current, "scale", "zero"], f"q{index}")
            current = op("DequantizeLinear", [steps, "scale", "zero"], f"dq{index}")
        else:
            constants.append(numpy_helper.from_array((weight * 0.01).astype(np.float32), f"w{index}"))
            back = f"w{index}"
        current = op("Relu", [op("Conv", [current, back, f"b{index}"], f"conv{index}", pads=[1] * 4)], f"relu{index}")
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 8, 16, 16]) for name in ("x", current)]
    made = helper.make_graph(nodes, "network", ends[:1], ends[1:], constants)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


@needs_builder
def test_a_quantised_network_runs_in_int8_whole() -> None:
    report = oracle.build_report(network(quantised=3).SerializeToString(), "network")
    assert (report.marked, report.int8, report.share, report.missed) == (3, 3, 1.0, [])
    assert report.name == "network"
    assert oracle.version() in report.builder
    assert [entry.node for entry in report.convolutions] == ["conv0", "conv1", "conv2"]
    assert report.kernels >= 3
    assert report.plan_bytes > 0
    assert report.build_s > 0
    assert {entry.type for entry in report.between} == {"Float", "Int8"}


@needs_builder
def test_a_float_network_has_share_0() -> None:
    report = oracle.build_report(network(quantised=0).SerializeToString(), "network")
    assert (report.marked, report.share) == (0, 0.0)
    assert not any(entry.int8 for entry in report.convolutions)
    assert all(entry.kernel for entry in report.convolutions)
    assert {entry.type for entry in report.between} == {"Float"}


@needs_builder
def test_a_partly_quantised_network_is_told_apart() -> None:
    report = oracle.build_report(network(quantised=1).SerializeToString(), "network")
    assert [(entry.marked, entry.int8) for entry in report.convolutions] == [(True, True), *[(False, False)] * 2]


@needs_builder
def test_nodes_without_names_are_given_some() -> None:
    report = oracle.build_report(network(quantised=3, named=False).SerializeToString(), "network")
    assert report.share == 1.0


@needs_builder
def test_the_same_graph_gives_the_same_report() -> None:
    first, second = (oracle.build_report(network(quantised=2).SerializeToString(), "network") for _ in range(2))
    assert [layer.kind for layer in first.layers] == [layer.kind for layer in second.layers]
    assert first.between == second.between


@needs_builder
def test_a_refusal_of_the_parser_names_the_node() -> None:
    model = network(quantised=0)
    model.graph.node[0].op_type = "NoSuchOperator"
    with pytest.raises(GateError, match=r"parser refuses extractor\.int8-trt: conv0 \(NoSuchOperator\)") as caught:
        oracle.build_report(model.SerializeToString(), "extractor.int8-trt")
    assert caught.value.exit_code == 3


@needs_builder
def test_a_refusal_of_the_builder_gives_its_reason() -> None:
    model = network(quantised=0)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "n"
    with pytest.raises(GateError, match=r"builder refuses network: .*optimization profile") as caught:
        oracle.build_report(model.SerializeToString(), "network")
    assert "cuda" not in caught.value.what.lower()


@needs_builder
def test_bytes_that_are_no_graph_are_refused() -> None:
    with pytest.raises(GateError, match="not an ONNX graph"):
        oracle.build_report(b"nothing", "network")


@pytest.mark.parametrize("error", [ImportError("no module"), OSError("libtensorrt_rtx.so: cannot open")])
def test_without_the_package_the_pip_line_is_told(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def missing(_name: str) -> None:
        raise error

    monkeypatch.setattr(importlib, "import_module", missing)
    assert not building.available()
    with pytest.raises(MissingExtraError, match=r"pip install 'diffad-edge\[oracle\]'"):
        building.build_report(b"", "network")
    with pytest.raises(MissingExtraError):
        building.version()
