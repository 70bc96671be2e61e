"""Frozen statistics of normal images: mean and deviation of every score, and which channels err together.

Knows a reconstructor and good images. Does not know defects, weights or files.
"""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from diffad_export.backbone import Extractor
from diffad_export.backbone.extractor import normalise
from diffad_export.grids import Grids
from diffad_export.progress import track
from diffad_export.reconstructor import Reconstructor
from diffad_export.resampling import gaussian_matrix
from diffad_export.score import FittedScore, log_deviation_above
from diffad_runtime.result import Image

BATCH = 8
RIDGE = 0.05  # of the mean variance, added to the diagonal of the correlation
# A location's own statistics count as much as the global ones once so many images have been seen there.
PRIOR_IMAGES = 20.0
NEIGHBOURHOOD = 1.5  # cells; Gaussian over which locations share what they saw


def inputs(
    extractor: Extractor, images: Image, what: str, *, most: int | None = None
) -> Iterator[tuple[Tensor, Grids]]:
    """x (B, 3, S, S) and f (B, C_i, g_i, g_i) of `most` images (N, S, S, 3), in batches, with a progress bar."""
    chosen = images[:most]
    for start in track(range(0, len(chosen), BATCH), what):
        x = normalise(torch.from_numpy(chosen[start : start + BATCH]))
        yield x, extractor.grids(x)


@torch.no_grad()
def whitening_of(model: Reconstructor, extractor: Extractor, good: Image, *, most: int = 64) -> Tensor:
    """(K, C, C), W_k with W_k^T W_k = inverse second moment of the standardised residuals z at level k.

    The residuals of good images about zero, not about their mean: the denoiser's answer is the mean. Channels of
    different grids are taken as uncorrelated.
    """
    levels, slices = range(len(model.levels)), model.layout.slices()
    moment = torch.zeros(len(levels), model.layout.total, model.layout.total, dtype=torch.float64)
    images = 0
    for x, f in inputs(extractor, good, "Correlation of good residuals", most=most):
        standard = model.standardised(f)
        for k in levels:
            denoised = model.denoised(x, k)
            for own, s, mean, log_var in zip(slices, standard, denoised.f, denoised.f_log_var, strict=True):
                z = (s - mean) * (-log_deviation_above(log_var, model.floor)).exp()
                flat = z.permute(1, 0, 2, 3).flatten(1)
                moment[k, own, own] += (flat @ flat.T).double() / (s.shape[2] * s.shape[3])
        images += x.shape[0]
    if images == 0:
        raise ValueError("no good images to whiten with")
    moment = moment / images
    ridge = RIDGE * moment.diagonal(dim1=1, dim2=2).mean(1)[:, None, None]
    moment = moment + ridge * torch.eye(moment.shape[1], dtype=moment.dtype)
    whitening: Tensor = torch.linalg.inv(torch.linalg.cholesky(moment)).float()
    return whitening


@torch.no_grad()
def normal_statistics(
    model: Reconstructor, extractor: Extractor, good: Image, *, per_location: bool = False
) -> FittedScore:
    """The model's fitted score with mean and deviation of every raw score over good images (N, S, S, 3).

    Over all pixels, or per location: then a location's own figures, shared with its neighbourhood, are drawn towards
    the global ones with the weight of PRIOR_IMAGES images, so that a dozen images do no harm.
    """
    pixels: list[Tensor] = []
    features: list[Tensor] = []
    for x, f in inputs(extractor, good, "Normal statistics"):
        pixel, feature = model.raw_scores(x, f)
        pixels.append(pixel)
        features.append(feature)
    pixel_mean, pixel_std = _moments(torch.cat(pixels), per_location)
    feature_mean, feature_std = _moments(torch.cat(features), per_location)
    return replace(
        model.fitted,
        pixel_mean=pixel_mean,
        pixel_std=pixel_std,
        feature_mean=feature_mean,
        feature_std=feature_std,
    )


def _moments(scores: Tensor, per_location: bool) -> tuple[Tensor, Tensor]:
    """(N, ..., G, G) -> mean and deviation, (..., 1, 1) or (..., G, G)."""
    scores = scores.double()
    mean = scores.mean((0, -2, -1), keepdim=True)[0]
    variance = (scores - mean).square().mean((0, -2, -1), keepdim=True)[0]
    if per_location:
        count, smooth = scores.shape[0], gaussian_matrix(scores.shape[-1], NEIGHBOURHOOD)
        own = count / (count + PRIOR_IMAGES)
        local = smooth @ scores.mean(0) @ smooth.T
        mean = own * local + (1 - own) * mean
        spread = smooth @ (scores - mean).square().mean(0) @ smooth.T
        variance = own * spread + (1 - own) * variance
    return mean.float(), variance.clamp_min(1e-12).sqrt().float()
