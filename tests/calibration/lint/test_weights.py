"""A variant's weights are those of FP32 but for rounding, and one that is not is named."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from diffad_calibration.lint import Finding, compare_weights

Good = Callable[[str], onnx.ModelProto]


def scaled(model: onnx.ModelProto, name: str, factor: float) -> bytes:
    entry = next(entry for entry in model.graph.initializer if entry.name == name)
    values = numpy_helper.to_array(entry)
    entry.CopyFrom(numpy_helper.from_array((values * factor).astype(values.dtype), name))
    return bytes(model.SerializeToString())


def halved(model: onnx.ModelProto) -> onnx.ModelProto:
    """Weights in FP16 with a Cast behind each."""
    casts = []
    for entry in model.graph.initializer:
        if entry.name.endswith(".weight"):
            entry.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(entry).astype(np.float16), entry.name))
            casts.append(helper.make_node("Cast", [entry.name], [f"{entry.name}_wide"], to=TensorProto.FLOAT))
    for node in model.graph.node:
        if node.op_type == "Conv":
            node.input[1] += "_wide"
    nodes = [*casts, *(onnx.NodeProto.FromString(node.SerializeToString()) for node in model.graph.node)]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def found(good: Good, variant: bytes) -> list[Finding]:
    return compare_weights(good("any").SerializeToString(), variant)


@pytest.mark.parametrize("target", ["any", "cpu", "tensorrt"])
def test_a_good_variant_has_no_finding(good: Good, target: str) -> None:
    assert found(good, good(target).SerializeToString()) == []


def test_half_precision_is_within_rounding(good: Good) -> None:
    assert found(good, halved(good("any")).SerializeToString()) == []


@pytest.mark.parametrize("target", ["cpu", "tensorrt"])
@pytest.mark.parametrize("factor", [1.2, 1 / 1.2, 1.02, -1.0])
def test_one_int8_tensor_scaled_is_named(good: Good, target: str, factor: float) -> None:
    name = "two.weight_scale" if factor > 0 else "two.weight_quantized"
    findings = found(good, scaled(good(target), name, factor))
    assert [(finding.rule, finding.where) for finding in findings] == [("weights", "two.weight")]
    told = float(findings[0].what.rpartition("they are ")[2].partition(" times")[0])
    assert told == pytest.approx(factor, rel=1e-3)


def test_one_half_precision_tensor_scaled_is_named(good: Good) -> None:
    findings = found(good, scaled(halved(good("any")), "three.weight", 1.2))
    assert [(finding.rule, finding.where) for finding in findings] == [("weights", "three.weight")]
    assert "1.2 times the FP32 graph's" in findings[0].what


def test_one_float_tensor_scaled_is_named(good: Good) -> None:
    findings = found(good, scaled(good("any"), "one.weight", 1.2))
    assert [(finding.rule, finding.where) for finding in findings] == [("weights", "one.weight")]


def test_other_float_constants_are_compared_too(good: Good) -> None:
    assert [finding.where for finding in found(good, scaled(good("tensorrt"), "level", 1.2))] == ["level"]


def test_biases_may_differ(good: Good) -> None:
    assert found(good, scaled(good("tensorrt"), "two.bias", 1.2)) == []


def test_one_value_off_by_a_step_is_found_and_half_a_step_is_not(good: Good) -> None:
    for steps, expected in ((1, ["two.weight"]), (0, [])):
        model = good("tensorrt")
        entry = next(entry for entry in model.graph.initializer if entry.name == "two.weight_quantized")
        values = numpy_helper.to_array(entry).copy()
        values[0, 0, 0, 0] += steps if values[0, 0, 0, 0] < 100 else -steps
        entry.CopyFrom(numpy_helper.from_array(values, entry.name))
        assert [finding.where for finding in found(good, model.SerializeToString())] == expected


def test_a_weight_of_another_shape_is_named(good: Good) -> None:
    model = good("any")
    entry = next(entry for entry in model.graph.initializer if entry.name == "three.weight")
    entry.CopyFrom(numpy_helper.from_array(np.zeros((4, 16, 3, 3), np.float32), entry.name))
    node = next(node for node in model.graph.node if node.name == "three")
    node.attribute.append(helper.make_attribute("pads", [1] * 4))
    assert "shape (4, 16, 3, 3), expected (4, 16, 1, 1)" in found(good, model.SerializeToString())[0].what


def test_a_weight_that_is_not_a_number_is_named(good: Good) -> None:
    assert [finding.where for finding in found(good, scaled(good("any"), "one.weight", np.nan))] == ["one.weight"]


@pytest.mark.parametrize(("target", "suffix"), [("any", ""), ("tensorrt", "_quantized")])
def test_a_weight_under_another_name_has_its_own_rule(good: Good, target: str, suffix: str) -> None:
    model = good(target)
    for entry in model.graph.initializer:
        if entry.name == f"two.weight{suffix}":
            entry.name = f"stranger{suffix}"
    for node in model.graph.node:
        for index, name in enumerate(node.input):
            if name == f"two.weight{suffix}":
                node.input[index] = f"stranger{suffix}"
    findings = found(good, model.SerializeToString())
    assert [(finding.rule, finding.where) for finding in findings] == [("foreign-weight", "two")]
    assert "'stranger'" in findings[0].what


def test_graphs_that_cannot_be_read_are_a_finding(good: Good) -> None:
    fine, broken = good("any").SerializeToString(), good("any")
    broken.graph.initializer[3].dims[:] = [7]
    for reference, variant, words in (
        (b"nothing", fine, "FP32 graph cannot be read: the bytes"),
        (fine, b"nothing", "variant cannot be read: the bytes"),
        (fine, broken.SerializeToString(), "variant cannot be read"),
    ):
        (finding,) = compare_weights(reference, variant)
        assert finding.rule == "valid"
        assert words in finding.what


def test_scales_of_another_tensor_are_named(good: Good) -> None:
    model = good("tensorrt")
    for name in ("two.weight_scale", "two.weight_zero_point"):
        entry = next(entry for entry in model.graph.initializer if entry.name == name)
        entry.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(entry)[:4], name))
    assert [finding.where for finding in found(good, model.SerializeToString())] == ["two.weight"]
