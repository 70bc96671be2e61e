"""The state of a training in one file: weights, their average, the optimiser's moments, and how far it is.

Knows the file's layout. The number of processes is not in it: every one of them holds the same state.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from diffad_export.checkpoint import load_tensors, save_tensors
from diffad_export.training.average import MovingAverage
from diffad_runtime.errors import InputError


def save_training(
    path: Path, network: nn.Module, average: MovingAverage, optimiser: torch.optim.Optimizer, facts: dict[str, Any]
) -> None:
    """Write everything that `load_training` needs, atomically."""
    tensors = {f"network/{name}": tensor for name, tensor in network.state_dict().items()}
    tensors |= {f"ema/{name}": tensor for name, tensor in average.state.items()}
    for index, state in optimiser.state_dict()["state"].items():
        tensors |= {f"adam/{index}/{name}": tensor for name, tensor in state.items()}
    save_tensors(path, tensors, facts)


def load_training(
    path: Path, network: nn.Module, average: MovingAverage, optimiser: torch.optim.Optimizer
) -> dict[str, Any]:
    """Bring all three to the state in `path`; gives the facts that were saved with it.

    Raises:
        InputError: the file is missing or broken, or holds another network.
    """
    tensors, facts = load_tensors(path)
    groups: dict[str, dict[str, Tensor]] = {"network": {}, "ema": {}, "adam": {}}
    for name, tensor in tensors.items():
        group, _, rest = name.partition("/")
        groups.setdefault(group, {})[rest] = tensor
    try:
        network.load_state_dict(groups["network"])
    except RuntimeError:
        raise InputError(
            f"{path} holds another network than this configuration asks for",
            mend="Resume with the options of the first sitting, or train into a new folder",
        ) from None
    average.load(groups["ema"])
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in groups["adam"].items():
        index, _, key = name.partition("/")
        state.setdefault(int(index), {})[key] = tensor
    optimiser.load_state_dict(optimiser.state_dict() | {"state": state})
    return facts
