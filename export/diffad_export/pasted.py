"""Good images with pasted synthetic defects: what weights and gates are set on, since no real defect may be seen.

Knows pictures and masks. Does not know networks or scores.
"""

from dataclasses import dataclass

import numpy as np

from diffad_runtime.result import Image
from diffad_runtime.synthetic.pasted import paste_defect


@dataclass(frozen=True, slots=True)
class PastedSet:
    """Good images, and the same images with one synthetic defect each.

    Attributes:
        images: uint8 (N, S, S, 3); masks: uint8 (N, S, S), 0/255, all zero for good ones; labels: int (N,), 1 = defect.
    """

    images: Image
    masks: Image
    labels: np.ndarray[tuple[int], np.dtype[np.int64]]


def paste_set(good: Image, *, seed: int, most: int = 64) -> PastedSet:
    """Take at most `most` good images (N, S, S, 3), add a pasted twin to each."""
    chosen = good[:most]
    pasted = [paste_defect(image, np.random.default_rng([seed, i])) for i, image in enumerate(chosen)]
    images = np.concatenate([chosen, np.stack([p[0] for p in pasted])])
    masks = np.concatenate([np.zeros(chosen.shape[:3], np.uint8), np.stack([p[1] for p in pasted])])
    return PastedSet(images, masks, np.repeat(np.array([0, 1], np.int64), len(chosen)))
