"""What FP16 cannot hold is seen on a CPU, where ONNX Runtime alone would hide it."""

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from diffad_calibration.precision.half import to_half
from diffad_calibration.precision.onnxfile import finished, prepared
from diffad_calibration.precision.truehalf import as_computed, every_tensor_rounded
from diffad_calibration.precision.variants import Calibrator, Graphs


def steep(gain: float) -> bytes:
    """x (1, 1, 4, 4) -> times gain, Relu, times 1 / gain: two convolutions in FP16, whatever the range guard says."""
    weights = [np.full((1, 1, 1, 1), value, np.float32) for value in (gain, 1 / gain)]
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["a"], name="one"),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("Conv", ["b", "w1"], ["y"], name="two"),
    ]
    shape = [1, 1, 4, 4]
    graph = helper.make_graph(
        nodes,
        "steep",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(weight, f"w{i}") for i, weight in enumerate(weights)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return finished(to_half(prepared(model.SerializeToString()), {"one", "relu", "two"}))


def run(model: bytes) -> np.ndarray:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": np.full((1, 1, 4, 4), 100, np.float32)})[0])


def test_an_overflow_is_seen() -> None:
    assert np.isfinite(run(steep(2000))).all()  # 200 000 in between
    assert not np.isfinite(run(every_tensor_rounded(steep(2000)))).all()
    np.testing.assert_allclose(run(every_tensor_rounded(steep(100))), 100, rtol=2e-3)


def test_only_variants_with_fp16_inside_are_measured_so(calibrator: Calibrator) -> None:
    for name in ("fp32", "int8", "int8-trt"):
        graphs = calibrator.make(name).graphs
        assert as_computed(graphs, name) is graphs
    for name in ("fp16", "int8-fp16-trt"):
        graphs = calibrator.make(name).graphs
        found = as_computed(graphs, name)
        onnx.checker.check_model(onnx.load_from_string(found.reconstructor), full_check=True)
        assert casts(found) > casts(graphs) + 4


def casts(graphs: Graphs) -> int:
    nodes = [
        *onnx.load_from_string(graphs.extractor).graph.node,
        *onnx.load_from_string(graphs.reconstructor).graph.node,
    ]
    return sum(node.op_type == "Cast" for node in nodes)
