"""The exponential moving average of a network's state: what is kept of a training in the end."""

import torch
from torch import Tensor, nn


class MovingAverage:
    """Follows `network`.

    Attributes:
        state: the average, by the names of the network's state dict.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network, self.decay = network, decay
        self.state = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the network as it is after step number `step`, counted from 0."""
        # Young averages follow faster, so that a short run is not an average of its first steps.
        decay = min(self.decay, (1 + step) / (10 + step))
        # Asked for anew each time: data parallel training moves the weights to other memory.
        live = self.network.state_dict()
        floating = [name for name, tensor in live.items() if tensor.is_floating_point()]
        torch._foreach_lerp_([self.state[name] for name in floating], [live[name] for name in floating], 1 - decay)
        for name in live.keys() - floating:  # counters have no average
            self.state[name].copy_(live[name])

    @torch.no_grad()
    def load(self, state: dict[str, Tensor]) -> None:
        """Go on from a stored average of the same network."""
        for name, tensor in self.state.items():
            tensor.copy_(state[name])
