"""From a denoised image to a map: pixel KL, feature score, standardisation, fusion.

Pure functions and one small table of frozen statistics. Knows nothing of networks, files or training.
Statistics come from NORMAL images and are frozen: a map is never standardised by itself, so that the scores of two
images can be compared.
"""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from diffad_export.denoiser import Denoised
from diffad_export.diffusion.posterior import Level, reverse_step_kl

FeatureScore = Literal["likelihood", "residual"]


@dataclass(frozen=True, slots=True)
class NormalStatistics:
    """Mean and standard deviation of the two scores over the pixels of normal images, one entry per level."""

    pixel_mean: tuple[float, ...]
    pixel_std: tuple[float, ...]
    feature_mean: tuple[float, ...]
    feature_std: tuple[float, ...]

    @staticmethod
    def neutral(levels: int) -> "NormalStatistics":
        """Mean 0, deviation 1: scores pass unchanged."""
        zeros, ones = (0.0,) * levels, (1.0,) * levels
        return NormalStatistics(zeros, ones, zeros, ones)


def pixel_score(level: Level, x0: Tensor, denoised: Denoised) -> Tensor:
    """KL of true posterior against learned reverse step, mean over the 48 numbers of each block, in bits.

    Args:
        x0: (B, 48, G, G), the clean image in blocks.

    Returns:
        (B, G, G).
    """
    return channel_mean(reverse_step_kl(level, x0, denoised.x0, denoised.v))


def feature_score(kind: FeatureScore, f: Tensor, denoised: Denoised) -> Tensor:
    """Surprise of the features, mean over channels.

    "residual": (f - f_hat)^2, the paper's. "likelihood": (f - f_hat)^2 / var + log var, twice the negative Gaussian
    log-likelihood without its constant: the network says where it cannot know, and only surprise beyond that counts.

    Args:
        f: (B, C, G, G), standardised features of the clean image.

    Returns:
        (B, G, G).
    """
    if kind == "residual":
        return channel_mean((f - denoised.f).square())
    # The log-variance is read once and only here: every further reader of an INT8 head dequantises it anew.
    log_deviation = 0.5 * denoised.f_log_var
    standardised = (f - denoised.f) * (-log_deviation).exp()
    return channel_mean(standardised * standardised + 2 * log_deviation)


def channel_mean(values: Tensor) -> Tensor:
    """Mean over channels, (B, C, G, G) -> (B, G, G), as a matrix product.

    A mean over that axis becomes a strided ReduceMean in ONNX, which took 60 % of the student's time on a CPU.
    """
    b, c, height, width = values.shape
    weights = values.new_full((1, c), 1 / c)
    return (weights @ values.reshape(b, c, height * width)).reshape(b, height, width)


def fuse(pixel: Tensor, feature: Tensor, alpha: float) -> Tensor:
    """alpha * pixel + (1 - alpha) * feature, both standardised. Same shape in and out."""
    return alpha * pixel + (1 - alpha) * feature
