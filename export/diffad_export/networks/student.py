"""The student: convolution + BatchNorm + ReLU only, so that it folds to what INT8 kernels are fast at.

The noise level is fixed, so there is no time embedding.
"""

from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from diffad_export.denoiser import BLOCK, PIXELS, Denoised, Denoiser


class ConvUnit(nn.Module):
    """Convolution, BatchNorm, ReLU. After `fold` only convolution with bias, and ReLU, are left."""

    def __init__(self, inside: int, outside: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        padding = 1 if kernel == 3 else 0
        self.conv: nn.Conv2d = nn.Conv2d(inside, outside, kernel, stride=stride, padding=padding, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(outside)

    def forward(self, h: Tensor) -> Tensor:
        """(B, inside, H, W) -> (B, outside, H / stride, W / stride)."""
        return F.relu(self.norm(self.conv(h)))

    def fold(self) -> None:
        """Multiply the BatchNorm into the convolution; call in eval mode only."""
        if isinstance(self.norm, nn.BatchNorm2d):
            self.conv = fuse_conv_bn_eval(self.conv, self.norm)
            self.norm = nn.Identity()


class Student(Denoiser):
    """Four-level UNet with additive skips.

    Args:
        feature_channels: C.
        width: channels on the finest grid; doubled on each of the next two, kept on the last.
        grid_stride: features lie on a grid of S / grid_stride.
    """

    def __init__(self, feature_channels: int, width: int = 48, grid_stride: int = BLOCK) -> None:
        super().__init__()
        self.pooling = grid_stride // BLOCK
        w1, w2, w3 = width, 2 * width, 4 * width
        self.feature_channels = feature_channels
        self.enter = nn.Sequential(ConvUnit(3, w1, kernel=BLOCK, stride=BLOCK), ConvUnit(w1, w1))
        self.down1 = nn.Sequential(ConvUnit(w1, w2, stride=2), ConvUnit(w2, w2))
        self.down2 = nn.Sequential(ConvUnit(w2, w3, stride=2), ConvUnit(w3, w3))
        self.down3 = nn.Sequential(ConvUnit(w3, w3, stride=2), ConvUnit(w3, w3), ConvUnit(w3, w3))
        self.up2 = ConvUnit(w3, w3)
        self.lift1, self.up1 = ConvUnit(w3, w2, kernel=1), ConvUnit(w2, w2)
        self.lift0, self.up0 = ConvUnit(w2, w1, kernel=1), nn.Sequential(ConvUnit(w1, w1), ConvUnit(w1, 2 * w1))
        self.pixel_head = nn.Conv2d(2 * w1, PIXELS, 1)
        self.step_head = nn.Conv2d(2 * w1, PIXELS, 1)
        self.feature_head = nn.Conv2d(2 * w1, feature_channels, 1)
        self.variance_head = nn.Conv2d(2 * w1, feature_channels, 1)
        for head in (self.pixel_head, self.step_head, self.variance_head):
            nn.init.normal_(head.weight, std=1e-3)
            nn.init.zeros_(head.bias)  # type: ignore[arg-type]

    def trunk(self, x_t: Tensor) -> Tensor:
        """x_t (B, 3, S, S) -> (B, 2 * width, G, G)."""
        h0 = self.enter(x_t)
        h1 = self.down1(h0)
        h2 = self.down2(h1)
        h3 = self.down3(h2)
        h2 = self.up2(h2 + _double(h3))
        h1 = self.up1(h1 + _double(self.lift1(h2)))
        out: Tensor = self.up0(h0 + _double(self.lift0(h1)))
        return out

    def forward(self, x_t: Tensor, t: Tensor, label: Tensor | None = None) -> Denoised:  # noqa: ARG002
        """x_t (B, 3, S, S); t and label are ignored, the student knows one level and one category -> Denoised."""
        h = self.trunk(x_t)
        g = F.avg_pool2d(h, self.pooling) if self.pooling > 1 else h
        pixels, features = (self.pixel_head, self.step_head), (self.feature_head, self.variance_head)
        return Denoised(*(head(h).float() for head in pixels), *(head(g).float() for head in features))

    def fold(self) -> "Student":
        """Fold every BatchNorm into its convolution, in place; returns self in eval mode."""
        self.eval()
        for module in self.modules():
            if isinstance(module, ConvUnit):
                module.fold()
        return self


def _double(h: Tensor) -> Tensor:
    return F.interpolate(h, scale_factor=2.0, mode="nearest")
