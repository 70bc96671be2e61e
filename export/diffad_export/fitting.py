"""What is set on good images once a denoiser is trained: frozen normal statistics and the fusion weight.

Statistics: mean and deviation of each score over all pixels of held-back good images. Fusion weight: the one with the
best AUPRO on the same images with pasted synthetic defects. No real defect is ever seen here.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from diffad_calibration.metrics import evaluate_maps
from diffad_export.backbone import Extractor
from diffad_export.backbone.extractor import normalise
from diffad_export.progress import track
from diffad_export.reconstructor import Reconstructor
from diffad_export.score import NormalStatistics, fuse
from diffad_runtime.result import FloatMap, Image
from diffad_runtime.synthetic.pasted import paste_defect

ALPHAS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5)
BATCH = 8


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


@torch.no_grad()
def normal_statistics(model: Reconstructor, extractor: Extractor, good: Image) -> NormalStatistics:
    """Mean and standard deviation of both raw scores, per level, over the pixels of good images (N, S, S, 3)."""
    pixels, features = [], []
    for x, f in _inputs(extractor, good, "Normal statistics"):
        p, q = model.raw_scores(x, f)
        pixels.append(p)
        features.append(q)
    p, q = torch.cat(pixels), torch.cat(features)
    dims = (0, 2, 3)
    return NormalStatistics(
        *(tuple(float(v) for v in values) for values in (p.mean(dims), p.std(dims), q.mean(dims), q.std(dims)))
    )


@torch.no_grad()
def choose_alpha(model: Reconstructor, extractor: Extractor, pasted: PastedSet) -> tuple[float, dict[float, float]]:
    """The fusion weight with the best AUPRO@0.3 on pasted defects, the smaller one in a tie; and the whole table.

    `model` must already hold its normal statistics.
    """
    pixels, features = [], []
    for x, f in _inputs(extractor, pasted.images, "Fusion weight"):
        _, pixel, feature = model(x, f)
        pixels.append(pixel)
        features.append(feature)
    p, q = torch.cat(pixels), torch.cat(features)
    table = {}
    for alpha in ALPHAS:
        maps: FloatMap = model.to_map(fuse(p, q, alpha)).numpy()
        scores = maps.reshape(len(maps), -1).max(1)
        table[alpha] = float(evaluate_maps(maps, pasted.masks, scores, pasted.labels).aupro_30 or 0.0)
    return max(table, key=lambda a: (round(table[a], 4), -a)), table


def _inputs(extractor: Extractor, images: Image, what: str) -> list[tuple[Tensor, Tensor]]:
    out = []
    for start in track(range(0, len(images), BATCH), what):
        x = normalise(torch.from_numpy(images[start : start + BATCH]))
        out.append((x, extractor.features(x)))
    return out
