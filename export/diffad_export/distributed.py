"""Several processes that do one work together: who this one is, what its share is, what all of them agree on.

torchrun starts the processes, on one machine or several; Hugging Face accelerate joins them: backend, device of each,
gradients averaged in the backward pass. One process alone needs neither, and does not import accelerate.
Knows nothing of what is trained or cached.

    diffad-edge train ...                                                     one process
    torchrun --nproc-per-node 4 -m diffad_edge train ...                      four GPUs, or four CPU processes
    torchrun --nnodes 2 --node-rank 0 --master-addr HOST --nproc-per-node 4 -m diffad_edge train ...

Data and run folder must lie on a file system that all nodes see.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from diffad_runtime.errors import DiffadError, InputError, MissingExtraError

if TYPE_CHECKING:
    from accelerate import Accelerator

TORCHRUN_SETS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
# One process may have a cache to fill that another finds whole.
PATIENCE = timedelta(hours=2)

Batch = TypeVar("Batch", Tensor, npt.NDArray[np.int64])


@dataclass(frozen=True, slots=True)
class Share:
    """Which part of a global batch one process works on: part `rank` of `size` equal ones."""

    rank: int = 0
    size: int = 1

    def of(self, batch: Batch) -> Batch:
        """The part of `batch` (B, ...), B a multiple of `size`, that is this process's: (B / size, ...)."""
        each = len(batch) // self.size
        return batch[self.rank * each : (self.rank + 1) * each]


WHOLE = Share()


@dataclass(frozen=True, slots=True)
class World:
    """This process among `size`. Alone by default: every method then does nothing.

    Attributes:
        device: where this process computes.
        rank: its number; 0 is the main one, which writes and speaks.
        accelerator: what joins the processes; None for one alone.
    """

    device: torch.device
    rank: int = 0
    size: int = 1
    accelerator: "Accelerator | None" = None

    @property
    def is_main(self) -> bool:
        """True for the one process that writes files and shows progress."""
        return self.rank == 0

    @property
    def share(self) -> Share:
        """This process's part of a global batch."""
        return Share(self.rank, self.size)

    def wrap(self, network: nn.Module) -> nn.Module:
        """`network` with gradients averaged over all processes in the backward pass; weights are those of rank 0."""
        if self.accelerator is None:
            return network
        wrapped: nn.Module = self.accelerator.prepare_model(network)
        return wrapped

    def total(self, values: Tensor) -> Tensor:
        """Sum of `values` over all processes, the same bits on each. A meeting point, as `meet`."""
        if self.accelerator is None:
            return values
        summed: Tensor = self.accelerator.reduce(values.to(self.device), reduction="sum")
        return summed

    def any(self, flag: bool) -> bool:
        """Whether `flag` is True in any process. A meeting point, as `meet`."""
        return bool(self.total(torch.tensor([float(flag)])) > 0)

    def on_main(self, work: Callable[[], object]) -> None:
        """Do `work` in the main process, while the others wait; where it fails there, all fail. A meeting point.

        Raises:
            DiffadError: in the other processes, where `work` failed. The main one raises what `work` raised.
        """
        failure: BaseException | None = None
        if self.is_main:
            try:
                work()
            except BaseException as error:  # raised below, when the others know
                failure = error
        if not self.any(failure is not None):
            return
        raise failure or DiffadError("the main process gave up", mend="Its own message says why")

    def meet(self) -> None:
        """Wait until all processes are here."""
        if self.accelerator is not None:
            self.accelerator.wait_for_everyone()


def is_alone() -> bool:
    """Whether no other process was started beside this one; known from torchrun's environment."""
    return _number("WORLD_SIZE", 1) <= 1


def is_main() -> bool:
    """Whether this process is the one to speak; known from torchrun's environment, before any process is joined."""
    return _number("WORLD_SIZE", 1) <= 1 or _number("RANK", 0) == 0


def join_world(device: torch.device) -> World:
    """Meet the other processes that torchrun started; alone where it started none.

    Args:
        device: "cpu", or "cuda" for the GPU that is this process's.

    Raises:
        InputError: the environment names several processes, but not how to reach them.
        MissingExtraError: accelerate is not installed.
    """
    if _number("WORLD_SIZE", 1) <= 1:
        return World(device)
    missing = [name for name in TORCHRUN_SETS if not os.environ.get(name)]
    if missing:
        raise InputError(
            f"WORLD_SIZE asks for {os.environ['WORLD_SIZE']} processes, but {', '.join(missing)} is not set",
            mend="Start with torchrun, or unset WORLD_SIZE to train in one process",
        )
    # accelerate, not Lightning Fabric: beside what [export,b4] already has it brings psutil alone, Fabric nine (an HTTP
    # client among them); it imports in 0.6 s against 1.1 s; and Fabric refuses networks that answer with a frozen
    # dataclass, as ours do. Both handle gloo, NCCL, torchrun and several nodes.
    try:
        from accelerate import Accelerator  # noqa: PLC0415  0.6 s that one process alone does not need
        from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs  # noqa: PLC0415
    except ImportError:
        raise MissingExtraError("accelerate", extra="export", purpose="training in several processes") from None
    accelerator = Accelerator(
        cpu=device.type == "cpu",
        mixed_precision="no",  # the objectives choose where bfloat16 is used
        kwargs_handlers=[
            DistributedDataParallelKwargs(gradient_as_bucket_view=True),  # no second copy of the gradients
            InitProcessGroupKwargs(timeout=PATIENCE),
        ],
    )
    return World(accelerator.device, accelerator.process_index, accelerator.num_processes, accelerator)


def _number(name: str, default: int) -> int:
    text = os.environ.get(name) or str(default)
    try:
        return int(text)
    except ValueError:
        raise InputError(f"{name} in the environment is {text!r}, not a number", mend=f"Unset {name}") from None
