"""The table of student widths. Knows no network."""

# Width -> channels on the grids of S / 4, 8, 16 and 32. Multiples of 8: INT8 kernels work on such blocks.
WIDTHS: dict[int, tuple[int, int, int, int]] = {
    8: (8, 16, 32, 32),
    16: (16, 32, 64, 64),
    24: (24, 48, 96, 96),
    32: (32, 64, 128, 128),
    48: (48, 96, 192, 192),
    64: (64, 128, 256, 256),
}
