"""Pixels in blocks: the convolution of zeros and ones against pixel-unshuffle, and the way back."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from diffad_export.denoiser import ToBlocks, from_blocks, to_blocks


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 3), st.integers(1, 8), st.integers(0, 2**32 - 1))
def test_blocks_hold_the_same_numbers(batch: int, grid: int, seed: int) -> None:
    x = torch.randn(batch, 3, 4 * grid, 4 * grid, generator=torch.Generator().manual_seed(seed))
    blocks = to_blocks(x)
    assert blocks.shape == (batch, 48, grid, grid)
    assert torch.equal(ToBlocks()(x), F.pixel_unshuffle(x, 4))
    assert torch.equal(blocks, F.pixel_unshuffle(x, 4))
    assert torch.equal(from_blocks(blocks), x)


def test_channel_of_a_block_is_colour_row_column() -> None:
    x = torch.zeros(1, 3, 8, 8)
    x[0, 2, 4 + 1, 0 + 3] = 1  # colour 2, block row 1, row 1 in it, block column 0, column 3 in it
    blocks = to_blocks(x)
    assert blocks[0, 2 * 16 + 1 * 4 + 3, 1, 0] == 1
    assert blocks.sum() == 1
