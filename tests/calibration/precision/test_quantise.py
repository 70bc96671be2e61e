"""INT8 on a real onnxruntime: every convolution that should be INT8 is, the score stays float, nothing is left behind.

The graph is written with onnx.helper, so that this room is tested without torch.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from diffad_calibration.precision.coverage import Coverage, check_coverage, int8_coverage
from diffad_calibration.precision.onnxfile import simplify
from diffad_calibration.precision.quantise import Sample, quantise_for_cpu
from diffad_runtime.errors import DataError, DiffadError, GateError

SIZE = 16


def unet(opset: int = 18) -> bytes:
    """Conv, ReLU, strided conv, residual add, upsampling, concatenation, two heads, and a score with a blur."""
    rng = np.random.default_rng(0)
    nodes: list[onnx.NodeProto] = []
    weights: list[onnx.TensorProto] = []

    def constant(name: str, array: np.ndarray) -> str:
        weights.append(numpy_helper.from_array(array, name))
        return name

    def conv(name: str, source: str, inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1) -> str:
        scale = (2 / (inputs * kernel * kernel)) ** 0.5
        weight = constant(f"{name}.w", (rng.normal(size=(outputs, inputs, kernel, kernel)) * scale).astype(np.float32))
        bias = constant(f"{name}.b", (rng.normal(size=outputs) * 0.1).astype(np.float32))
        attributes = {"pads": [kernel // 2] * 4, "strides": [stride, stride]}
        node = helper.make_node("Conv", [source, weight, bias], [name], name=f"node_{name}", **attributes)
        node.doc_string = "made at /home/someone/secret.py"
        scopes = node.metadata_props.add()
        scopes.key, scopes.value = "pkg.torch.onnx.name_scopes", str(["", *(["score"] * (name == "blur")), name])
        nodes.append(node)
        return name

    def op(kind: str, name: str, *inputs: str, **attributes: object) -> str:
        nodes.append(helper.make_node(kind, list(inputs), [name], name=f"node_{name}", **attributes))
        return name

    a = op("Relu", "a", conv("stem", "x", 3, 8))
    b = op("Relu", "b", conv("down", a, 8, 16, stride=2))
    c = op("Relu", "c", op("Add", "sum", conv("residual", b, 16, 16), b))
    scales = constant("scales", np.array([1, 1, 2, 2], np.float32))
    up = op(
        "Resize", "up", c, "", scales, mode="nearest", nearest_mode="floor", coordinate_transformation_mode="asymmetric"
    )
    d = op("Relu", "d", conv("merge", op("Concat", "cat", up, a, axis=1), 24, 8))
    mean, log_variance = conv("mean", d, 8, 4, kernel=1), conv("log_variance", d, 8, 4, kernel=1)
    residual = op("Sub", "difference", "f", mean)
    likelihood = op("Add", "likelihood", op("Mul", "square", residual, residual), log_variance)
    axes = constant("axes", np.array([1], np.int64))
    conv("blur", op("ReduceMean", "score", likelihood, axes, keepdims=1), 1, 1)

    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, SIZE, SIZE]),
        helper.make_tensor_value_info("f", TensorProto.FLOAT, [1, 4, SIZE, SIZE]),
    ]
    outputs = [helper.make_tensor_value_info("blur", TensorProto.FLOAT, [1, 1, SIZE, SIZE])]
    graph = helper.make_graph(nodes, "unet", inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    return bytes(model.SerializeToString())


def feeds(count: int = 4) -> Iterator[dict[str, np.ndarray]]:
    rng = np.random.default_rng(1)
    for _ in range(count):
        yield {
            "x": rng.uniform(-1, 1, (1, 3, SIZE, SIZE)).astype(np.float32),
            "f": rng.normal(size=(1, 4, SIZE, SIZE)).astype(np.float32),
        }


def run(model: bytes, feed: dict[str, np.ndarray]) -> np.ndarray:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, feed)[0])


def test_every_convolution_but_the_kept_one_runs_in_int8() -> None:
    quantised = quantise_for_cpu(unet(), feeds(), keep_float=["score"])
    coverage = int8_coverage(quantised)
    assert (coverage.qlinear_conv, coverage.float_conv) == (6, ["node_blur"])
    # One way in; out again for the two heads. Every further pair would cost time inside the network.
    assert coverage.operators["QuantizeLinear"] == 1
    assert coverage.operators["DequantizeLinear"] == 2
    assert coverage.operators["QLinearAdd"] == 1
    assert coverage.operators["QLinearConcat"] == 1
    check_coverage(coverage, float_convolutions=1)


def test_answers_stay_close() -> None:
    feed = next(feeds(1))
    expected = run(unet(), feed)
    found = run(quantise_for_cpu(unet(), feeds(), keep_float=["blur"]), feed)
    difference = np.abs(found - expected)
    assert difference.mean() < 0.03 * expected.std(), f"mean {difference.mean()}, max {difference.max()}"
    np.testing.assert_allclose(run(simplify(unet()), feed), expected, atol=1e-5)


@pytest.mark.parametrize("pattern", ["score", "node_blur", "blur", "blu*"])
def test_keep_float_takes_modules_nodes_and_tensors(pattern: str) -> None:
    assert int8_coverage(quantise_for_cpu(unet(), feeds(1), keep_float=[pattern])).float_conv == ["node_blur"]


def test_keep_float_in_the_middle_of_the_network() -> None:
    coverage = int8_coverage(quantise_for_cpu(unet(), feeds(1), keep_float=["score", "stem"]))
    assert coverage.float_conv == ["node_blur", "node_stem"]
    assert coverage.qlinear_conv == 5


def test_unknown_patterns_and_no_frames_are_refused() -> None:
    with pytest.raises(DataError, match="'nowhere' matches no node"):
        quantise_for_cpu(unet(), feeds(), keep_float=["nowhere"])
    with pytest.raises(DataError, match="no frames to calibrate on"):
        quantise_for_cpu(unet(), [])
    with pytest.raises(DataError, match="no convolution is left"):
        quantise_for_cpu(unet(), feeds(1), keep_float=["*"])


@pytest.mark.parametrize(("count", "expected"), [(3, [0, 1, 2]), (4, [0, 1, 2, 3]), (10, [0, 4, 8])])
def test_feeds_for_the_correction_are_few_and_spread(count: int, expected: list[int]) -> None:
    sample = Sample(4)
    for i in range(count):
        sample.offer({"x": np.array([i])})
    assert [int(feed["x"][0]) for feed in sample.kept] == expected


def test_output_is_clean(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for model in (simplify(unet()), quantise_for_cpu(unet(), feeds(), keep_float=["score"])):
        proto = onnx.load_from_string(model)
        onnx.checker.check_model(proto, full_check=True)
        assert [(entry.domain, entry.version) for entry in proto.opset_import] == [("", 18)]
        assert b"secret" not in model
        assert b"name_scopes" not in model
        assert not any(tensor.external_data for tensor in proto.graph.initializer)
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []


def test_same_input_same_bytes() -> None:
    assert quantise_for_cpu(unet(), feeds(2)) == quantise_for_cpu(unet(), feeds(2))
    assert simplify(unet()) == simplify(unet())


@pytest.mark.parametrize("opset", [16, 21])
def test_opsets_outside_the_range_are_refused(opset: int) -> None:
    with pytest.raises(DiffadError, match=f"opset {opset}, expected 17 to 20"):
        simplify(unet(opset))


def test_garbage_is_refused() -> None:
    broken = onnx.load_from_string(unet())
    del broken.graph.initializer[:]
    with pytest.raises(DiffadError, match="not a valid ONNX graph"):
        simplify(broken.SerializeToString())
    with pytest.raises(DiffadError, match="not an ONNX graph"):
        int8_coverage(b"garbage")


def test_what_onnxruntime_refuses_is_one_error_and_no_noise(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    broken = onnx.load_from_string(unet())
    next(node for node in broken.graph.node if node.name == "node_cat").attribute[0].i = 2
    for work in (simplify, lambda model: quantise_for_cpu(model, feeds()), int8_coverage):
        with pytest.raises(DiffadError, match="onnxruntime refuses the graph"):
            work(broken.SerializeToString())
    assert capfd.readouterr() == ("", "")
    with pytest.raises(DiffadError, match="or its inputs"):
        quantise_for_cpu(unet(), [{"x": np.zeros((1, 3, 4, 4), np.float32)}])
    assert caplog.records == []


def test_the_coverage_gate() -> None:
    with pytest.raises(GateError, match=r"1 convolutions stayed float, expected 0.*node_a"):
        check_coverage(Coverage(4, ["node_a"], {}), float_convolutions=0)
    with pytest.raises(GateError, match="0 run in INT8"):
        check_coverage(Coverage(0, [], {}), float_convolutions=0)
    assert int8_coverage(unet()).qlinear_conv == 0
