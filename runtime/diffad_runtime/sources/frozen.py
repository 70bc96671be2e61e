"""Whether a picture is the one before it, bit for bit: what a camera shows whose sensor or encoder has stopped.

Knows how to tell at little cost. Does not know for how long it may last (limits.py).
"""

import numpy as np

from diffad_runtime.result import Image

# One pixel in 16 x 16. Sensor noise changes some of 8,100 pixels of a 1080p frame for certain.
_STRIDE = 16


class FrozenPicture:
    """Compares each picture with the one before. One caller at a time.

    A few pixels are kept of every picture, and compared first. Only where these are equal the whole picture is kept,
    a copy since the receiver may write to his, and compared from then on. So the first repetition of a picture is not
    noticed, the second is.
    """

    def __init__(self) -> None:
        self._sample: Image | None = None
        self._whole: Image | None = None

    def same(self, image: Image) -> bool:
        """Whether `image`, uint8 (H, W, 3), is known to be bit-identical to the one before."""
        sample = np.ascontiguousarray(image[::_STRIDE, ::_STRIDE])
        if sample.base is not None:  # a picture no larger than its sample gives a view
            sample = sample.copy()
        before, self._sample = self._sample, sample
        if before is None or not np.array_equal(sample, before):
            self._whole = None
            return False
        if self._whole is not None and np.array_equal(image, self._whole):
            return True
        self._whole = image.copy()
        return False
