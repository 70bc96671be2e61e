"""The student: convolution + BatchNorm + ReLU only, so that it folds to what INT8 kernels are fast at.

One evaluation for each of K fixed noise levels, so there is no time embedding: levels have networks of their own, or
share one and differ in the bias of its first layer. Features of stride 8 and 16 are predicted on their own grids, where
the decoder passes anyway.
"""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from diffad_export.denoiser import BLOCK, PIXELS, Denoised, Denoiser
from diffad_export.grids import GridLayout
from diffad_export.widths import WIDTHS


class ConvUnit(nn.Module):
    """Convolution, BatchNorm, ReLU. After `fold` only convolution with bias, and ReLU, are left."""

    def __init__(self, inside: int, outside: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        padding = 1 if kernel == 3 else 0
        self.conv: nn.Conv2d = nn.Conv2d(inside, outside, kernel, stride=stride, padding=padding, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(outside)

    def forward(self, h: Tensor, shift: Tensor | None = None) -> Tensor:
        """(B, inside, H, W) -> (B, outside, H / stride, W / stride); `shift` joins before BatchNorm."""
        h = self.conv(h)
        return F.relu(self.norm(h if shift is None else h + shift))

    def fold(self) -> None:
        """Multiply the BatchNorm into the convolution; call in eval mode only."""
        if isinstance(self.norm, nn.BatchNorm2d):
            self.conv = fuse_conv_bn_eval(self.conv, self.norm)
            self.norm = nn.Identity()


class Trunk(nn.Module):
    """Four-level UNet with additive skips, and the heads.

    Args:
        layout: grids of S / 4, S / 8 and S / 16 at most, in that order.
        channels: on the grids of S / 4 .. S / 32.
    """

    def __init__(self, layout: GridLayout, channels: tuple[int, int, int, int]) -> None:
        super().__init__()
        w1, w2, w3, w4 = channels
        self.enter, self.first = ConvUnit(3, w1, kernel=BLOCK, stride=BLOCK), ConvUnit(w1, w1)
        self.down1 = nn.Sequential(ConvUnit(w1, w2, stride=2), ConvUnit(w2, w2))
        self.down2 = nn.Sequential(ConvUnit(w2, w3, stride=2), ConvUnit(w3, w3))
        self.down3 = nn.Sequential(ConvUnit(w3, w4, stride=2), ConvUnit(w4, w4), ConvUnit(w4, w3))
        self.up2 = nn.Sequential(ConvUnit(w3, w3), ConvUnit(w3, w3))
        self.lift1, self.up1 = ConvUnit(w3, w2, kernel=1), nn.Sequential(ConvUnit(w2, w2), ConvUnit(w2, w2))
        self.lift0, self.up0 = ConvUnit(w2, w1, kernel=1), nn.Sequential(ConvUnit(w1, w1), ConvUnit(w1, w2))
        at = {BLOCK: w2, 2 * BLOCK: w2, 4 * BLOCK: w3}
        self.places = tuple((BLOCK, 2 * BLOCK, 4 * BLOCK).index(stride) for stride in layout.strides)
        inside = [at[stride] for stride in layout.strides]
        self.pixel_head, self.step_head = nn.Conv2d(w2, PIXELS, 1), nn.Conv2d(w2, PIXELS, 1)
        self.feature_heads = nn.ModuleList(nn.Conv2d(i, c, 1) for i, c in zip(inside, layout.channels, strict=True))
        self.variance_heads = nn.ModuleList(nn.Conv2d(i, c, 1) for i, c in zip(inside, layout.channels, strict=True))
        for head in (self.pixel_head, self.step_head, *self.variance_heads):
            nn.init.normal_(cast(nn.Conv2d, head).weight, std=1e-3)
            nn.init.zeros_(cast(Tensor, cast(nn.Conv2d, head).bias))

    def forward(self, x_t: Tensor, shift: Tensor | None = None) -> Denoised:
        """x_t (B, 3, S, S), shift (B, w1, 1, 1) of the first layer -> Denoised."""
        h0 = self.first(self.enter(x_t, shift))
        h1 = self.down1(h0)
        h2 = self.down2(h1)
        h2 = self.up2(h2 + _double(self.down3(h2)))
        h1 = self.up1(h1 + _double(self.lift1(h2)))
        h0 = self.up0(h0 + _double(self.lift0(h1)))
        grids = [(h0, h1, h2)[place] for place in self.places]
        return Denoised(
            self.pixel_head(h0).float(),
            self.step_head(h0).float(),
            tuple(head(h).float() for head, h in zip(self.feature_heads, grids, strict=True)),
            tuple(head(h).float() for head, h in zip(self.variance_heads, grids, strict=True)),
        )

    def fold(self) -> None:
        """Fold every BatchNorm."""
        for module in self.modules():
            if isinstance(module, ConvUnit):
                module.fold()


class Student(Denoiser):
    """A trunk for each of K noise levels, or one for all.

    Args:
        layout: of the features.
        width: a key of WIDTHS.
        levels: K.
        shared: one trunk, told the level by a bias of its first layer.
    """

    def __init__(self, layout: GridLayout, width: int = 48, levels: int = 1, *, shared: bool = False) -> None:
        super().__init__()
        self.layout, self.width, self.levels, self.folded = layout, width, levels, False
        own = 1 if shared else levels
        self.trunks = nn.ModuleList(Trunk(layout, WIDTHS[width]) for _ in range(own))
        told = shared and levels > 1
        self.shift = nn.Parameter(torch.zeros(levels, WIDTHS[width][0])) if told else None

    def forward(self, x_t: Tensor, t: Tensor, label: Tensor | None = None) -> Denoised:  # noqa: ARG002
        """x_t (B, 3, S, S), t (B,) int64: the number of each image's level, 0 .. K - 1 -> Denoised."""
        if self.shift is not None:
            out: Denoised = self.trunks[0](x_t, self.shift[t][:, :, None, None])
            return out
        if len(self.trunks) == 1:
            only: Denoised = self.trunks[0](x_t)
            return only
        places = [torch.nonzero(t == k)[:, 0] for k in range(self.levels)]
        answers = [trunk(x_t[rows]) for trunk, rows in zip(self.trunks, places, strict=True)]
        return _in_order(answers, torch.argsort(torch.cat(places)))

    def at_level(self, k: int, x_t: Tensor, t: Tensor, label: Tensor | None = None) -> Denoised:  # noqa: ARG002
        """x_t (B, 3, S, S), all at level k -> Denoised; timestep and category are known to the weights."""
        shift = None if self.shift is None else self.shift[k][None, :, None, None]
        out: Denoised = self.trunks[0 if len(self.trunks) == 1 else k](x_t, shift)
        return out

    @torch.no_grad()
    def fold(self) -> "Student":
        """A student with every BatchNorm, and the biases of shared levels, folded into the convolutions; in eval mode.

        Levels that shared a trunk have one each afterwards. A folded student gives itself.
        """
        if self.folded:
            return self
        made = Student(self.layout, self.width, self.levels).eval()
        for k, own in enumerate(made.trunks):
            trunk = cast(Trunk, own)
            trunk.load_state_dict(self.trunks[0 if len(self.trunks) == 1 else k].state_dict())
            before = cast(nn.BatchNorm2d, trunk.enter.norm)
            gain = before.weight / torch.sqrt(cast(Tensor, before.running_var) + before.eps)
            trunk.fold()
            if self.shift is not None:
                cast(Tensor, trunk.enter.conv.bias).add_(gain * self.shift[k])
        made.folded = True
        return made


def _in_order(answers: Sequence[Denoised], order: Tensor) -> Denoised:
    def joined(parts: Sequence[Tensor]) -> Tensor:
        return torch.cat(list(parts))[order]

    grids = range(len(answers[0].f))
    return Denoised(
        joined([a.x0 for a in answers]),
        joined([a.v for a in answers]),
        tuple(joined([a.f[i] for a in answers]) for i in grids),
        tuple(joined([a.f_log_var[i] for a in answers]) for i in grids),
    )


def _double(h: Tensor) -> Tensor:
    return F.interpolate(h, scale_factor=2.0, mode="nearest")
