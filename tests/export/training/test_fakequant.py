"""Fake quantisation against onnxruntime: heads of the exported INT8 graph, and the extractor's features."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from diffad_calibration.precision.int8ranges import ConvRanges, Range, int8_ranges
from diffad_calibration.precision.quantise import quantise_for_cpu
from diffad_export.backbone import Extractor
from diffad_export.graphs import extractor_graph, feature_names, reconstructor_graph
from diffad_export.grids import GridLayout
from diffad_export.networks.student import Student
from diffad_export.reconstructor import FeatureNorm, Reconstructor, fixed_noise, levels_of
from diffad_export.score import FittedScore
from diffad_export.training.fakequant import FakeQuantConv, fake_quantised, rounded, take_weights
from diffad_export.training.qat import STUDENT_PREFIX, sums_of

SIZE = 64
LAYOUT = GridLayout((4, 8, 16), (5, 3, 2))
HEADS = ("feature_heads", "variance_heads")


def reconstructor() -> Reconstructor:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        student = Student(LAYOUT, 8)
        for module in student.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.bias, std=0.3)
        for head in student.trunks[0].variance_heads:
            nn.init.normal_(head.weight, std=0.2)
    return Reconstructor(
        student.eval().fold(),
        FeatureNorm(torch.zeros(10), torch.ones(10)),
        levels_of((50,)),
        fixed_noise(1, SIZE, 1),
        FittedScore.neutral("likelihood", 1, 10, alpha=0.0, floor=0.1),
        sigma=1.0,
        layout=LAYOUT,
    ).eval()


def feeds(count: int) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    shapes = zip(feature_names(LAYOUT), LAYOUT.channels, LAYOUT.strides, strict=True)
    sides = {name: (1, channels, SIZE // stride, SIZE // stride) for name, channels, stride in shapes}
    return [
        {"x": rng.uniform(-1, 1, (1, 3, SIZE, SIZE)).astype(np.float32)}
        | {name: rng.normal(size=shape).astype(np.float32) for name, shape in sides.items()}
        for _ in range(count)
    ]


def heads_in(model: bytes, feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What the INT8 graph itself makes of its heads, by the names of their modules."""
    proto = onnx.load_from_string(model)
    makers = {tensor: node for node in proto.graph.node for tensor in node.output}
    found = {}
    for node in proto.graph.node:
        if node.op_type == "Conv" and "heads" in (weight := makers[node.input[1]].input[0]):
            found[weight.removesuffix(".weight_quantized")] = f"{node.output[0]}_DequantizeLinear_Output"
    proto.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in found.values()
    )
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return dict(zip(found, session.run(list(found.values()), feed), strict=True))


@torch.no_grad()
def test_heads_are_those_of_the_int8_graph() -> None:
    model = reconstructor()
    graph = quantise_for_cpu(reconstructor_graph(model, SIZE), feeds(8))
    ranges = int8_ranges(graph)
    rounding = reconstructor()
    rounding.denoiser = fake_quantised(model.denoiser, ranges, prefix=STUDENT_PREFIX)
    feed = feeds(9)[-1]
    x = torch.from_numpy(feed["x"])
    answers = {"exact": model.denoised(x, 0), "rounding": rounding.denoised(x, 0)}
    off: dict[str, list[float]] = {"exact": [], "rounding": []}
    expected = heads_in(graph, feed)
    assert len(expected) == 6
    for name, found in expected.items():
        kind, place = name.rsplit(".", 2)[-2:]
        step = ranges[f"{name}.weight"].output
        assert step is not None
        for which, denoised in answers.items():
            own = (denoised.f if kind == HEADS[0] else denoised.f_log_var)[int(place)]
            off[which].append(float(np.abs(own.numpy() - found).mean()) / step.scale)
    # In steps of the output, of which rounding at the head alone makes a quarter. Accumulators that differ in the last
    # bit send a few values to the step beside.
    assert np.mean(off["rounding"]) < 0.15, off
    assert np.mean(off["rounding"]) < 0.5 * np.mean(off["exact"]), off


@torch.no_grad()
def test_features_are_those_of_the_int8_graph(lite0: Extractor) -> None:
    extractor = lite0.as_pyramid()
    images = np.random.default_rng(0).integers(0, 256, (6, SIZE, SIZE, 3), dtype=np.uint8)
    graph = quantise_for_cpu(
        extractor_graph(extractor, SIZE), ({"image": image[None]} for image in images), correct_bias=False
    )
    ranges = int8_ranges(graph)
    sums = sums_of(extractor, ranges)
    assert len(sums) == 5  # of Lite0's first eleven blocks six end in a sum; nothing reads the last one
    rounding = fake_quantised(extractor, ranges, outputs=sums)
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    expected = session.run(None, {"image": images[:1]})
    image = torch.from_numpy(images[:1])
    for place, most in ((1, 0.05), (2, 0.2), (3, 0.6)):  # of what FP32 is off; flips of single steps add up in depth
        exact, rounded_too = (
            np.abs(net(image)[place].numpy() - expected[place]).mean() for net in (extractor, rounding)
        )
        assert rounded_too < most * exact, f"grid {place}: {rounded_too} against {exact}"


def test_gradients_pass_and_stop_where_values_are_clipped() -> None:
    h = torch.tensor([-3.0, 0.26, 1.0, 40.0], requires_grad=True)
    out = rounded(h, Range(0.1, 10))
    torch.testing.assert_close(out.detach(), torch.tensor([-1.0, 0.3, 1.0, 24.5]))
    out.sum().backward()
    assert h.grad is not None
    assert h.grad.tolist() == [0, 1, 1, 0]


def test_a_convolution_by_hand() -> None:
    convolution = nn.Conv2d(1, 2, 1)
    with torch.no_grad():
        convolution.weight.copy_(torch.tensor([1.27, 2.54]).view(2, 1, 1, 1))
        convolution.bias.copy_(torch.tensor([0.5, -100.0]))
    ranges = ConvRanges(Range(0.5, 0), Range(1.0, 0), None)
    h = torch.tensor([0.7, 300.0]).view(2, 1, 1, 1)
    out = FakeQuantConv(convolution, ranges)(h)[:, :, 0, 0]
    # 0.7 -> 0.5; 300 -> 127.5. 1.27 * 0.5 + 0.5 = 1.135 -> 1; the second channel is negative -> 0, as after a ReLU.
    assert out.tolist() == [[1.0, 0.0], [162.0, 224.0]]


def test_weights_come_back_and_the_given_network_is_untouched() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU())
    before = network[0].weight.detach().clone()
    bias = np.array([0.25, -0.5])
    rounding = fake_quantised(network, {"in.0.weight": ConvRanges(Range(0.1, 0), None, bias)}, prefix="in.")
    assert torch.equal(network[0].weight, before)
    optimiser = torch.optim.SGD(rounding.parameters(), lr=0.1)
    loss: Tensor = rounding(torch.rand(3, 1, 4, 4)).square().sum()
    loss.backward()
    optimiser.step()
    take_weights(network, rounding)
    assert not torch.equal(network[0].weight, before)
    assert isinstance(network[0], nn.Conv2d)
    assert len(network.state_dict()) == 2
    with pytest.raises(ValueError, match="no convolution"):
        fake_quantised(network, {}, prefix="in.")
