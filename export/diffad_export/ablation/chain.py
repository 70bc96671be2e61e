"""The teacher with a full reverse chain: what textbook diffusion detectors do, and the scores of this house leave out.

An image is noised to one level and walked down to a clean one by DDIM; the map is the residual between its features and
those of the clean image. Worn as a denoiser, so that statistics, smoothing, fixed noise and maps are those of any other
teacher. Knows a teacher, an extractor and a chain. Does not know run folders.
"""

import torch
from torch import Tensor

from diffad_export.backbone import Extractor
from diffad_export.config import ScoreConfig
from diffad_export.denoiser import Denoised, Denoiser, to_blocks
from diffad_export.diffusion.chains import cut, reverse_chain
from diffad_export.diffusion.schedule import linear_schedule, respace
from diffad_export.reconstructor import CHAIN, FeatureNorm


class ChainDenoiser(Denoiser):
    """x_t -> the clean image at the end of a DDIM chain (eta 0: nothing is drawn), and that image's features.

    Args:
        teacher: asked at every step.
        extractor: of one grid, as the teacher was trained with.
        norm: standardisation of the features.
        start: step of the 250-step chain that x_t stands at.
        evaluations: of the teacher, 1 .. start + 1.
    """

    def __init__(
        self, teacher: Denoiser, extractor: Extractor, norm: FeatureNorm, *, start: int, evaluations: int
    ) -> None:
        super().__init__()
        self.teacher, self.extractor = teacher, extractor
        self.chain = cut(respace(linear_schedule(), CHAIN), start, evaluations)
        self.register_buffer("mean", norm.mean.view(1, -1, 1, 1))
        self.register_buffer("std", norm.std.view(1, -1, 1, 1))
        self.mean: Tensor
        self.std: Tensor

    @torch.no_grad()
    def forward(self, x_t: Tensor, t: Tensor, label: Tensor | None = None) -> Denoised:  # noqa: ARG002
        """x_t (B, 3, S, S), at the start of the chain whatever `t` says -> Denoised; variances are not known, 0."""
        x0, unused = x_t, torch.Generator().manual_seed(0)
        for step in reverse_chain(self.teacher, x_t, self.chain, unused, label=label, sampler="ddim"):
            x0 = step.x
        f = (self.extractor.features(x0) - self.mean) / self.std
        blocks = to_blocks(x0)
        return Denoised(blocks, torch.zeros_like(blocks), (f,), (torch.zeros_like(f),))


def chain_start(score: ScoreConfig) -> int:
    """The chain step that is noised to: the middle one of the score's levels."""
    return score.chain_steps[len(score.chain_steps) // 2]


def chain_score(score: ScoreConfig) -> ScoreConfig:
    """The score of a chain: one level, the plain residual of features, the rest as `score` has it."""
    forced = {"chain_steps": (chain_start(score),), "feature_score": "residual", "alpha": 0.0, "weights": "equal"}
    return score.model_copy(update=forced)
