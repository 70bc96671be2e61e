"""FP16 within FP32: as many casts as there are borders and no more, FP32 constants untouched, answers close."""

from collections import Counter
from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from diffad_calibration.lint import compare_weights, lint
from diffad_calibration.precision import half
from diffad_calibration.precision.half import SCALES_OPSET, to_half, with_opset
from diffad_calibration.precision.onnxfile import finished, prepared
from diffad_calibration.precision.placement import half_nodes
from diffad_calibration.precision.ranges import collect
from diffad_calibration.precision.recipes import halve
from diffad_calibration.precision.variants import GRAPHS, Calibrator, Graphs
from diffad_runtime.errors import DataError

# Largest difference to FP32 in its standard deviations; .0027 with all that may be FP16 in FP16.
TOLERANCE = 0.005
HALVES = {
    "all": ["stem", "a", "down", "b", "both", "mix", "c", "up", "cat", "merge", "d", "mean"],
    "alternating": ["stem", "down", "mix", "merge", "mean"],
    "holes": ["a", "b", "cat", "mean", "square", "large"],
    "ends": ["stem", "feature_score", "anomaly_map"],
    "none": [],
}


def feed(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "x": rng.uniform(-1, 1, (1, 3, 32, 32)).astype(np.float32),
        "f": rng.normal(size=(1, 6, 8, 8)).astype(np.float32),
    }


def constants(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {entry.name: numpy_helper.to_array(entry) for entry in model.graph.initializer}


def borders(graph: onnx.GraphProto, halved: Collection[str]) -> int:
    """Tensors that nodes of the other type read, in the FP32 graph; an output is read in FP32."""
    known = {entry.name for entry in graph.initializer}
    makers = {name: node.name for node in graph.node for name in node.output}
    readers: dict[str, set[bool]] = {entry.name: {False} for entry in graph.output}
    for node in graph.node:
        for index, name in enumerate(node.input):
            if name and name not in known and not (node.op_type == "Resize" and index):
                readers.setdefault(name, set()).add(node.name in halved)
    return sum((makers.get(name) in halved) is not one for name, kinds in readers.items() for one in kinds)


def detours(graph: onnx.GraphProto) -> list[str]:
    """Casts to FP32 of what a cast made FP16, and the other way round."""
    casts = {node.output[0]: node for node in graph.node if node.op_type == "Cast"}
    return [node.name for node in casts.values() if node.input[0] in casts]


@pytest.mark.parametrize("case", HALVES)
def test_no_cast_but_at_borders_and_fp32_untouched(case: str, pair: Graphs, reference: Callable[..., Any]) -> None:
    before = prepared(pair.reconstructor)
    halved = [f"node_{name}" for name in HALVES[case]]
    made = to_half(before, halved)
    count = Counter(node.op_type for node in made.graph.node)
    assert count["Cast"] == borders(before.graph, halved)
    assert detours(made.graph) == []

    nodes = {node.name: node for node in made.graph.node}
    assert nodes.keys() >= {node.name for node in before.graph.node}
    exact, found = constants(before), constants(made)
    for node in before.graph.node:
        for name, after in zip(node.input, nodes[node.name].input, strict=True):
            if name in exact and (node.name not in halved or exact[name].dtype != np.float32 or name == "twice"):
                assert found[after].dtype == exact[name].dtype
                np.testing.assert_array_equal(found[after], exact[name])
            elif name in exact and node.op_type == "Conv":
                np.testing.assert_array_equal(found[after], exact[name].astype(np.float16))

    model = finished(made)
    types = {entry.type.tensor_type.elem_type for entry in (*made.graph.input, *made.graph.output)}
    assert types == {TensorProto.FLOAT}
    assert lint(model, "any") == []
    assert compare_weights(pair.reconstructor, model) == []
    answer, expected = reference(model, feed()), reference(pair.reconstructor, feed())
    for name, values in expected.items():
        error = np.abs(answer[name] - values).max() / values.std()
        assert error < TOLERANCE, f"{name}: {error} standard deviations"
    if case == "none":
        assert nodes == {node.name: node for node in before.graph.node}


def test_constants_whose_type_is_stated_are_not_taken_for_activations(pair: Graphs) -> None:
    before = prepared(pair.reconstructor)
    for entry in before.graph.initializer:
        kind = TensorProto.FLOAT if entry.data_type == TensorProto.FLOAT else entry.data_type
        before.graph.value_info.append(helper.make_tensor_value_info(entry.name, kind, list(entry.dims)))
    made = to_half(before, ["node_stem"])
    assert Counter(node.op_type for node in made.graph.node)["Cast"] == 2
    exact = constants(before)
    for name, array in constants(made).items():
        np.testing.assert_array_equal(
            array, exact[name].astype(np.float16) if name.startswith("stem.") else exact[name]
        )


def test_one_cast_serves_all_readers(pair: Graphs, monkeypatch: pytest.MonkeyPatch) -> None:
    before, halved = prepared(pair.reconstructor), ["node_stem", "node_a"]  # two nodes in FP32 read a
    convert = half.convert_float_to_float16

    def a_cast_for_each_reader(*arguments: Any, **options: Any) -> onnx.ModelProto:
        """A converter that shares nothing."""
        made: onnx.ModelProto = convert(*arguments, **options)
        casts = {node.output[0]: node for node in made.graph.node if node.op_type == "Cast"}
        for node in list(made.graph.node):
            for index, name in enumerate(node.input):
                if name in casts:
                    copy = made.graph.node.add()
                    copy.CopyFrom(casts[name])
                    copy.name = copy.output[0] = node.input[index] = f"{name}_for_{node.name}"
        return made

    monkeypatch.setattr(half, "convert_float_to_float16", a_cast_for_each_reader)
    made = to_half(before, halved)
    assert Counter(node.op_type for node in made.graph.node)["Cast"] == borders(before.graph, halved)
    onnx.checker.check_model(made, full_check=True)


def test_variants_of_both_graphs(pair: Graphs, calibrator: Calibrator) -> None:
    made = calibrator.make("fp16").graphs
    for graph in GRAPHS:
        proto, before = onnx.load_from_string(made[graph]), prepared(pair[graph])
        assert [(entry.domain, entry.version) for entry in proto.opset_import] == [("", 18)]
        assert lint(made[graph], "any") == []
        assert detours(proto.graph) == []
        inferred = onnx.shape_inference.infer_shapes(proto)
        kinds = {entry.name: entry.type.tensor_type.elem_type for entry in inferred.graph.value_info}
        weights = {entry.name: entry.data_type for entry in proto.graph.initializer}
        convolutions = [node for node in proto.graph.node if node.op_type == "Conv"]
        assert {weights[node.input[1]] for node in convolutions} == {TensorProto.FLOAT16}
        assert {kinds[node.input[0]] for node in convolutions} == {TensorProto.FLOAT16}
        assert len(proto.graph.node) <= len(before.graph.node) + 4
    # x comes in as FP32 and leaves as FP32 by its own name; what is scored stays FP32 throughout.
    score = onnx.load_from_string(made.reconstructor).graph
    assert next(node.input[0] for node in score.node if node.op_type == "Sub") == "f"


def test_tensors_that_stay_fp32_keep_their_names(pair: Graphs) -> None:
    made = to_half(prepared(pair.reconstructor), ["node_stem", "node_a"])
    found = {name for node in made.graph.node for name in node.output}
    assert {"down", "b", "both", "mix", "c", "up", "cat", "merge", "d", "mean", "difference", "square"} <= found
    assert not any(name.endswith("_cast_to_fp16") for name in found)


def test_a_constant_that_both_types_read_is_parted(sketch: type) -> None:
    s = sketch()
    third = s.constant("third", 1 / 3)
    a = s.op("Div", "a", s.conv("one", "x", (4, 4, 1, 1)), third)
    s.op("Div", "end", s.conv("two", a, (4, 4, 1, 1)), third)
    model = s.model({"x": [1, 4, 8, 8]}, {"end": [1, 4, 8, 8]})
    proto = prepared(model)
    halved = half_nodes(proto.graph, {})
    assert halved == ["node_one", "node_a", "node_two"]
    made = to_half(proto, halved)
    read = {node.name: constants(made)[node.input[1]] for node in made.graph.node if node.op_type == "Div"}
    assert (read["node_a"].dtype, read["node_end"].dtype) == (np.float16, np.float32)
    assert read["node_end"] == np.float32(1 / 3)
    assert lint(finished(made), "any") == []
    assert "third_fp32" not in constants(proto)  # a copy was changed


def test_kept_nodes_stay_fp32_and_the_same_bytes_come_again(pair: Graphs) -> None:
    extremes = collect(pair.reconstructor, [feed()]).extremes()
    made = halve(pair.reconstructor, extremes, keep_float=["mix", "node_m*an"])
    assert made == halve(pair.reconstructor, extremes, keep_float=["mix", "node_m*an"])
    kinds = {entry.name: entry.data_type for entry in onnx.load_from_string(made).graph.initializer}
    found = {name for name, kind in kinds.items() if name.endswith(".w") and kind == TensorProto.FLOAT}
    assert found == {"mix.w", "mean.w"}
    assert lint(made, "any") == []
    with pytest.raises(DataError, match="'nowhere' matches no node"):
        halve(pair.reconstructor, extremes, keep_float=["nowhere"])


def test_opset_of_fp16_scales(pair: Graphs, run: Callable[..., Any]) -> None:
    made = with_opset(prepared(pair.reconstructor), SCALES_OPSET)
    assert made.opset_import[0].version == 19
    before, after = run(pair.reconstructor, feed()), run(finished(made), feed())
    for name in before:
        np.testing.assert_allclose(after[name], before[name], atol=1e-5)
