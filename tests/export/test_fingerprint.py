"""A network's name changes with any of its numbers, and with nothing else."""

import torch
from torch import nn

from diffad_export.fingerprint import weights_digest


def test_it_names_the_numbers() -> None:
    def make() -> nn.Module:
        return nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3))

    torch.manual_seed(0)
    first, second = make(), make()
    assert weights_digest(first) != weights_digest(second)
    second.load_state_dict(first.state_dict())
    assert weights_digest(first) == weights_digest(second)
    before = weights_digest(second)
    next(second.buffers())[2] += 1e-6  # a buffer counts too
    assert weights_digest(second) != before
    wide = make().double()
    assert weights_digest(wide) != weights_digest(wide.float())
