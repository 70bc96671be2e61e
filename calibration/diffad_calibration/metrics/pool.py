"""The pixels of one class's test images in two sorted arrays, positives weighted by component. Exact, all in memory.

Knows maps and ground-truth masks. Does not know what is computed from them, nor image-level scores.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from diffad_calibration.metrics.pixels import Mask, PixelStore, Scores, paired

__all__ = ["PixelPool", "Scores", "pool_pixels", "pool_store"]


@dataclass(frozen=True, slots=True)
class PixelPool:
    """Scores of all pixels of a class.

    Attributes:
        negative: float32 (N,), scores of ground-truth-negative pixels, ascending; those of defective images too.
        positive: float32 (P,), scores of ground-truth-positive pixels, ascending.
        component_size: int64 (P,), pixels in the 8-connected component that each positive pixel belongs to.
        components: ground-truth components over all images.

    A pixel's share of the PRO is 1 / (component_size * components): the mean over components of the share of each
    that lies above a threshold is then one weighted count, with no loop over components.
    """

    negative: Scores
    positive: Scores
    component_size: npt.NDArray[np.int64]
    components: int


def pool_pixels(maps: Iterable[Scores], masks: Iterable[Mask]) -> PixelPool:
    """Pool anomaly maps against their masks.

    Args:
        maps: float32 (H, W) each; sizes may differ between images.
        masks: (H, W) each, non-zero = defect; None = no defect.

    Raises:
        DataError: a map and its mask differ in shape, a map holds NaN, or there are not as many maps as masks.
    """
    store = PixelStore(limit=None)
    for scores, mask in paired(maps, masks):
        store.add(scores, mask)
    return pool_store(store)


def pool_store(store: PixelStore) -> PixelPool:
    """Pool a store that was never thinned."""
    images = store.images
    negative = np.concatenate([image.negative for image in images]) if images else np.empty(0, np.float32)
    negative.sort()
    positive = np.concatenate([image.positive for image in images]) if images else np.empty(0, np.float32)
    order = np.argsort(positive, kind="stable")
    sizes = [image.sizes[image.component] for image in images]
    size = np.concatenate(sizes) if sizes else np.empty(0, np.int64)
    return PixelPool(negative, positive[order], size[order], store.components)
