"""Memory of the simulated GPU, and pinned memory of the host: what is allocated, and where.

Knows addresses and bytes. Does not know contexts, streams, nor who may free.

Bytes lie in the host's memory. Addresses on the GPU are numbers of their own, in a range that no host pointer has,
never given twice and never adjacent: a stale address, one past the end, or the host's in place of the GPU's is found.
"""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

Kind = Literal["device", "pinned", "mapped"]

_FIRST = 0x2_0000_0000_0000  # beyond what a process on a 64-bit CPU can have
_ALIGNED = 512
_GAP = 1 << 16
_GARBAGE = 0xFF  # float32 and float16 read it as NaN


@dataclass(eq=False)
class Allocation:
    """Some bytes.

    Attributes:
        kind: on the GPU alone; pinned on the host; or pinned on the host, and seen by the GPU.
        address: on the GPU; 0 where it does not see them.
        data: uint8, the bytes themselves.
        owner: the context they belong to.
    """

    kind: Kind
    address: int
    data: npt.NDArray[np.uint8]
    owner: object
    alive: bool = True
    number: int = 0

    @property
    def nbytes(self) -> int:
        return self.data.size

    @property
    def host_address(self) -> int:
        """Where the host finds them; 0 where it does not."""
        return 0 if self.kind == "device" else int(self.data.ctypes.data)

    def __str__(self) -> str:
        return f"{self.kind} memory no. {self.number} of {self.nbytes} bytes"


@dataclass
class Memory:
    """All allocations that ever were."""

    every: list[Allocation] = field(default_factory=list)
    _next: int = _FIRST

    @property
    def live(self) -> list[Allocation]:
        return [one for one in self.every if one.alive]

    def allocate(self, kind: Kind, nbytes: int, owner: object) -> Allocation:
        """New bytes, full of garbage."""
        address = 0
        if kind != "pinned":
            address = self._next
            self._next += -(-(nbytes + _GAP) // _ALIGNED) * _ALIGNED
        data = np.full(nbytes, _GARBAGE, np.uint8)
        made = Allocation(kind, address, data, owner, number=len(self.every) + 1)
        self.every.append(made)
        return made

    def free(self, allocation: Allocation) -> None:
        """Whoever still reads it gets garbage."""
        allocation.alive = False
        allocation.data[...] = _GARBAGE

    def at(self, address: int) -> tuple[Allocation, int] | None:
        """The allocation that an address on the GPU lies in, dead or alive, and the offset within."""
        for one in self.every:
            if one.address and one.address <= address < one.address + max(1, one.nbytes):
                return one, address - one.address
        return None

    def on_host(self, address: int) -> Allocation | None:
        """The live pinned allocation that an address of the host lies in."""
        for one in self.live:
            if one.host_address and one.host_address <= address < one.host_address + max(1, one.nbytes):
                return one
        return None
