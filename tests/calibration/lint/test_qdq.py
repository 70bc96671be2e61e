"""Each Q/DQ rule finds the fault planted for it, and no other rule does.

`refused` says whether the real parser or builder refuses the fault too, `int8` how many of the three convolutions it
runs in INT8, both as measured on TensorRT-RTX 1.7.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from diffad_calibration.lint import lint
from diffad_calibration.oracle import available, build_report
from diffad_runtime.errors import GateError

Good = Callable[[str], onnx.ModelProto]


def node(model: onnx.ModelProto, name: str) -> onnx.NodeProto:
    return next(entry for entry in model.graph.node if entry.name == name)


def get(model: onnx.ModelProto, name: str) -> np.ndarray:
    return numpy_helper.to_array(next(entry for entry in model.graph.initializer if entry.name == name))


def put(model: onnx.ModelProto, name: str, values: np.ndarray) -> None:
    for entry in [entry for entry in model.graph.initializer if entry.name == name]:
        model.graph.initializer.remove(entry)
    model.graph.initializer.append(numpy_helper.from_array(np.asarray(values), name))


def first(model: onnx.ModelProto, *nodes: onnx.NodeProto) -> None:
    kept = [onnx.NodeProto.FromString(entry.SerializeToString()) for entry in model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *kept])


def uint8_activations(model: onnx.ModelProto) -> None:
    for name in ("x", "c", "f"):
        put(model, f"{name}_zero_point", np.uint8(0))


def uint8_with_zero_point(model: onnx.ModelProto) -> None:
    for name in ("x", "c", "f"):
        put(model, f"{name}_zero_point", np.uint8(128))


def int32_bias(model: onnx.ModelProto) -> None:
    put(model, "bias_steps", np.arange(8, dtype=np.int32))
    put(model, "bias_scale", np.full(8, 0.01, np.float32))
    put(model, "bias_zero", np.zeros(8, np.int32))
    inputs = ["bias_steps", "bias_scale", "bias_zero"]
    first(model, helper.make_node("DequantizeLinear", inputs, ["bias_back"], name="bias_dq", axis=0))
    node(model, "two").input[2] = "bias_back"


def quantised_weight(model: onnx.ModelProto) -> None:
    """Q and DQ around the float weight, as trainers export it."""
    put(model, "float", get(model, "two.weight_quantized") * get(model, "two.weight_scale").reshape(-1, 1, 1, 1))
    inputs = ["float", "two.weight_scale", "two.weight_zero_point"]
    first(model, helper.make_node("QuantizeLinear", inputs, ["steps"], name="weight_q", axis=0))
    node(model, "two.weight_DequantizeLinear").input[0] = "steps"


def quantised_bias(model: onnx.ModelProto) -> None:
    put(model, "bias_scale", np.float32(0.01))
    put(model, "bias_zero", np.int8(0))
    first(
        model,
        helper.make_node("QuantizeLinear", ["two.bias", "bias_scale", "bias_zero"], ["steps"], name="bias_q"),
        helper.make_node("DequantizeLinear", ["steps", "bias_scale", "bias_zero"], ["bias_back"], name="bias_dq"),
    )
    node(model, "two").input[2] = "bias_back"


def int8_constant(model: onnx.ModelProto) -> None:
    put(model, "steps", np.int8(50))
    put(model, "steps_scale", np.float32(1 / 12750))
    first(model, helper.make_node("DequantizeLinear", ["steps", "steps_scale"], ["level"], name="level_dq"))
    for entry in [entry for entry in model.graph.initializer if entry.name == "level"]:
        model.graph.initializer.remove(entry)


def setting(name: str, values: np.ndarray) -> Callable[[onnx.ModelProto], None]:
    return lambda model: put(model, name, values)


def one_weight_scale(value: float) -> Callable[[onnx.ModelProto], None]:
    def edit(model: onnx.ModelProto) -> None:
        scales = get(model, "two.weight_scale").copy()
        scales[3] = value
        put(model, "two.weight_scale", scales)

    return edit


def channels_of_an_activation(model: onnx.ModelProto) -> None:
    put(model, "c_scale", np.full(8, 0.1, np.float32))
    put(model, "c_zero_point", np.zeros(8, get(model, "c_zero_point").dtype))


def other_axis(model: onnx.ModelProto) -> None:
    node(model, "two.weight_DequantizeLinear").attribute[0].i = 1


def too_few_scales(model: onnx.ModelProto) -> None:
    put(model, "two.weight_scale", get(model, "two.weight_scale")[:4])
    put(model, "two.weight_zero_point", np.zeros(4, np.int8))


def without_dequantise(model: onnx.ModelProto) -> None:
    model.graph.output.append(helper.make_tensor_value_info("c_QuantizeLinear_Output", TensorProto.INT8, [1, 8, 8, 8]))


def without_quantise(model: onnx.ModelProto) -> None:
    """The network is given int8."""
    model.graph.node.remove(node(model, "c_QuantizeLinear"))
    model.graph.input.append(helper.make_tensor_value_info("c_QuantizeLinear_Output", TensorProto.INT8, [1, 8, 8, 8]))


def two_scales(model: onnx.ModelProto) -> None:
    put(model, "other", np.float32(0.5))
    node(model, "c_DequantizeLinear").input[1] = "other"


def two_zero_points(model: onnx.ModelProto) -> None:
    put(model, "other", get(model, "c_zero_point") + np.uint8(1))
    node(model, "c_DequantizeLinear").input[2] = "other"


def float_input(model: onnx.ModelProto) -> None:
    node(model, "two").input[0] = "c"


def float_weight(model: onnx.ModelProto) -> None:
    model.graph.node.remove(node(model, "two.weight_DequantizeLinear"))
    put(model, "float", np.ones((8, 8, 3, 3), np.float32))
    node(model, "two").input[1] = "float"


def uint8_weight(model: onnx.ModelProto) -> None:
    put(model, "two.weight_quantized", get(model, "two.weight_quantized").astype(np.uint8))
    put(model, "two.weight_zero_point", np.zeros(8, np.uint8))


def int8_activation(model: onnx.ModelProto) -> None:
    put(model, "c_zero_point", np.int8(0))


def nothing(model: onnx.ModelProto) -> None:
    """The quantised graph itself, given for a target that it was not made for."""


@dataclass(frozen=True)
class Fault:
    """A graph made for `made`, spoiled and linted for `target`."""

    rule: str
    where: str
    plant: Callable[[onnx.ModelProto], None]
    made: str = "tensorrt"
    target: str = "tensorrt"
    refused: bool = False
    int8: int = 3


ZEROS = np.zeros(8, np.int8)
FAULTS = {
    "uint8-zero-point-0": Fault("uint8-activations", "x_QuantizeLinear", uint8_activations),
    "uint8-zero-point-128": Fault("uint8-activations", "x_QuantizeLinear", uint8_with_zero_point, refused=True),
    "zero-point": Fault("zero-point", "c_QuantizeLinear", setting("c_zero_point", np.int8(3)), refused=True),
    "weight-zero-point": Fault(
        "zero-point", "two.weight_DequantizeLinear", setting("two.weight_zero_point", ZEROS + 1), refused=True
    ),
    "int32-bias": Fault("int32-bias", "bias_dq", int32_bias, refused=True),
    "quantise-of-weight": Fault("quantised-constant", "weight_q", quantised_weight),
    "quantise-of-bias": Fault("quantised-constant", "bias_q", quantised_bias),
    "int8-constant": Fault("quantised-constant", "level_dq", int8_constant, refused=True),
    "scale-0": Fault("scale", "two.weight_DequantizeLinear", one_weight_scale(0), refused=True),
    "scale-negative": Fault("scale", "c_QuantizeLinear", setting("c_scale", np.float32(-0.1)), refused=True),
    "scales-of-activation": Fault("channel-scale", "c_QuantizeLinear", channels_of_an_activation, int8=2),
    "scales-along-inputs": Fault("channel-scale", "two.weight_DequantizeLinear", other_axis, int8=2),
    "too-few-scales": Fault("channel-scale", "two.weight_DequantizeLinear", too_few_scales, refused=True),
    "lone-quantise": Fault("pairs", "c_QuantizeLinear", without_dequantise),
    "lone-dequantise": Fault("pairs", "c_DequantizeLinear", without_quantise),
    "two-scales": Fault("pairs", "c_DequantizeLinear", two_scales),
    "float-input": Fault("half-quantised", "two", float_input, int8=2),
    "float-weight": Fault("half-quantised", "two", float_weight, int8=2),
    "cpu-int8-activation": Fault("int8-activations", "c_QuantizeLinear", int8_activation, "cpu", "cpu"),
    "cpu-uint8-weight": Fault("int8-weights", "two.weight_DequantizeLinear", uint8_weight, "cpu", "cpu"),
    "cpu-weight-zero-point": Fault(
        "zero-point", "two.weight_DequantizeLinear", setting("two.weight_zero_point", ZEROS + 1), "cpu", "cpu"
    ),
    "cpu-scale-0": Fault("scale", "two.weight_DequantizeLinear", one_weight_scale(0), "cpu", "cpu"),
    "cpu-two-scales": Fault("pairs", "c_DequantizeLinear", two_scales, "cpu", "cpu"),
    "cpu-two-zero-points": Fault("pairs", "c_DequantizeLinear", two_zero_points, "cpu", "cpu"),
    "cpu-float-input": Fault("half-quantised", "two", float_input, "cpu", "cpu"),
    "cpu-scales-of-activation": Fault("channel-scale", "c_QuantizeLinear", channels_of_an_activation, "cpu", "cpu"),
    "any-of-tensorrt": Fault("not-quantised", "one.weight_DequantizeLinear", nothing, "tensorrt", "any"),
    "cpu-of-tensorrt": Fault("int8-activations", "x_QuantizeLinear", nothing, "tensorrt", "cpu"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_found_by_its_rule_alone(good: Good, name: str) -> None:
    fault = FAULTS[name]
    model = good(fault.made)
    fault.plant(model)
    findings = lint(model.SerializeToString(), fault.target)
    assert {finding.rule for finding in findings} == {fault.rule}, [str(finding) for finding in findings]
    assert fault.where in {finding.where for finding in findings}


def test_uint8_activations_are_refused_in_these_words(good: Good) -> None:
    model = good("tensorrt")
    uint8_activations(model)
    assert "uint8 activations" in lint(model.SerializeToString(), "tensorrt")[0].what


def test_a_graph_for_the_cpu_is_not_one_for_tensorrt(good: Good) -> None:
    found = {finding.rule for finding in lint(good("cpu").SerializeToString(), "tensorrt")}
    assert found == {"uint8-activations", "int32-bias"}


def test_scale_and_zero_point_may_be_constants_of_equal_value(good: Good) -> None:
    model = good("tensorrt")
    put(model, "other", get(model, "c_scale").copy())
    reader = node(model, "c_DequantizeLinear")
    reader.input[1] = "other"
    del reader.input[2]  # none means 0
    assert lint(model.SerializeToString(), "tensorrt") == []


@pytest.mark.skipif(not available(), reason="tensorrt_rtx is not installed")
@pytest.mark.parametrize("name", [name for name, fault in FAULTS.items() if fault.made == fault.target == "tensorrt"])
def test_what_the_real_parser_and_builder_say_to_it(good: Good, name: str) -> None:
    fault = FAULTS[name]
    model = good(fault.made)
    fault.plant(model)
    if fault.refused:
        with pytest.raises(GateError, match="refuses"):
            build_report(model.SerializeToString(), name)
    else:
        assert sum(found.int8 for found in build_report(model.SerializeToString(), name).convolutions) == fault.int8
