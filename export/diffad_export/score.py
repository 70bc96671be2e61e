"""From a denoised image to maps: pixel KL, feature surprise, standardisation, fusion.

Pure functions, and the table of everything that is set on normal images. Knows nothing of networks, files or training.
Statistics come from NORMAL images and are frozen: a map is never standardised by itself, so that the scores of two
images can be compared.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from diffad_export.denoiser import Denoised
from diffad_export.diffusion.posterior import Level, reverse_step_kl

FeatureScore = Literal["residual", "likelihood", "whitened", "combined"]

# The terms that each feature score is made of; a map is the weighted sum of its standardised terms.
TERMS: dict[FeatureScore, tuple[str, ...]] = {
    "residual": ("residual",),
    "likelihood": ("likelihood",),
    "whitened": ("whitened",),
    "combined": ("likelihood", "whitened"),
}


@dataclass(frozen=True, slots=True)
class FittedScore:
    """What is set on normal images, K levels, T feature terms, C feature channels.

    Attributes:
        kind: which feature score; TERMS names its terms.
        pixel_mean, pixel_std: (K, 1, 1), or (K, G, G) with statistics per location: of the pixel KL.
        feature_mean, feature_std: (T, K, 1, 1) or (T, K, G, G): of each feature term.
        pixel_weight: (K,), sums to 1: weight of each level.
        feature_weight: (T, K), sums to 1: weight of each standardised term.
        channel_weight: (C,), sums to 1: weight of each channel within "residual" and "likelihood".
        whitening: (K, C, C), W_k with W_k^T W_k = the inverse correlation of good residuals; None where not needed.
        alpha: weight of the pixel score in the fused map.
        floor: added to every predicted variance of a standardised feature. A network that is very sure of a plain
            background makes every crumb on it louder than a crack in a rich texture; the floor says how small a
            deviation cannot matter. 0 takes the prediction at its word; large values lead back to the plain residual.
    """

    kind: FeatureScore
    pixel_mean: Tensor
    pixel_std: Tensor
    feature_mean: Tensor
    feature_std: Tensor
    pixel_weight: Tensor
    feature_weight: Tensor
    channel_weight: Tensor
    whitening: Tensor | None
    alpha: float
    floor: float = 0.0

    @staticmethod
    def neutral(
        kind: FeatureScore, levels: int, channels: int, *, alpha: float = 0.5, floor: float = 0.0
    ) -> "FittedScore":
        """Nothing measured yet: mean 0, deviation 1, equal weights, and a whitening that changes nothing."""
        terms = len(TERMS[kind])
        return FittedScore(
            kind=kind,
            pixel_mean=torch.zeros(levels, 1, 1),
            pixel_std=torch.ones(levels, 1, 1),
            feature_mean=torch.zeros(terms, levels, 1, 1),
            feature_std=torch.ones(terms, levels, 1, 1),
            pixel_weight=torch.full((levels,), 1 / levels),
            feature_weight=torch.full((terms, levels), 1 / (terms * levels)),
            channel_weight=torch.full((channels,), 1 / channels),
            whitening=torch.eye(channels).repeat(levels, 1, 1) if "whitened" in TERMS[kind] else None,
            alpha=alpha,
            floor=floor,
        )


# Those of a FittedScore that are tensors; "whitening" may be None.
FITTED_TENSORS = (
    "pixel_mean",
    "pixel_std",
    "feature_mean",
    "feature_std",
    "pixel_weight",
    "feature_weight",
    "channel_weight",
    "whitening",
)


def pixel_score(level: Level, x0: Tensor, denoised: Denoised) -> Tensor:
    """KL of true posterior against learned reverse step, mean over the 48 numbers of each block, in bits.

    Args:
        x0: (B, 48, G, G), the clean image in blocks.

    Returns:
        (B, G, G).
    """
    kl = reverse_step_kl(level, x0, denoised.x0, denoised.v)
    return weighted_channels(kl, kl.new_full((kl.shape[1],), 1 / kl.shape[1]))


def feature_terms(
    kind: FeatureScore,
    f: Tensor,
    mean: Tensor,
    log_var: Tensor,
    channel_weight: Tensor,
    whitening: Tensor | None,
    floor: float = 0.0,
    *,
    share: float = 1.0,
) -> list[Tensor]:
    """The terms of a feature score on one grid, each (B, g, g), in the order of TERMS.

    "residual": (f - f_hat)^2, the paper's. "likelihood": z^2 + log var with z = (f - f_hat) / deviation, twice the
    negative Gaussian log-likelihood without its constant: the network says where it cannot know, and only surprise
    beyond that counts. "whitened": |W z|^2 / C, which also knows which channels err together.

    Args:
        f: (B, C, g, g), standardised features of the clean image.
        mean, log_var: (B, C, g, g), of the features given the noised image.
        channel_weight: (C,), for the first two.
        whitening: (C, C), for the last.
        floor: added to the variance of every feature.
        share: of the feature channels that lie on this grid; a term is the sum over all grids.
    """
    if kind == "residual":
        return [weighted_channels((f - mean).square(), channel_weight)]
    log_deviation = log_deviation_above(log_var, floor)
    z = (f - mean) * (-log_deviation).exp()
    terms = []
    if "likelihood" in TERMS[kind]:
        terms.append(weighted_channels(z * z + 2 * log_deviation, channel_weight))
    if "whitened" in TERMS[kind]:
        if whitening is None:
            raise ValueError(f"{kind} needs a whitening matrix")
        terms.append(mahalanobis(z, whitening, share))
    return terms


def log_deviation_above(log_var: Tensor, floor: float) -> Tensor:
    """0.5 log(e^log_var + floor); any shape."""
    # The log-variance is read once and only here: every further reader of an INT8 head dequantises it anew.
    return 0.5 * (log_var if floor == 0 else (log_var.exp() + floor).log())


def mahalanobis(z: Tensor, whitening: Tensor, share: float = 1.0) -> Tensor:
    """`share` times the mean over channels of (W z)^2: z (B, C, g, g), W (C, C) -> (B, g, g)."""
    b, c, height, width = z.shape
    white = whitening @ z.reshape(b, c, height * width)
    row = z.new_full((1, c), share / c)
    return (row @ (white * white)).reshape(b, height, width)


def weighted_channels(values: Tensor, weight: Tensor) -> Tensor:
    """Weighted sum over channels as a matrix product: (B, C, G, G), (C,) -> (B, G, G).

    A mean over that axis becomes a strided ReduceMean in ONNX, which took 60 % of the student's time on a CPU.
    """
    b, c, height, width = values.shape
    return (weight[None] @ values.reshape(b, c, height * width)).reshape(b, height, width)


def fuse(pixel: Tensor, feature: Tensor, alpha: float) -> Tensor:
    """alpha * pixel + (1 - alpha) * feature, both standardised. Same shape in and out."""
    if alpha == 0:  # a graph then has no pixel branch at all
        return feature
    return alpha * pixel + (1 - alpha) * feature
