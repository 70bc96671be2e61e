"""The paper's backbone: four taps of the library's own network. Weights are random, nothing is fetched."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from diffad_export.backbone.b4 import SHAPE, b4
from diffad_export.grids import GridLayout
from diffad_runtime.errors import InputError

os.environ.setdefault("HF_HUB_OFFLINE", "1")
transformers = pytest.importorskip("transformers", reason="the extra [b4] is not installed")


@torch.no_grad()
def test_taps_are_the_last_states_of_the_librarys_network(tmp_path: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = transformers.EfficientNetModel(transformers.EfficientNetConfig(**SHAPE))
        # As the library initialises them, activations fade to nothing within a few blocks.
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.ones_(module.weight)
                module.momentum = 1.0
        network.train()(torch.randn(4, 3, 64, 64))
        network.eval()
    network.save_pretrained(tmp_path)
    extractor = b4(tmp_path)
    assert extractor.facts.channels == (24, 32, 56, 160)
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    x, f = extractor(torch.from_numpy(image[None]))
    taps = extractor.taps(x)
    assert [tuple(t.shape) for t in taps] == [(1, 24, 32, 32), (1, 32, 16, 16), (1, 56, 8, 8), (1, 160, 4, 4)]
    assert f.shape == (1, 272, 16, 16)

    # As the library's image processor does: RGB, divided by 255, standardised with the model's own figures.
    rgb = image[:, :, ::-1].astype(np.float32) / 255
    rgb = (rgb - (0.485, 0.456, 0.406)) / np.sqrt((0.229, 0.224, 0.225))
    pixels = torch.from_numpy(rgb.transpose(2, 0, 1)[None].astype(np.float32))
    states = network(pixels, output_hidden_states=True).hidden_states
    last = {64 // state.shape[-1]: state for state in states}
    for stride, mine in zip((2, 4, 8, 16), taps, strict=True):
        scale = last[stride].std().item()
        assert scale > 0.01
        torch.testing.assert_close(mine, last[stride], rtol=1e-3, atol=1e-3 * scale)


def test_the_shape_is_that_of_b4() -> None:
    extractor, x = b4(random=True), torch.zeros(1, 3, 64, 64)
    assert [tap.shape[1] for tap in extractor.taps(x)] == [24, 32, 56, 160]
    pyramid = extractor.as_pyramid()
    assert pyramid.layout == GridLayout((4, 8, 16), (56, 56, 160))
    assert [tuple(f.shape) for f in pyramid.grids(x)] == [(1, 56, 16, 16), (1, 56, 8, 8), (1, 160, 4, 4)]


def test_missing_weights_are_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no EfficientNet-B4 weights at .*\. Give a folder with config\.json"):
        b4(tmp_path)
