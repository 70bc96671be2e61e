"""Normalisation, colour order and the common grid, on stages simple enough to compute by hand."""

import pytest
import torch
from torch import Tensor, nn

from diffad_export.backbone import Extractor
from diffad_export.backbone.extractor import BackboneFacts, normalise, to_bgr

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


def halving() -> Extractor:
    """Every stage averages 2 x 2: the taps are the normalised image at strides 2, 4, 8 and 16."""
    facts = BackboneFacts("halving", (3, 3, 3, 3), MEAN, STD, "none")
    return Extractor([nn.AvgPool2d(2) for _ in range(4)], facts)


def frame(size: int = 64) -> Tensor:
    return torch.randint(0, 256, (2, size, size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_pixels_become_minus_one_to_one() -> None:
    image = torch.tensor([0, 255, 51], dtype=torch.uint8).view(1, 1, 1, 3).expand(1, 4, 4, 3)
    x = normalise(image)
    assert x.shape == (1, 3, 4, 4)
    torch.testing.assert_close(x[0, :, 0, 0], torch.tensor([-1.0, 1.0, -0.6]))


def test_stages_see_standardised_bgr() -> None:
    extractor, image = halving(), frame()
    x, _ = extractor(image)
    mean, std = (torch.tensor(v[::-1]).view(1, 3, 1, 1) for v in (MEAN, STD))
    standard = (image.permute(0, 3, 1, 2).float() / 255 - mean) / std
    torch.testing.assert_close(extractor.taps(x)[0], nn.functional.avg_pool2d(standard, 2), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [64, 96])
def test_features_lie_on_one_grid(size: int) -> None:
    extractor = halving()
    x, f = extractor(frame(size))
    assert f.shape == (2, 12, size // 4, size // 4)
    fine, same, coarse, coarsest = f.split(3, 1)
    taps = extractor.taps(x)
    torch.testing.assert_close(fine, same)  # averaged down: the mean of 2 x 2 means
    assert torch.equal(same, taps[1])
    assert coarse.std() < same.std()
    torch.testing.assert_close(coarsest[..., 0, 0], taps[3][..., 0, 0])  # bilinear holds the corner


def test_a_convolution_reordered_for_bgr_answers_as_before() -> None:
    convolution = nn.Conv2d(3, 8, 3)
    rgb = torch.randn(1, 3, 9, 9)
    before = convolution(rgb)
    to_bgr(convolution)
    torch.testing.assert_close(convolution(rgb.flip(1)), before)


def test_an_extractor_is_frozen() -> None:
    extractor = Extractor([nn.Conv2d(3, 4, 2, 2)] + [nn.AvgPool2d(2)] * 3, halving().facts)
    assert not extractor.training
    assert not any(p.requires_grad for p in extractor.parameters())


def test_lite0_features(lite0: Extractor) -> None:
    x, f = lite0(frame())
    assert f.shape == (2, sum(lite0.facts.channels), 16, 16) == (2, 192, 16, 16)
    assert x.shape == (2, 3, 64, 64)
    assert torch.isfinite(f).all()
