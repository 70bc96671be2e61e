"""The outside reference: what it computes, by a slow way, and that its graph runs."""

from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch

from diffad_export.commands import reference_timing
from diffad_export.outside import CHANNELS, DRAWN, PaDiMResNet18, padim_graph
from diffad_export.outside_timing import REFERENCES
from diffad_runtime.bundle import open_bundle
from diffad_runtime.errors import InputError

SIZE = 64


def _image() -> torch.Tensor:
    return torch.randint(0, 256, (1, SIZE, SIZE, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_trunk_is_a_resnet18_up_to_layer_3() -> None:
    model = PaDiMResNet18(SIZE)
    convolutions = [weight for weight in model.parameters() if weight.ndim == 4]
    assert len(convolutions) == 15
    # ResNet-18 without layer 4 and head, as published: 11,689,512 - 8,393,728 - 513,000.
    assert sum(weight.numel() for weight in model.parameters()) == 2_782_784
    assert sum(CHANNELS) == 448
    assert model.features(_image()).shape == (1, DRAWN, SIZE // 4, SIZE // 4)


def test_map_is_the_mahalanobis_distance() -> None:
    model = PaDiMResNet18(SIZE)
    f = model.features(_image())[0].reshape(DRAWN, -1).T.double()
    grid = np.empty(len(f))
    for place, (own, mean, inverse) in enumerate(
        zip(f, model.mean[:, 0].double(), model.inverse.double(), strict=True)
    ):
        grid[place] = float(((own - mean) @ inverse @ (own - mean)).sqrt())
    side = SIZE // 4
    large = cv2.resize(grid.reshape(side, side), (SIZE, SIZE), interpolation=cv2.INTER_LINEAR)
    expected = cv2.GaussianBlur(large, (25, 25), 4.0, borderType=cv2.BORDER_REPLICATE)
    np.testing.assert_allclose(model(_image())[0].numpy(), expected, rtol=1e-3)


@pytest.fixture(scope="module")
def graph() -> bytes:
    return padim_graph(SIZE)


def test_graph_is_one_and_says_the_same(graph: bytes) -> None:
    import onnxruntime

    assert "Conv" in {node.op_type for node in onnx.load_from_string(graph).graph.node}
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"image": _image().numpy()})
    np.testing.assert_allclose(found, PaDiMResNet18(SIZE)(_image()).numpy(), rtol=1e-3, atol=1e-4)


def test_timed_beside_a_bundle(tiny_bundle: Path, graph: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = open_bundle(tiny_bundle)
    label, _ = REFERENCES["padim-resnet18"]
    monkeypatch.setitem(REFERENCES, "padim-resnet18", (label, {SIZE: graph}.__getitem__))  # exporting takes seconds
    ((name, judge),) = reference_timing("padim-resnet18", bundle, 1).items()
    assert "random weights: for time only" in name
    times = judge(np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8))
    assert list(times) == ["resize", "network", "mask"]
    assert min(times.values()) > 0
    with pytest.raises(InputError, match=r"unknown reference 'stfpm'.*padim-resnet18"):
        reference_timing("stfpm", bundle)
