"""The moving average against the recurrence in float64, counters copied, and its storage."""

import pytest
import torch
from torch import nn

from diffad_export.training.average import MovingAverage


def test_it_follows_the_recurrence_and_copies_counters() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3))
    average = MovingAverage(network, 0.9)
    expected = {name: tensor.double() for name, tensor in network.state_dict().items()}
    for step in range(40):
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(torch.randn_like(parameter))
        network(torch.randn(4, 2, 3, 3))  # moves the buffers
        average.update(step)
        decay = min(0.9, (1 + step) / (10 + step))
        for name, tensor in network.state_dict().items():
            expected[name] = decay * expected[name] + (1 - decay) * tensor.double()
    assert average.state["1.num_batches_tracked"] == 40
    for name in ("0.weight", "0.bias", "1.weight", "1.running_mean", "1.running_var"):
        torch.testing.assert_close(average.state[name].double(), expected[name], rtol=1e-5, atol=1e-6)


def test_it_follows_weights_that_move_to_other_memory() -> None:
    network = nn.Linear(1, 1)
    average = MovingAverage(network, 0.5)
    network.weight.data = torch.full((1, 1), 3.0)  # as DistributedDataParallel does
    for step in range(100):
        average.update(step)
    assert average.state["weight"].item() == pytest.approx(3)


def test_it_does_not_share_storage_with_the_network_or_with_what_it_was_loaded_from() -> None:
    network = nn.Linear(1, 1)
    average = MovingAverage(network, 0.5)
    stored = {name: torch.full_like(tensor, 7) for name, tensor in network.state_dict().items()}
    average.load(stored)
    average.update(1000)
    assert stored["weight"].item() == 7
    assert average.state["weight"].item() == pytest.approx(0.5 * 7 + 0.5 * network.weight.item())
    assert network.weight.item() != average.state["weight"].item()
