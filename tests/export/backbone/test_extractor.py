"""Normalisation, colour order and the common grid, on stages simple enough to compute by hand."""

import pytest
import torch
from torch import Tensor, nn

from diffad_export.backbone import Extractor
from diffad_export.backbone.extractor import BackboneFacts, normalise, to_bgr
from diffad_export.grids import GridLayout

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


@pytest.mark.parametrize("size", [64, 96])
def test_a_pyramid_leaves_coarse_strides_on_their_own_grids(size: int) -> None:
    extractor = halving()
    pyramid = extractor.as_pyramid()
    assert (extractor.pyramid, pyramid.pyramid) == (False, True)
    assert pyramid.layout == GridLayout((4, 8, 16), (6, 3, 3))
    assert extractor.layout == GridLayout((4,), (12,))
    x, *f = pyramid(frame(size))
    taps = extractor.taps(x)
    assert [tuple(one.shape) for one in f] == [
        (2, 6, size // 4, size // 4), (2, 3, size // 8, size // 8), (2, 3, size // 16, size // 16),
    ]  # fmt: skip
    assert torch.equal(f[0][:, 3:], taps[1])
    torch.testing.assert_close(f[0][:, :3], taps[1])  # the finest, averaged to the grid: the mean of 2 x 2 means
    assert torch.equal(f[1], taps[2])
    assert torch.equal(f[2], taps[3])
    # Strides that share a grid are what they are on the one grid, and `features` still gives that.
    assert torch.equal(f[0], extractor.features(x)[:, :6])
    assert torch.equal(pyramid.features(x), extractor.features(x))
    assert torch.equal(extractor.grids(x)[0], extractor.features(x))


@pytest.mark.parametrize(("grid_stride", "strides"), [(8, (8, 16)), (16, (16,))])
def test_a_pyramid_begins_at_the_one_grid(grid_stride: int, strides: tuple[int, ...]) -> None:
    extractor = Extractor(list(halving().stages), halving().facts, grid_stride=grid_stride).as_pyramid()
    grids = extractor.grids(normalise(frame()))
    assert extractor.layout.strides == strides
    assert [64 // f.shape[-1] for f in grids] == list(strides)
    assert tuple(f.shape[1] for f in grids) == extractor.layout.channels


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
    grids = lite0.as_pyramid().grids(x)
    assert lite0.as_pyramid().layout == GridLayout((4, 8, 16), (40, 40, 112))
    assert [tuple(one.shape[1:]) for one in grids] == [(40, 16, 16), (40, 8, 8), (112, 4, 4)]
    # Nothing is lost: enlarged, they are the features on one grid.
    enlarged = [nn.functional.interpolate(one, size=16, mode="bilinear", align_corners=False) for one in grids]
    torch.testing.assert_close(torch.cat(enlarged, 1), f, rtol=1e-4, atol=1e-4)
