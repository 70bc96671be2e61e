"""Fake quantisation: a copy of a network that rounds in float where its exported INT8 graph rounds.

Weights to int8 per output channel, symmetric; biases to int32; activations to uint8 per tensor with the ranges that
were calibrated for the graph. Gradients pass rounding straight through and stop where a value is clipped, as in Jacob
et al. (CVPR 2018), section 3. A ReLU needs no place of its own: its output's range starts at 0, and clips.

Knows modules with convolutions. Does not know objectives, nor what the network is for.
"""

import copy
from collections.abc import Mapping
from typing import TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffad_calibration.precision.int8ranges import ConvRanges, Range

_Network = TypeVar("_Network", bound=nn.Module)
WEIGHT_LIMIT = 127
_LEAST = 1e-12


class FakeQuantConv(nn.Module):
    """A convolution with its input, weight, bias and output rounded.

    Args:
        convolution: with float weights; they are shared, not copied.
        ranges: of the exported convolution.
    """

    def __init__(self, convolution: nn.Conv2d, ranges: ConvRanges) -> None:
        super().__init__()
        self.convolution, self.ranges = convolution, ranges

    def forward(self, h: Tensor) -> Tensor:
        """(B, Cin, H, W) -> (B, Cout, H', W'), rounded, and clipped as the activation behind it would."""
        own, ranges = self.convolution, self.ranges
        h = rounded(h, ranges.input)
        scale = (own.weight.detach().abs().amax((1, 2, 3)) / WEIGHT_LIMIT).clamp_min(_LEAST)
        zeros = torch.zeros_like(scale, dtype=torch.int32)
        weight = torch.fake_quantize_per_channel_affine(own.weight, scale, zeros, 0, -WEIGHT_LIMIT, WEIGHT_LIMIT)
        bias = None if own.bias is None else _to_steps(own.bias, scale * ranges.input.scale)
        h = F.conv2d(h, weight, bias, own.stride, cast(tuple[int, int], own.padding), own.dilation, own.groups)
        return h if ranges.output is None else rounded(h, ranges.output)


def fake_quantised(
    network: _Network,
    ranges: Mapping[str, ConvRanges],
    *,
    prefix: str = "",
    outputs: Mapping[str, Range] | None = None,
) -> _Network:
    """A copy of `network` that rounds as its graph does, and starts with the graph's biases.

    Args:
        network: BatchNorm folded.
        ranges: of the graph, as `int8_ranges` gives them.
        prefix: what names in the graph have before those in `network`.
        outputs: further modules, by name, whose output is rounded: sums that are read by more than a convolution.

    Raises:
        ValueError: not one convolution of the graph is found in `network`.
    """
    made = copy.deepcopy(network).requires_grad_(True)
    met = 0
    for name, module in list(made.named_modules()):
        key = f"{prefix}{name}.weight"
        if isinstance(module, nn.Conv2d) and key in ranges:  # a head that the score does not read is not in the graph
            parent, _, last = name.rpartition(".")
            _take_bias(module, ranges[key])
            made.get_submodule(parent)._modules[last] = FakeQuantConv(module, ranges[key])
            met += 1
    if met == 0:
        raise ValueError(f"no convolution of the graph is found under {prefix!r}")
    for name, own in (outputs or {}).items():
        made.get_submodule(name).register_forward_hook(_Rounding(own))
    return made


def take_weights(network: nn.Module, trained: nn.Module) -> None:
    """Bring the weights of a fake-quantised copy back into `network`, whose convolutions stay plain."""
    state = {name.replace(".convolution.", "."): tensor for name, tensor in trained.state_dict().items()}
    network.load_state_dict(state)


def rounded(h: Tensor, to: Range) -> Tensor:
    """`h` of any shape as uint8 of that range, in float."""
    return torch.fake_quantize_per_tensor_affine(h, to.scale, to.zero_point, 0, 255)


class _Rounding:
    """A forward hook; a class, so that a network with it can still be copied."""

    def __init__(self, to: Range) -> None:
        self.to = to

    def __call__(self, module: nn.Module, inputs: tuple[Tensor, ...], h: Tensor) -> Tensor:
        del module, inputs
        return rounded(h, self.to)


@torch.no_grad()
def _take_bias(convolution: nn.Conv2d, ranges: ConvRanges) -> None:
    if convolution.bias is not None and ranges.bias is not None:
        convolution.bias.copy_(torch.from_numpy(ranges.bias))


def _to_steps(bias: Tensor, scale: Tensor) -> Tensor:
    """Multiples of `scale` (C,); the gradient does not see it."""
    return bias + ((bias / scale).round() * scale - bias).detach()
