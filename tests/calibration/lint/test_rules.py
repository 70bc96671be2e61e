"""Each rule of structure and parser finds the fault planted for it and no other rule does; the good graph has none.

`refused` says whether the real parser or builder refuses the fault too, as measured on TensorRT-RTX 1.7: where it does
not, our rule is what stands between the fault and a Jetson.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from diffad_calibration.lint import RULES, Finding, check_lint, lint
from diffad_calibration.oracle import available, build_report
from diffad_runtime.errors import GateError, InputError

Good = Callable[[str], onnx.ModelProto]


def node(model: onnx.ModelProto, name: str) -> onnx.NodeProto:
    return next(entry for entry in model.graph.node if entry.name == name)


def put(model: onnx.ModelProto, name: str, values: np.ndarray) -> None:
    """Set a constant, or add it."""
    for entry in [entry for entry in model.graph.initializer if entry.name == name]:
        model.graph.initializer.remove(entry)
    model.graph.initializer.append(numpy_helper.from_array(np.asarray(values), name))


def between(model: onnx.ModelProto, reader: str, index: int, *made: onnx.NodeProto) -> None:
    """Put nodes before a reader; the last one's output becomes the reader's input."""
    nodes = list(model.graph.node)
    at = next(place for place, entry in enumerate(nodes) if entry.name == reader)
    nodes[at].input[index] = made[-1].output[0]
    nodes[at:at] = made
    copies = [onnx.NodeProto.FromString(entry.SerializeToString()) for entry in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copies)


def external(model: onnx.ModelProto) -> None:
    weight = next(entry for entry in model.graph.initializer if entry.name == "two.weight")
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    entry = weight.external_data.add()
    entry.key, entry.value = "location", "weights.bin"


def opset_21(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 21
    model.ir_version = 10


def foreign(model: onnx.ModelProto) -> None:
    between(model, "pool", 0, helper.make_node("FusedGelu", ["b"], ["gelu"], name="gelu", domain="com.microsoft"))
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))


def foreign_import(model: onnx.ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))


def function(model: onnx.ModelProto) -> None:
    made = helper.make_function("ours", "Twice", ["p"], ["q"], [], [helper.make_opsetid("", 18)])
    made.node.append(helper.make_node("Add", ["p", "p"], ["q"]))
    model.functions.append(made)


def mixed_add(model: onnx.ModelProto) -> None:
    between(model, "add", 1, helper.make_node("Cast", ["g"], ["half"], name="down", to=TensorProto.FLOAT16))


def mixed_concat(model: onnx.ModelProto) -> None:
    between(model, "concat", 0, helper.make_node("Cast", ["b"], ["half"], name="down", to=TensorProto.FLOAT16))


def mixed_mul(model: onnx.ModelProto) -> None:
    put(model, "level", np.float16(0.5))


def dangling(model: onnx.ModelProto) -> None:
    node(model, "relu").input[0] = "nowhere"


def wrong_shape(model: onnx.ModelProto) -> None:
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 5


def too_few_values(model: onnx.ModelProto) -> None:
    weight = next(entry for entry in model.graph.initializer if entry.name == "level")
    weight.dims[:] = [2, 3]


def dynamic(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "height"


def batch_of_two(model: onnx.ModelProto) -> None:
    for entry in (model.graph.input[0], model.graph.output[0]):
        entry.type.tensor_type.shape.dim[0].dim_value = 2


def infinite(model: onnx.ModelProto) -> None:
    put(model, "two.bias", np.array([np.inf, *[0.0] * 7], np.float32))


def not_a_number(model: onnx.ModelProto) -> None:
    put(model, "two.weight", np.full((8, 8, 3, 3), np.nan, np.float32))


def half_overflow(model: onnx.ModelProto) -> None:
    with np.errstate(over="ignore"):
        put(model, "big", np.array([1e5], np.float32).astype(np.float16))
    between(model, "add", 0, helper.make_node("Cast", ["big"], ["wide"], name="up", to=TensorProto.FLOAT))


def unlisted(model: onnx.ModelProto) -> None:
    node(model, "relu").op_type = "Mish"


def of_integers(model: onnx.ModelProto) -> None:
    between(
        model,
        "pool",
        0,
        helper.make_node("Cast", ["b"], ["whole"], name="down", to=TensorProto.INT32),
        helper.make_node("Relu", ["whole"], ["positive"], name="of_integers"),
        helper.make_node("Cast", ["positive"], ["back"], name="up", to=TensorProto.FLOAT),
    )


def through(kind: int) -> Callable[[onnx.ModelProto], None]:
    def edit(model: onnx.ModelProto) -> None:
        between(
            model,
            "pool",
            0,
            helper.make_node("Cast", ["b"], ["other"], name="down", to=kind),
            helper.make_node("Cast", ["other"], ["back"], name="up", to=TensorProto.FLOAT),
        )

    return edit


def double_constant(model: onnx.ModelProto) -> None:
    put(model, "level", np.array(0.5, np.float64))
    between(model, "mul", 1, helper.make_node("Cast", ["level"], ["narrow"], name="down", to=TensorProto.FLOAT))


def transposed_first(model: onnx.ModelProto) -> None:
    cast, transpose = node(model, "cast"), node(model, "transpose")
    cast.op_type, transpose.op_type = "Transpose", "Cast"
    cast.attribute[0].CopyFrom(helper.make_attribute("perm", [0, 3, 1, 2]))
    transpose.attribute[0].CopyFrom(helper.make_attribute("to", TensorProto.FLOAT))


def resized(**attributes: object) -> Callable[[onnx.ModelProto], None]:
    def edit(model: onnx.ModelProto) -> None:
        found = node(model, "resize")
        del found.attribute[:]
        found.attribute.extend(helper.make_attribute(name, value) for name, value in attributes.items())

    return edit


def some_axes(model: onnx.ModelProto) -> None:
    resized(mode="linear", axes=[2, 3])(model)
    put(model, "twice", np.array([2, 2], np.float32))


def indices(model: onnx.ModelProto) -> None:
    node(model, "pool").output.append("where")


def dilated(model: onnx.ModelProto) -> None:
    node(model, "pool").attribute.extend(
        [helper.make_attribute("dilations", [2, 2]), helper.make_attribute("pads", [1] * 4)]
    )


def computed_sizes(model: onnx.ModelProto) -> None:
    """To the size of b, which ONNX can follow, so that shapes stay fixed."""
    node(model, "resize").input[2] = ""
    node(model, "resize").input.append("")
    between(model, "resize", 3, helper.make_node("Shape", ["b"], ["sizes"], name="sizes"))


@dataclass(frozen=True)
class Fault:
    rule: str
    where: str
    plant: Callable[[onnx.ModelProto], None]
    refused: bool | None  # None: not asked, the builder cannot be given it


FAULTS = {
    "external-data": Fault("external-data", "two.weight", external, None),
    "opset-21": Fault("opset", "graph", opset_21, False),
    "custom-operator": Fault("domain", "gelu", foreign, True),
    "foreign-import": Fault("domain", "graph", foreign_import, False),
    "function": Fault("domain", "Twice", function, False),
    "mixed-add": Fault("mixed-types", "add", mixed_add, True),
    "mixed-concat": Fault("mixed-types", "concat", mixed_concat, True),
    "mixed-mul": Fault("mixed-types", "mul", mixed_mul, True),
    "dangling-input": Fault("valid", "graph", dangling, True),
    "wrong-output-shape": Fault("valid", "graph", wrong_shape, False),
    "too-few-values": Fault("valid", "graph", too_few_values, None),
    "dynamic-size": Fault("static-shape", "image", dynamic, True),
    "batch-2": Fault("batch", "image", batch_of_two, False),
    "infinite-bias": Fault("finite", "two.bias", infinite, False),
    "nan-weight": Fault("finite", "two.weight", not_a_number, False),
    "fp16-overflow": Fault("finite", "big", half_overflow, None),
    "unlisted-operator": Fault("operator", "relu", unlisted, False),
    "relu-of-integers": Fault("operator-type", "of_integers", of_integers, None),
    "double-constant": Fault("element-type", "level", double_constant, False),
    "int16": Fault("element-type", "other", through(TensorProto.INT16), True),
    "double": Fault("element-type", "other", through(TensorProto.DOUBLE), False),
    "uint8-transposed": Fault("uint8", "cast", transposed_first, True),
    "uint8-inside": Fault("uint8", "up", through(TensorProto.UINT8), True),
    "antialias": Fault("resize", "resize", resized(mode="linear", antialias=1), True),
    "cubic": Fault("resize", "resize", resized(mode="cubic"), False),
    "resize-coordinates": Fault(
        "resize", "resize", resized(mode="linear", coordinate_transformation_mode="half_pixel_symmetric"), True
    ),
    "resize-some-axes": Fault("resize", "resize", some_axes, None),
    "pool-indices": Fault("pooling", "pool", indices, None),
    "pool-dilations": Fault("pooling", "pool", dilated, None),
    "computed-sizes": Fault("constant-inputs", "resize", computed_sizes, False),
}


def rules(findings: list[Finding]) -> set[str]:
    return {finding.rule for finding in findings}


@pytest.mark.parametrize("target", ["any", "cpu", "tensorrt"])
def test_the_good_graph_has_no_finding(good: Good, target: str) -> None:
    assert lint(good(target).SerializeToString(), target) == []


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_found_by_its_rule_alone(good: Good, name: str) -> None:
    fault, model = FAULTS[name], good("any")
    fault.plant(model)
    findings = lint(model.SerializeToString(), "any")
    assert rules(findings) == {fault.rule}, [str(finding) for finding in findings]
    assert findings[0].where == fault.where


@pytest.mark.skipif(not available(), reason="tensorrt_rtx is not installed")
@pytest.mark.parametrize("name", [name for name, fault in FAULTS.items() if fault.refused is not None])
def test_what_the_real_parser_and_builder_say_to_it(good: Good, name: str) -> None:
    fault, model = FAULTS[name], good("any")
    fault.plant(model)
    if fault.refused:
        with pytest.raises(GateError, match="refuses"):
            build_report(model.SerializeToString(), name)
    else:
        build_report(model.SerializeToString(), name)


@pytest.mark.skipif(not available(), reason="tensorrt_rtx is not installed")
@pytest.mark.parametrize("target", ["any", "tensorrt"])
def test_the_good_graph_parses_and_builds(good: Good, target: str) -> None:
    report = build_report(good(target).SerializeToString(), target)
    assert report.share == {"any": 0.0, "tensorrt": 1.0}[target]


def test_every_rule_has_a_planted_fault() -> None:
    here = {fault.rule for fault in FAULTS.values()}
    elsewhere = {  # test_qdq.py
        *("not-quantised", "uint8-activations", "zero-point", "int32-bias", "quantised-constant"),
        *("scale", "channel-scale", "pairs", "half-quantised", "int8-activations", "int8-weights"),
    }
    assert here | elsewhere == {rule.name for rule in RULES}


def test_the_message_names_graph_rule_node_and_mend(good: Good) -> None:
    model = good("any")
    opset_21(model)
    with pytest.raises(GateError, match=r"extractor\.fp32 is not fit.*opset at graph: opset 21.*Export with") as caught:
        check_lint(model.SerializeToString(), "any", "extractor.fp32")
    assert caught.value.exit_code == 3
    check_lint(good("any").SerializeToString(), "any", "extractor.fp32")


def test_the_message_has_each_rule_once_and_three_at_most(good: Good) -> None:
    model = good("any")
    for edit in (batch_of_two, infinite, transposed_first, resized(mode="cubic"), dilated):
        edit(model)
    with pytest.raises(GateError) as caught:
        check_lint(model.SerializeToString(), "any", "extractor")
    assert [caught.value.what.count(f"{rule} at") for rule in ("batch", "finite", "uint8", "resize")] == [1, 1, 1, 0]


def test_bytes_that_are_no_graph_are_a_finding() -> None:
    assert rules(lint(b"not a graph at all", "any")) == {"valid"}
    assert rules(lint(b"", "any")) == {"opset"}


def test_an_unknown_target_is_refused(good: Good) -> None:
    with pytest.raises(InputError, match="target 'dla', expected any, cpu, tensorrt"):
        lint(good("any").SerializeToString(), "dla")


def test_parser_rules_do_not_hold_for_the_cpu(good: Good) -> None:
    model = good("cpu")
    resized(mode="cubic")(model)
    assert lint(model.SerializeToString(), "cpu") == []
