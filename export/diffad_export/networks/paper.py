"""The paper's teacher: the guided-diffusion UNet for 256 px, with feature heads on its decoder.

Dhariwal & Nichol 2021 ("ADM", 256 px) for the UNet, Lu et al. ICCV 2023 for the feature head; the second feature head,
the log-variance of every feature, is our own. 552,814,086 parameters without classes and feature heads.
Trunk names are those of the published checkpoints, which `initweights` reads. Knows nothing of data, losses, scores or
files.
"""

from collections.abc import Iterable, Iterator
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from diffad_export.denoiser import BLOCK, Denoised, Denoiser, to_blocks, x0_from_eps
from diffad_export.diffusion.schedule import linear_schedule
from diffad_export.networks.paperblocks import ResidualBlock, SelfAttention, zeroed
from diffad_export.networks.teacher import time_embedding
from diffad_runtime.errors import InputError

COLOURS = 3


class PaperTeacher(Denoiser):
    """UNet on the full S x S grid; S must be a multiple of 2 ** (levels - 1), 32 at the paper's six levels.

    Predicts eps and the variance interpolation at full resolution, features and their log-variance from the decoder's
    activation at S / 4.

    Args:
        feature_channels: C.
        widths: channels per level, finest first; every level halves the grid. Three at least.
        blocks: residual blocks per level; the decoder has one more.
        grid_stride: features lie on a grid of S / grid_stride.
        classes: categories that a label can name; 0 for a network without.
        attention: downsampling factors that have self-attention; at 256 px these are the grids 32, 16 and 8.
        head_width: channels per attention head.
        groups: of every GroupNorm.
        checkpointing: recompute blocks in the backward pass: about a third more time, far less memory.

    Raises:
        InputError: sizes that do not fit together.
    """

    def __init__(
        self,
        feature_channels: int,
        widths: tuple[int, ...] = (256, 256, 512, 512, 1024, 1024),
        blocks: int = 2,
        grid_stride: int = BLOCK,
        classes: int = 0,
        attention: tuple[int, ...] = (8, 16, 32),
        head_width: int = 64,
        groups: int = 32,
        *,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        _check(widths, attention, head_width, groups)
        self.feature_channels, self.classes, self.width = feature_channels, classes, widths[0]
        self.pooling, self.checkpointing = grid_stride // BLOCK, checkpointing
        embedding, top = 4 * self.width, len(widths) - 1

        def stage(inside: int, outside: int, level: int) -> nn.ModuleList:
            layers: list[nn.Module] = [ResidualBlock(inside, outside, embedding, groups)]
            if 2**level in attention:
                layers.append(SelfAttention(outside, groups, head_width))
            return nn.ModuleList(layers)

        self.time_embed = nn.Sequential(nn.Linear(self.width, embedding), nn.SiLU(), nn.Linear(embedding, embedding))
        self.label_emb = nn.Embedding(classes, embedding) if classes else None
        self.input_blocks = nn.ModuleList([nn.ModuleList([nn.Conv2d(COLOURS, widths[0], 3, padding=1)])])
        now = widths[0]
        skips = [now]
        for level, out in enumerate(widths):
            for _ in range(blocks):
                self.input_blocks.append(stage(now, out, level))
                now = out
                skips.append(now)
            if level < top:
                self.input_blocks.append(nn.ModuleList([ResidualBlock(now, now, embedding, groups, "down")]))
                skips.append(now)
        self.middle_block = nn.ModuleList(
            [
                ResidualBlock(now, now, embedding, groups),
                SelfAttention(now, groups, head_width),
                ResidualBlock(now, now, embedding, groups),
            ]
        )
        self.output_blocks = nn.ModuleList()
        for level in range(top, -1, -1):
            for _ in range(blocks + 1):
                self.output_blocks.append(stage(now + skips.pop(), widths[level], level))
                now = widths[level]
            if level == 2:  # the grid of S / 4, before it is doubled
                self.tapped = len(self.output_blocks) - 1
            if level > 0:
                cast(nn.ModuleList, self.output_blocks[-1]).append(ResidualBlock(now, now, embedding, groups, "up"))
        self.out = nn.Sequential(
            nn.GroupNorm(groups, now), nn.SiLU(), zeroed(nn.Conv2d(now, 2 * COLOURS, 3, padding=1))
        )
        self.feature_norm = nn.GroupNorm(groups, widths[2])
        self.feature_head = nn.Conv2d(widths[2], feature_channels, 1)
        self.variance_head = zeroed(nn.Conv2d(widths[2], feature_channels, 1))
        self.register_buffer("abar", linear_schedule().abar.float(), persistent=False)
        self.abar: Tensor

    def trunk(self, x_t: Tensor, t: Tensor, label: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """As `forward` -> eps and variance (B, 6, S, S), the decoder's activation (B, widths[2], S / 4, S / 4)."""
        embedding = self._condition(t, label)
        h, skips = x_t, list[Tensor]()
        for layers in _stages(self.input_blocks):
            h = self._run(layers, h, embedding)
            skips.append(h)
        tap = h = self._run(self.middle_block, h, embedding)
        for number, layers in enumerate(_stages(self.output_blocks)):
            h = torch.cat([h, skips.pop()], 1)
            if number == self.tapped:
                *before, double = layers
                tap = self._run(before, h, embedding)
                h = self._run([double], tap, embedding)
            else:
                h = self._run(layers, h, embedding)
        return self.out(h), tap

    def forward(self, x_t: Tensor, t: Tensor, label: Tensor | None = None) -> Denoised:
        """x_t (B, 3, S, S), t (B,) int64 in [0, 1000), label (B,) int64 in [-1, classes) or None -> Denoised."""
        outputs, tap = self.trunk(x_t, t, label)
        eps, v = outputs.float().chunk(2, 1)
        x0 = x0_from_eps(x_t, eps, self.abar[t])
        g = F.avg_pool2d(tap, self.pooling) if self.pooling > 1 else tap
        g = F.silu(self.feature_norm(g))
        f, f_log_var = self.feature_head(g).float(), self.variance_head(g).float()
        return Denoised(to_blocks(x0), to_blocks(v), (f,), (f_log_var,))

    def _condition(self, t: Tensor, label: Tensor | None) -> Tensor:
        embedding: Tensor = self.time_embed(time_embedding(t, self.width))
        if self.label_emb is None:
            return embedding
        label = torch.full_like(t, -1) if label is None else label
        # Multiplied by zero rather than left out: a step without labels gives the table a gradient of zeros, which
        # data-parallel training expects of every parameter.
        said = (label >= 0).to(embedding.dtype)[:, None]
        told: Tensor = embedding + said * self.label_emb(label.clamp_min(0))
        return told

    def _run(self, layers: Iterable[nn.Module], h: Tensor, embedding: Tensor) -> Tensor:
        for layer in layers:
            inputs = (h, embedding) if isinstance(layer, ResidualBlock) else (h,)
            if self.checkpointing and torch.is_grad_enabled() and not isinstance(layer, nn.Conv2d):
                # No block draws random numbers, so there is no random state to put back.
                h = checkpoint(layer, *inputs, use_reentrant=False, preserve_rng_state=False)
            else:
                h = layer(*inputs)
        return h


def _stages(blocks: nn.ModuleList) -> Iterator[list[nn.Module]]:
    for layers in blocks:
        yield list(cast(nn.ModuleList, layers))


def _check(widths: tuple[int, ...], attention: tuple[int, ...], head_width: int, groups: int) -> None:
    if len(widths) < 3:
        raise InputError(
            f"the paper's network needs three levels or more, since features are read at S / 4; got {len(widths)}",
            mend="Give more widths, as in 256,256,512,512,1024,1024",
        )
    attended = {widths[-1]} | {w for level, w in enumerate(widths) if 2**level in attention}
    for some, share, what in ((widths, groups, "groups of a GroupNorm"), (attended, head_width, "channels of a head")):
        for channels in sorted(some):
            if channels % share:
                raise InputError(
                    f"{channels} channels are no multiple of the {share} {what}",
                    mend=f"Choose widths that are multiples of {share}",
                )
