"""The simulated machine: what it is, what was called on it, and what was left behind.

Knows facts, calls and misuses. Does not know the rules (driver.py), nor how modules are installed (installing.py).
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from cudasim.driver import Context, Driver
from cudasim.faults import Faults
from cudasim.installing import installed
from cudasim.misuse import Misuse


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the program.

    Attributes:
        api: "pycuda", "tensorrt" or "cuda".
        name: as in "mem_alloc", "Stream.synchronize", "Runtime.deserialize_cuda_engine", "cuGraphLaunch".
        arguments: those worth keeping.
        thread: its name.
        depth: contexts pushed on that thread.
    """

    api: str
    name: str
    arguments: dict[str, Any]
    thread: str
    depth: int


class Machine:
    """A machine with a GPU, CUDA and TensorRT, for one process.

    Args:
        name: that the driver gives the GPU.
        integrated: shares its memory with the CPU.
        free_memory: bytes that allocations may take.
        tensorrt_version: its bindings' `__version__`.
        cuda_version: of the driver.
        graphs: CUDA graphs can be captured.
        gpus: how many; the program may use the first.
        maps_host_memory: the GPU can read and write pinned memory of the host.
    """

    def __init__(
        self,
        name: str = "Orin",
        integrated: bool = True,
        compute_capability: tuple[int, int] = (8, 7),
        multiprocessors: int = 8,
        total_memory: int = 8 << 30,
        free_memory: int = 4 << 30,
        tensorrt_version: str = "10.3.0",
        cuda_version: tuple[int, int] = (12, 6),
        graphs: bool = True,
        gpus: int = 1,
        maps_host_memory: bool = True,
    ) -> None:
        self.name = name
        self.integrated = integrated
        self.compute_capability = compute_capability
        self.multiprocessors = multiprocessors
        self.total_memory = total_memory
        self.free_memory = free_memory
        self.tensorrt_version = tensorrt_version
        self.cuda_version = cuda_version
        self.graphs = graphs
        self.gpus = gpus
        self.maps_host_memory = maps_host_memory
        self.calls: list[Call] = []
        self.misuses: list[str] = []
        self.said: list[tuple[str, str]] = []
        """(Severity, line) of all that TensorRT logged."""
        self.faults = Faults()
        self.driver = Driver(self)
        self.logger: Any = None  # the first that TensorRT was given

    @contextmanager
    def installed(self, tensorrt: bool = True, pycuda: bool = True, bindings: bool = True) -> Iterator["Machine"]:
        """Its modules can be imported while the block runs; those that are False are not installed."""
        with installed(self, tensorrt=tensorrt, pycuda=pycuda, bindings=bindings):
            yield self

    def names(self) -> list[str]:
        """Of all calls, in order."""
        return [call.name for call in tuple(self.calls)]

    def count(self, name: str) -> int:
        """How often that was called."""
        return self.names().count(name)

    def assert_clean(self, retained: bool = True) -> None:
        """Nothing was misused, and nothing is left.

        Args:
            retained: a primary context that is still retained is no fault.

        Raises:
            Misuse: with all that was found.
        """
        found = list(self.misuses)
        found += [
            f"thread {thread.name!r} has {len(thread.stack)} contexts pushed"
            for thread in self.driver.threads
            if thread.stack
        ]
        found += [f"a capture of {one.what} goes on" for one in self.driver.streams() if one.capture is not None]
        found += [f"{what} is left" for what in self.driver.left_in()]
        if not retained:
            found += [f"{one.what} is retained" for one in self.driver.things if isinstance(one, Context) and one.alive]
        if found:
            raise Misuse("; ".join(found))

    # What the faces tell.

    def called(self, api: str, name: str, /, **arguments: Any) -> None:
        """Keep a call."""
        depth = len(self.driver.thread().stack)
        self.calls.append(Call(api, name, arguments, threading.current_thread().name, depth))

    def misuse(self, what: str) -> Misuse:
        """Remember it; the caller raises it, where something can be raised."""
        self.misuses.append(what)
        return Misuse(what)
