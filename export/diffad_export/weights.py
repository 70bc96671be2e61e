"""Weights of strides, levels and terms, fitted on good images and synthetic defects alone.

Logistic regression of "this cell is defective" on the standardised scores, weights positive and drawn towards equal
ones. Pasted defects are not real ones: the pull keeps a weight from running after them.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from diffad_export.backbone import Extractor
from diffad_export.grids import Grids
from diffad_export.pasted import PastedSet
from diffad_export.reconstructor import Reconstructor
from diffad_export.score import FittedScore, log_deviation_above, weighted_channels
from diffad_export.statistics import inputs

PULL = 0.05  # of the squared log-ratio to equal weights
STEPS = 300
NEGATIVES = 4  # per positive cell


def fit_positive_weights(scores: Tensor, truth: Tensor, *, pull: float = PULL) -> Tensor:
    """Positive weights that sum to 1: scores (N, D) standardised, truth (N,) of 0 and 1 -> (D,).

    Positive and negative cells count alike, whatever their numbers.
    """
    count = scores.shape[1]
    log_weight = torch.zeros(count, requires_grad=True)
    gain, offset = torch.ones(1, requires_grad=True), torch.zeros(1, requires_grad=True)
    optimiser = torch.optim.Adam([log_weight, gain, offset], lr=0.05)
    balance = torch.where(truth > 0, 0.5 / truth.mean().clamp_min(1e-6), 0.5 / (1 - truth.mean()).clamp_min(1e-6))
    for _ in range(STEPS):
        fused = scores @ torch.softmax(log_weight, 0)
        loss = F.binary_cross_entropy_with_logits(gain * fused + offset, truth, weight=balance)
        centred = log_weight - log_weight.mean()
        optimiser.zero_grad()
        (loss + pull * centred.square().mean()).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return torch.softmax(log_weight.detach(), 0)


@torch.no_grad()
def fit_weights(model: Reconstructor, extractor: Extractor, pasted: PastedSet, *, seed: int = 0) -> FittedScore:
    """The model's fitted score with other `feature_weight` (T, K) and `channel_weight` (C,).

    First the terms and levels with equal channels, then the strides at the level with the largest weight: a channel's
    weight is its stride's share, spread evenly over the stride.
    """
    terms: list[Tensor] = []
    strides: list[Tensor] = []
    groups = np.repeat(np.arange(len(extractor.strides)), extractor.channels)
    chooser = torch.stack([torch.from_numpy(groups == g).float() / float((groups == g).sum()) for g in set(groups)])
    for x, f in inputs(extractor, pasted.images, "Weights of strides and levels"):
        _, features = model.raw_scores(x, f)
        fitted = model.fitted
        terms.append(((features - fitted.feature_mean) / fitted.feature_std).flatten(1, 2))
        strides.append(_by_stride(model, x, f, chooser))
    truth = F.adaptive_avg_pool2d(torch.from_numpy(pasted.masks).float()[:, None] / 255, terms[0].shape[-1])[:, 0]
    clear = (truth == 0) | (truth > 0.5)
    chosen = _balanced(truth > 0.5, clear, seed)
    target = (truth.flatten()[chosen] > 0.5).float()
    shape = model.fitted.feature_weight.shape
    with torch.enable_grad():
        level_weight = fit_positive_weights(_cells([torch.cat(terms)], chosen), target)
        by_stride = torch.cat(strides)
        by_stride = (by_stride - by_stride[pasted.labels == 0].mean((0, 2, 3), keepdim=True)) / by_stride[
            pasted.labels == 0
        ].std((0, 2, 3), keepdim=True)
        stride_weight = fit_positive_weights(_cells([by_stride], chosen), target)
    return replace(
        model.fitted,
        feature_weight=level_weight.reshape(shape),
        channel_weight=(stride_weight[:, None] * chooser).sum(0),
    )


def _by_stride(model: Reconstructor, x: Tensor, f: Grids, chooser: Tensor) -> Tensor:
    """Likelihood (or residual) of each stride alone, mean over the levels: (B, strides, G, G)."""
    standard = model.standardised(f)
    total: Tensor | None = None
    for k in range(len(model.levels)):
        denoised = model.denoised(x, k)
        parts = []
        for s, mean, log_var, rows in zip(
            standard, denoised.f, denoised.f_log_var, model.layout.split(chooser, 1), strict=True
        ):
            error = (s - mean).square()
            if model.kind != "residual":
                log_deviation = log_deviation_above(log_var, model.floor)
                error = error * (-2 * log_deviation).exp() + 2 * log_deviation
            parts.append(torch.stack([weighted_channels(error, row) for row in rows], 1))
        one = model.on_blocks(tuple(parts))
        total = one if total is None else total + one
    if total is None:
        raise ValueError("a reconstructor without levels")
    return total


def _balanced(positive: Tensor, clear: Tensor, seed: int) -> Tensor:
    """Indices of all clear positive cells and of NEGATIVES times as many clear negative ones."""
    generator = torch.Generator().manual_seed(seed)
    yes = (positive & clear).flatten().nonzero()[:, 0]
    no = (~positive & clear).flatten().nonzero()[:, 0]
    no = no[torch.randperm(len(no), generator=generator)[: max(1, NEGATIVES * len(yes))]]
    return torch.cat([yes, no])


def _cells(maps: Sequence[Tensor], chosen: Tensor) -> Tensor:
    """(N, D, G, G) each -> (cells, D) of the chosen cells."""
    return torch.cat([m.permute(0, 2, 3, 1).flatten(0, 2)[chosen] for m in maps], 1)
