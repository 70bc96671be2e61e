"""Layouts of feature grids, and the way back from one grid to several."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from diffad_export.backbone import Extractor
from diffad_export.backbone.b4 import FACTS as B4
from diffad_export.backbone.extractor import STRIDES
from diffad_export.grids import FromOneGrid, GridLayout
from diffad_export.resampling import bilinear_matrix


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


LITE0_CHANNELS = (16, 24, 40, 112)


@pytest.mark.parametrize(
    ("channels", "strides", "grid_stride", "expected"),
    [
        (LITE0_CHANNELS, STRIDES, 4, GridLayout((4, 8, 16), (40, 40, 112))),
        (LITE0_CHANNELS, STRIDES, 8, GridLayout((8, 16), (80, 112))),
        (LITE0_CHANNELS, STRIDES, 16, GridLayout((16,), (192,))),
        (LITE0_CHANNELS[2:], STRIDES[2:], 4, GridLayout((8, 16), (40, 112))),
        (B4.channels, STRIDES, 4, GridLayout((4, 8, 16), (56, 56, 160))),
    ],
)
def test_each_coarse_stride_has_its_own_grid(
    channels: tuple[int, ...], strides: tuple[int, ...], grid_stride: int, expected: GridLayout
) -> None:
    assert GridLayout.pyramid(strides, channels, grid_stride) == expected
    one = GridLayout.single(channels, grid_stride)
    assert one == GridLayout((grid_stride,), (sum(channels),))
    assert one.total == expected.total


@given(st.lists(st.integers(1, 9), min_size=1, max_size=4))
def test_parts_are_the_channels_in_their_order(channels: list[int]) -> None:
    layout = GridLayout(tuple(4 * 2**i for i in range(len(channels))), tuple(channels))
    numbered = torch.arange(float(layout.total))
    assert torch.equal(torch.cat(layout.split(numbered)), numbered)
    assert [len(part) for part in layout.split(numbered)] == channels
    for own, part in zip(layout.slices(), layout.split(numbered), strict=True):
        assert torch.equal(numbered[own], part)
    table = numbered.repeat(2, 1)
    assert torch.equal(torch.cat(layout.split(table, 1), 1), table)


@pytest.mark.parametrize("size", [64, 96])
@pytest.mark.parametrize("grid_stride", [4, 8])
@torch.no_grad()
def test_what_was_enlarged_to_one_grid_comes_back(lite0: Extractor, size: int, grid_stride: int) -> None:
    """The cache holds one grid; a student must learn the very features that its own extractor gives."""
    one_grid = Extractor(list(lite0.stages), lite0.facts, grid_stride=grid_stride)
    pyramid = one_grid.as_pyramid()
    x = draw(2, 3, size, size).tanh()
    back, own = FromOneGrid(pyramid.layout, size, grid_stride)(one_grid.features(x)), pyramid.grids(x)
    for found, expected in zip(back, own, strict=True):
        assert expected.std() > 0.1
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
    assert torch.equal(back[0], own[0])  # nothing is done to the grid that is the one grid


def test_what_no_coarse_grid_could_give_is_brought_to_the_nearest_that_one_can() -> None:
    layout, f = GridLayout((4, 16), (2, 3)), draw(2, 5, 16, 16)
    same, coarse = FromOneGrid(layout, 64, 4)(f)
    assert torch.equal(same, f[:, :2])
    assert coarse.shape == (2, 3, 4, 4)
    enlarge = bilinear_matrix(4, 16).float()
    left = f[:, 2:] - enlarge @ coarse @ enlarge.T
    # Least squares: what is left over is orthogonal to everything that can be enlarged.
    assert (enlarge.T @ left @ enlarge).abs().max() < 1e-4
    assert left.std() > 0.5


def test_a_layout_of_the_one_grid_alone_changes_nothing() -> None:
    f = draw(2, 5, 16, 16)
    (same,) = FromOneGrid(GridLayout((4,), (5,)), 64, 4)(f)
    assert torch.equal(same, f)
