"""The graphs that leave torch: their form, what they must not hold, and that they answer as torch does."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx.external_data_helper import uses_external_data

from diffad_calibration.quantise import int8_coverage
from diffad_export.backbone import Extractor
from diffad_export.graphs import EXTRACTOR_IO, OPSET, RECONSTRUCTOR_IO, reconstructor_graph
from diffad_export.networks.student import Student
from diffad_export.recipe import ExportSummary
from diffad_export.reconstructor import FeatureNorm, Reconstructor, fixed_noise, levels_of
from diffad_export.score import FeatureScore, FittedScore
from diffad_runtime.bundle import Bundle, open_bundle

SIZE, GRID, CHANNELS = 64, 16, 192
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def bundle(tiny_export: ExportSummary) -> Bundle:
    return open_bundle(tiny_export.bundle)


def session(model: bytes) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])


def close(found: np.ndarray, expected: np.ndarray) -> None:
    difference = np.abs(found - expected)
    scale = max(1.0, float(np.abs(expected).max()))
    assert difference.max() < TOLERANCE * scale, f"max {difference.max()}, mean {difference.mean()}, scale {scale}"


@pytest.mark.parametrize("variant", ["fp32", "int8"])
def test_graphs_are_static_self_contained_and_of_one_opset(bundle: Bundle, variant: str) -> None:
    shapes = {
        "image": [1, SIZE, SIZE, 3],
        "x": [1, 3, SIZE, SIZE],
        "f": [1, CHANNELS, GRID, GRID],
        "anomaly_map": [1, SIZE, SIZE],
        "pixel_score": [1, GRID, GRID],
        "feature_score": [1, GRID, GRID],
    }
    for model, (inputs, outputs) in zip(bundle.graphs(variant), (EXTRACTOR_IO, RECONSTRUCTOR_IO), strict=True):
        proto = onnx.load_from_string(model)
        onnx.checker.check_model(proto, full_check=True)
        assert {entry.version for entry in proto.opset_import if entry.domain == ""} == {OPSET} == {18}
        assert [v.name for v in proto.graph.input] == inputs
        assert [v.name for v in proto.graph.output] == outputs
        for value in [*proto.graph.input, *proto.graph.output]:
            assert [d.dim_value for d in value.type.tensor_type.shape.dim] == shapes[value.name]
        assert not any(uses_external_data(tensor) for tensor in proto.graph.initializer)


@pytest.mark.parametrize("variant", ["fp32", "int8"])
def test_graphs_hold_nothing_of_the_machine_they_were_made_on(bundle: Bundle, variant: str) -> None:
    traces = {
        str(Path.home()),
        str(Path(__file__).parents[2]),
        sys.prefix,
        str(Path.cwd()),
        "site-packages",
        "diffad_export",
        "Traceback",
    }
    traces -= {"/"}
    for model in bundle.graphs(variant):
        assert {trace for trace in traces if trace.encode() in model} == set()


def test_every_convolution_runs_in_int8(bundle: Bundle) -> None:
    extractor, reconstructor = (int8_coverage(model) for model in bundle.graphs("int8"))
    convolutions = [
        sum(node.op_type == "Conv" for node in onnx.load_from_string(model).graph.node)
        for model in bundle.graphs("fp32")
    ]
    assert extractor.float_conv == []
    assert extractor.qlinear_conv == convolutions[0] > 30
    assert reconstructor.float_conv == []
    assert reconstructor.qlinear_conv == convolutions[1] > 15


def test_the_extractor_graph_answers_as_torch_does(bundle: Bundle, lite0: Extractor) -> None:
    image = np.random.default_rng(0).integers(0, 256, (1, SIZE, SIZE, 3), dtype=np.uint8)
    found = session(bundle.graphs("fp32")[0]).run(["x", "f"], {"image": image})
    with torch.no_grad():
        expected = lite0(torch.from_numpy(image))
    for a, b in zip(found, expected, strict=True):
        close(a, b.numpy())


@pytest.mark.parametrize("kind", ["residual", "likelihood", "whitened", "combined"])
def test_the_reconstructor_graph_answers_as_torch_does(kind: FeatureScore) -> None:
    fitted = replace(
        FittedScore.neutral(kind, 1, CHANNELS, alpha=0.3, floor=0.1),
        pixel_mean=torch.full((1, 1, 1), 0.5),
        feature_std=torch.full((1, 1, GRID, GRID), 3.0),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        student = Student(CHANNELS, 8).fold()
    model = Reconstructor(
        student,
        FeatureNorm(torch.linspace(-1, 1, CHANNELS), torch.linspace(0.5, 2, CHANNELS)),
        levels_of((50,)),
        fixed_noise(1, SIZE, 7),
        fitted,
        sigma=4.0,
    ).eval()
    graph = session(reconstructor_graph(model, CHANNELS, SIZE))
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(1, 3, SIZE, SIZE, generator=generator).tanh()
        f = 3 * torch.randn(1, CHANNELS, GRID, GRID, generator=generator)
        with torch.no_grad():
            expected = model(x, f)
        for a, b in zip(graph.run(RECONSTRUCTOR_IO[1], {"x": x.numpy(), "f": f.numpy()}), expected, strict=True):
            close(a, b.numpy())
