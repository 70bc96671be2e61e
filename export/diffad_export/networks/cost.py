"""What a network costs: its parameters, and the multiply-adds of one evaluation.

Counted on shapes alone (the meta device), so that the paper's network costs no memory and no time to ask about.
Knows nothing of latency.
"""

from dataclasses import asdict, dataclass

import torch
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from diffad_export.denoiser import Denoiser


@dataclass(frozen=True, slots=True)
class NetworkCost:
    """Attributes:
    size: side S of the image that one evaluation is counted for.
    parameters: numbers that are trained.
    gmacs: 1e9 multiply-adds of one evaluation on one image.
    """

    size: int
    parameters: int
    gmacs: float

    @property
    def gflops(self) -> float:
        """1e9 operations, a multiply-add counting as two."""
        return 2 * self.gmacs

    def to_json(self) -> dict[str, int | float]:
        """Plain values."""
        return asdict(self) | {"gflops": self.gflops}

    def line(self) -> str:
        """For the terminal."""
        return f"{self.parameters / 1e6:.1f} M parameters, {self.gflops:.1f} GFLOPs an evaluation at {self.size} px"


def network_cost(denoiser: Denoiser, size: int) -> NetworkCost:
    """Count convolutions and matrix products, attention included; norms, activations and resizing are left out.

    The network is neither run nor changed, and may itself lie on the meta device.

    Args:
        denoiser: any network of the house.
        size: S, as the network takes it.
    """
    tensors = {**dict(denoiser.named_parameters()), **dict(denoiser.named_buffers())}
    shapes = {name: torch.empty_like(tensor, device="meta") for name, tensor in tensors.items()}
    x_t, t = torch.empty(1, 3, size, size, device="meta"), torch.empty(1, dtype=torch.int64, device="meta")
    # Fused attention on a processor has no formula in the counter; the plain one is two matrix products.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        functional_call(denoiser, shapes, (x_t, t))
    parameters = sum(parameter.numel() for parameter in denoiser.parameters())
    return NetworkCost(size, parameters, counter.get_total_flops() / 2e9)
