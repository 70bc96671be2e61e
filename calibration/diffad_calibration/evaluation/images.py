"""Images of a category a few at a time, so that a set need not fit into memory; small sets are read once and kept.

Knows files and chunks. Does not know labels or models.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from diffad_calibration.evaluation.contestants import BATCH
from diffad_calibration.loading import load_images
from diffad_runtime.result import Image

KEEP_BYTES: Final = 1 << 28
"""Sets of no more pixels are kept: 1,365 images of 256 x 256."""


class ImageBatches:
    """uint8 (n, S, S, 3) at a time, n at most BATCH; can be gone through again and again.

    Args:
        images: files, or uint8 (N, S, S, 3) already in memory.
        size: S, pixels; of files.
        keep_bytes: sets of no more bytes are read once and kept.
    """

    def __init__(self, images: Sequence[Path] | Image, size: int, *, keep_bytes: int = KEEP_BYTES) -> None:
        self._paths = [] if isinstance(images, np.ndarray) else list(images)
        self._array = images if isinstance(images, np.ndarray) else None
        self._keep = len(self._paths) * size * size * 3 <= keep_bytes
        self._size = size

    def __len__(self) -> int:
        """Images."""
        return len(self._paths) if self._array is None else len(self._array)

    def __iter__(self) -> Iterator[Image]:
        """All images in order.

        Raises:
            DataError: files that cannot be read; those of the whole set where it is kept, else those of one chunk.
        """
        for start in range(0, len(self), BATCH):
            yield self.rows(range(start, min(start + BATCH, len(self))))

    def rows(self, rows: Sequence[int]) -> Image:
        """Some of the images, uint8 (len(rows), S, S, 3).

        Raises:
            DataError: as __iter__.
        """
        if self._array is None and self._keep:
            self._array = load_images(self._paths, self._size).array
        if self._array is not None:
            return self._array[list(rows)]
        return load_images([self._paths[row] for row in rows], self._size).array
