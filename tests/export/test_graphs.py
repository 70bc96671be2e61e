"""The graphs that leave torch: their form, what they must not hold, and that they answer as torch does."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx.external_data_helper import uses_external_data

from diffad_calibration.precision.coverage import int8_coverage
from diffad_calibration.precision.quantise import quantise_for_cpu
from diffad_export.backbone import Extractor
from diffad_export.graphs import OPSET, feature_names, reconstructor_graph
from diffad_export.grids import GridLayout
from diffad_export.networks.student import Student
from diffad_export.recipe import ExportSummary
from diffad_export.reconstructor import FeatureNorm, Reconstructor, fixed_noise, levels_of
from diffad_export.score import TERMS, FeatureScore, FittedScore
from diffad_runtime.bundle import Bundle, open_bundle
from diffad_runtime.engines.onnxruntime import OnnxRuntimeEngine

SIZE, GRID, CHANNELS = 64, 16, 192
PYRAMID = GridLayout((4, 8, 16), (40, 40, 112))  # of EfficientNet-Lite0
TRUNK = 17  # convolutions of the student before its heads
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


def names_and_shapes(values: Sequence[onnx.ValueInfoProto]) -> dict[str, list[int]]:
    return {value.name: [d.dim_value for d in value.type.tensor_type.shape.dim] for value in values}


@pytest.mark.parametrize("variant", ["fp32", "int8"])
def test_graphs_are_static_self_contained_and_of_one_opset(bundle: Bundle, variant: str) -> None:
    between = {"x": [1, 3, 64, 64], "f4": [1, 40, 16, 16], "f8": [1, 40, 8, 8], "f16": [1, 112, 4, 4]}
    expected = (
        ({"image": [1, 64, 64, 3]}, between),
        (between, {"anomaly_map": [1, 64, 64], "feature_score": [1, 16, 16]}),
    )
    for model, (inputs, outputs) in zip(bundle.graphs(variant), expected, strict=True):
        proto = onnx.load_from_string(model)
        onnx.checker.check_model(proto, full_check=True)
        assert {entry.version for entry in proto.opset_import if entry.domain == ""} == {OPSET} == {18}
        assert names_and_shapes(proto.graph.input) == inputs
        assert names_and_shapes(proto.graph.output) == outputs
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
    # Where alpha is 0 the pixel heads are not there: the trunk, and two heads on each grid.
    assert reconstructor.qlinear_conv == convolutions[1] == TRUNK + 2 * 3


def test_the_extractor_graph_answers_as_torch_does(bundle: Bundle, lite0: Extractor) -> None:
    image = np.random.default_rng(0).integers(0, 256, (1, SIZE, SIZE, 3), dtype=np.uint8)
    found = session(bundle.graphs("fp32")[0]).run(["x", *feature_names(PYRAMID)], {"image": image})
    with torch.no_grad():
        expected = lite0.as_pyramid()(torch.from_numpy(image))
    for a, b in zip(found, expected, strict=True):
        close(a, b.numpy())


@dataclass(frozen=True)
class Case:
    """A reconstructor to export."""

    kind: FeatureScore
    layout: GridLayout
    levels: tuple[int, ...] = (50,)
    shared: bool = False
    draws: int = 1
    alpha: float = 0.3

    def model(self) -> Reconstructor:
        count = len(self.levels)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            student = Student(self.layout, 8, count, shared=self.shared)
            if student.shift is not None:
                torch.nn.init.normal_(student.shift)
            for head in (module for module in student.modules() if isinstance(module, torch.nn.Conv2d)):
                if head.kernel_size == (1, 1):  # new heads answer almost nothing
                    torch.nn.init.normal_(head.weight, std=0.1)
        fitted = replace(
            FittedScore.neutral(self.kind, count, CHANNELS, alpha=self.alpha, floor=0.1),
            pixel_mean=torch.full((count, 1, 1), 0.5),
            feature_std=torch.full((len(TERMS[self.kind]), count, GRID, GRID), 3.0),
        )
        return Reconstructor(
            student.eval().fold(),
            FeatureNorm(torch.linspace(-1, 1, CHANNELS), torch.linspace(0.5, 2, CHANNELS)),
            levels_of(self.levels),
            fixed_noise(count, SIZE, 7, self.draws),
            fitted,
            sigma=4.0,
            layout=self.layout,
        ).eval()

    def convolutions(self) -> int:
        """Of the graph: the trunk, the heads that are in use, and once the picture in blocks."""
        heads = len(self.layout.strides) * (1 if self.kind == "residual" else 2)
        pixels = 2 if self.alpha > 0 else 0
        return len(self.levels) * self.draws * (TRUNK + heads + pixels) + (self.alpha > 0)


@cache
def exported(case: Case) -> bytes:
    """The graph; two tests look at one of them."""
    return reconstructor_graph(case.model(), SIZE)


CASES = [
    Case("residual", GridLayout((4,), (CHANNELS,))),
    Case("likelihood", PYRAMID, (5, 25, 50, 100), alpha=0.0),
    Case("whitened", PYRAMID, (50,)),
    Case("combined", PYRAMID, (5, 50), shared=True),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.kind}-{len(case.levels)}")
def test_the_reconstructor_graph_answers_as_torch_does(case: Case) -> None:
    model, layout = case.model(), case.layout
    proto = onnx.load_from_string(exported(case))
    shapes = {f"f{s}": [1, c, SIZE // s, SIZE // s] for s, c in zip(layout.strides, layout.channels, strict=True)}
    outputs = {"anomaly_map": [1, SIZE, SIZE], "pixel_score": [1, GRID, GRID], "feature_score": [1, GRID, GRID]}
    if case.alpha == 0:
        del outputs["pixel_score"]
    assert names_and_shapes(proto.graph.input) == {"x": [1, 3, SIZE, SIZE], **shapes}
    assert names_and_shapes(proto.graph.output) == outputs
    assert sum(node.op_type == "Conv" for node in proto.graph.node) == case.convolutions()
    run = session(exported(case))
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(1, 3, SIZE, SIZE, generator=generator).tanh()
        f = tuple(3 * torch.randn(*shape, generator=generator) for shape in shapes.values())
        with torch.no_grad():
            anomaly, pixel, feature = model(x, f)
        expected = {"anomaly_map": anomaly, "pixel_score": pixel, "feature_score": feature}
        feed = {"x": x.numpy(), **{name: part.numpy() for name, part in zip(shapes, f, strict=True)}}
        for name, values in zip(outputs, run.run(list(outputs), feed), strict=True):
            close(values, expected[name].numpy())


def test_two_levels_with_pixels_in_int8(bundle: Bundle) -> None:
    case = CASES[-1]
    extractor, size = bundle.graphs("fp32")[0], SIZE
    images = np.random.default_rng(0).integers(0, 256, (3, size, size, 3), dtype=np.uint8)
    names, run = ["x", *feature_names(PYRAMID)], session(extractor)
    feeds = [dict(zip(names, run.run(names, {"image": image[None]}), strict=True)) for image in images[:2]]
    quantised = quantise_for_cpu(exported(case), iter(feeds))
    coverage = int8_coverage(quantised)
    assert coverage.float_conv == []
    assert coverage.qlinear_conv == case.convolutions() == 2 * (TRUNK + 6 + 2) + 1
    with OnnxRuntimeEngine(extractor, quantised, input_size=size, variant="int8", threads=1) as engine:
        maps, again = engine.infer(images[2]), engine.infer(images[2])
    assert np.array_equal(maps.anomaly, again.anomaly)
    assert maps.pixel is not None
    assert maps.pixel.shape == maps.feature.shape == (GRID, GRID)
