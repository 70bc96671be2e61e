"""The simulated module pycuda.driver.

Knows pycuda's names, its errors, and what its destructors do. Does not know the rules (driver.py).

Destructors cannot raise: a misuse in one is remembered by the machine.
"""

from contextlib import suppress
from enum import IntEnum, IntFlag
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cudasim import driver as rules
from cudasim import streams
from cudasim.memory import Allocation
from cudasim.misuse import Misuse
from cudasim.streams import Work

if TYPE_CHECKING:
    from cudasim.machine import Machine


class Error(Exception):
    """Of the driver."""


class LogicError(Error):
    """The program's fault."""


class LaunchError(Error):
    """A kernel's."""


class RuntimeError(Error):
    """The machine's."""


class MemoryError(Error):
    """Not enough of it."""


_ERRORS = {kind.__name__: kind for kind in (LogicError, LaunchError, RuntimeError, MemoryError)}
_CALLS = {
    "init": "cuInit",
    "Device.retain_primary_context": "cuDevicePrimaryCtxRetain",
    "Context.push": "cuCtxPushCurrent",
    "Context.pop": "cuCtxPopCurrent",
    "Stream": "cuStreamCreate",
    "Stream.synchronize": "cuStreamSynchronize",
    "Event": "cuEventCreate",
    "Event.record": "cuEventRecord",
    "Event.synchronize": "cuEventSynchronize",
    "Event.time_since": "cuEventElapsedTime",
    "mem_alloc": "cuMemAlloc",
    "mem_get_info": "cuMemGetInfo",
    "pagelocked_empty": "cuMemHostAlloc",
    "memcpy_htod_async": "cuMemcpyHtoDAsync",
    "memcpy_dtoh_async": "cuMemcpyDtoHAsync",
}


class host_alloc_flags(IntFlag):  # noqa: N801  pycuda's own name
    """For pagelocked_empty."""

    PORTABLE = 1
    DEVICEMAP = 2
    WRITECOMBINED = 4


class device_attribute(IntEnum):  # noqa: N801  pycuda's own name
    """For Device.get_attribute."""

    MULTIPROCESSOR_COUNT = 16
    INTEGRATED = 18
    CAN_MAP_HOST_MEMORY = 19
    COMPUTE_CAPABILITY_MAJOR = 75
    COMPUTE_CAPABILITY_MINOR = 76


class _Face:
    """The calls themselves. `_made` keeps the machine."""

    _machine: "Machine"

    @classmethod
    def _call(cls, name: str, /, **arguments: Any) -> None:
        _called(cls._machine, name, **arguments)

    def _drop(self, what: str, thing: streams.Thing) -> None:
        """A destructor."""
        driver = self._machine.driver
        if not thing.alive or (isinstance(thing.owner, rules.Context) and not thing.owner.alive):
            return
        try:
            if not driver.lost and (why := driver.may_free(thing.what, thing.owner)):
                self._machine.misuse(why)
                return
            driver.destroy(what, thing)
        except Misuse:
            pass  # remembered


def _called(machine: "Machine", name: str, /, **arguments: Any) -> None:
    """Keep the call, and raise what was asked for."""
    machine.called("pycuda", name, **arguments)
    driver = machine.driver
    if name in {"Context.push", "Context.pop"} and driver.lost:
        return
    fault = machine.faults.take_cuda(name)
    if fault is not None:
        if fault.sticky:
            driver.lose(fault.text)
        elif name.endswith("synchronize"):
            driver.drop_work()
        raise _ERRORS[fault.kind](f"{_CALLS.get(name, name)} failed: {fault.text}")
    if driver.lost:
        raise LaunchError(f"{_CALLS.get(name, name)} failed: {driver.lost}")


class Device(_Face):
    """A GPU by its number."""

    def __init__(self, number: int) -> None:
        self._call("Device", number=number)
        self._machine.driver.need_init("Device")
        if not 0 <= number < self._machine.gpus:
            raise LogicError("cuDeviceGet failed: invalid device ordinal")

    @classmethod
    def count(cls) -> int:
        cls._call("Device.count")
        cls._machine.driver.need_init("Device.count")
        return cls._machine.gpus

    def name(self) -> str:
        return self._machine.name

    def compute_capability(self) -> tuple[int, int]:
        return self._machine.compute_capability

    def total_memory(self) -> int:
        return self._machine.total_memory

    def get_attribute(self, which: device_attribute) -> int:
        machine = self._machine
        return {
            device_attribute.MULTIPROCESSOR_COUNT: machine.multiprocessors,
            device_attribute.INTEGRATED: int(machine.integrated),
            device_attribute.CAN_MAP_HOST_MEMORY: int(machine.maps_host_memory),
            device_attribute.COMPUTE_CAPABILITY_MAJOR: machine.compute_capability[0],
            device_attribute.COMPUTE_CAPABILITY_MINOR: machine.compute_capability[1],
        }[device_attribute(which)]

    def retain_primary_context(self) -> "Context":
        """Not current until it is pushed."""
        self._call("Device.retain_primary_context")
        made = object.__new__(type(self)._context)
        made._state = self._machine.driver.retain()
        return made

    def make_context(self, flags: int = 0) -> None:
        self._call("Device.make_context", flags=flags)
        raise self._machine.misuse("Device.make_context: TensorRT works in the primary context, not in one of its own")

    _context: "type[Context]"


class Context(_Face):
    """The primary context."""

    _state: rules.Context

    def push(self) -> None:
        self._call("Context.push")
        self._machine.driver.push(self._state)

    @classmethod
    def pop(cls) -> None:
        cls._call("Context.pop")
        cls._machine.driver.pop()

    def detach(self) -> None:
        self._call("Context.detach")
        self._machine.driver.detach(self._state)

    @classmethod
    def synchronize(cls) -> None:
        cls._call("Context.synchronize")
        cls._machine.driver.current("Context.synchronize")
        cls._machine.driver.finish_all("Context.synchronize")


class Stream(_Face):
    """Work in order."""

    def __init__(self, flags: int = 0) -> None:
        self._call("Stream", flags=flags)
        driver = self._machine.driver
        owner = driver.current("Stream")
        self._state = driver.add(streams.Stream(driver.named("stream"), owner, handle=driver.handle()))

    @property
    def handle(self) -> int:
        return self._state.handle

    def synchronize(self) -> None:
        self._call("Stream.synchronize")
        self._machine.driver.current("Stream.synchronize")
        self._machine.driver.finish("Stream.synchronize", self._state)

    def is_done(self) -> bool:
        self._call("Stream.is_done")
        self._machine.driver.current("Stream.is_done")
        self._machine.driver.unsafe("Stream.is_done")
        return not self._state.queue

    def wait_for_event(self, event: "Event") -> None:
        self._call("Stream.wait_for_event")
        self._machine.driver.current("Stream.wait_for_event")
        self._machine.driver.wait_for(self._state, event._state)

    def __del__(self) -> None:
        if hasattr(self, "_state"):
            self._drop("the destructor of a stream", self._state)


class Event(_Face):
    """A mark in a stream."""

    def __init__(self, flags: int = 0) -> None:
        self._call("Event", flags=flags)
        driver = self._machine.driver
        self._state = driver.add(streams.Event(driver.named("event"), driver.current("Event")))

    def record(self, stream: Stream | None = None) -> "Event":
        self._call("Event.record")
        driver = self._machine.driver
        driver.current("Event.record")
        if stream is None:
            driver.stream("Event.record", 0)
        driver.record(self._state, driver.stream("Event.record", stream.handle))
        return self

    def synchronize(self) -> None:
        self._call("Event.synchronize")
        self._machine.driver.current("Event.synchronize")
        self._need_time("Event.synchronize")
        self._machine.driver.finish("Event.synchronize", self._state.stream, self._state.mark)

    def query(self) -> bool:
        self._call("Event.query")
        self._machine.driver.current("Event.query")
        self._need_time("Event.query")
        return self._state.happened is not None

    def time_since(self, event: "Event") -> float:
        """Milliseconds."""
        self._call("Event.time_since")
        self._machine.driver.current("Event.time_since")
        for one in (self, event):
            one._need_time("Event.time_since")
            if one._state.happened is None:
                raise self._machine.misuse(f"Event.time_since: {one._state.what} has not happened yet")
        return 1e3 * (self._state.happened - event._state.happened)

    def time_till(self, event: "Event") -> float:
        return event.time_since(self)

    def _need_time(self, call: str) -> None:
        if self._state.captured:
            raise self._machine.misuse(f"{call}: {self._state.what} was captured, it has no time of its own")
        if self._state.mark is None:
            raise self._machine.misuse(f"{call}: {self._state.what} was never recorded")

    def __del__(self) -> None:
        if hasattr(self, "_state"):
            self._drop("the destructor of an event", self._state)


class _Bytes(_Face):
    """Memory that frees itself."""

    _allocation: Allocation

    def free(self) -> None:
        name = f"{type(self).__name__}.free"
        self._machine.called("pycuda", name, bytes=self._allocation.nbytes)
        self._machine.driver.free(name, self._allocation)

    def __del__(self) -> None:
        if not hasattr(self, "_allocation") or not self._allocation.alive:
            return
        owner = self._allocation.owner
        if isinstance(owner, rules.Context) and not owner.alive:
            return
        with suppress(Misuse):  # remembered
            self._machine.driver.free("the destructor of memory", self._allocation)


class DeviceAllocation(_Bytes):
    """Memory of the GPU."""

    def __int__(self) -> int:
        if not self._allocation.alive:
            raise self._machine.misuse(f"the address of {self._allocation}, which was freed")
        return self._allocation.address

    __index__ = __int__


class PagelockedHostAllocation(_Bytes):
    """Pinned memory of the host, under an array."""

    __array_interface__: dict[str, Any]

    def get_device_pointer(self) -> int:
        self._call("PagelockedHostAllocation.get_device_pointer")
        self._machine.driver.current("PagelockedHostAllocation.get_device_pointer")
        if not self._allocation.alive:
            raise self._machine.misuse(f"get_device_pointer: {self._allocation} was freed")
        if self._allocation.kind != "mapped":
            raise self._machine.misuse(f"get_device_pointer: {self._allocation} was not allocated with DEVICEMAP")
        return self._allocation.address


def _pinned(machine: "Machine", call: str, array: npt.NDArray[Any]) -> Allocation:
    """What lies under an array; a misuse where that is not pinned."""
    if not isinstance(array, np.ndarray) or not array.flags.c_contiguous:
        raise machine.misuse(f"{call}: expected a contiguous array")
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    if not isinstance(base, PagelockedHostAllocation):
        raise machine.misuse(f"{call}: the host's memory is pageable, so the copy is not asynchronous")
    if not base._allocation.alive:
        raise machine.misuse(f"{call}: {base._allocation} was freed")
    return base._allocation


def _flat(array: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    return np.frombuffer(memoryview(array).cast("B"), np.uint8)


class _Functions:
    """Functions of the module, bound to a machine."""

    def __init__(self, machine: "Machine", allocation: type[DeviceAllocation], pinned: type[Any]) -> None:
        self._machine = machine
        self._allocation, self._pinned = allocation, pinned

    def init(self, flags: int = 0) -> None:
        _called(self._machine, "init", flags=flags)
        if self._machine.faults.without_gpu:
            raise RuntimeError(self._machine.faults.without_gpu)
        self._machine.driver.initialised = True

    def get_driver_version(self) -> int:
        _called(self._machine, "get_driver_version")
        major, minor = self._machine.cuda_version
        return 1000 * major + 10 * minor

    def mem_get_info(self) -> tuple[int, int]:
        _called(self._machine, "mem_get_info")
        self._machine.driver.current("mem_get_info")
        return self._machine.driver.free_bytes(), self._machine.total_memory

    def mem_alloc(self, size: int) -> DeviceAllocation:
        _called(self._machine, "mem_alloc", bytes=int(size))
        try:
            allocation = self._machine.driver.allocate("mem_alloc", "device", int(size))
        except rules.OutOfMemory:
            raise MemoryError("cuMemAlloc failed: out of memory") from None
        made = object.__new__(self._allocation)
        made._allocation = allocation
        return made

    def pagelocked_empty(
        self, shape: Any, dtype: npt.DTypeLike, order: str = "C", mem_flags: int = 0
    ) -> npt.NDArray[Any]:
        kind = np.dtype(dtype)
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        nbytes = int(np.prod(shape)) * kind.itemsize
        mapped = bool(int(mem_flags) & host_alloc_flags.DEVICEMAP)
        _called(self._machine, "pagelocked_empty", bytes=nbytes, mapped=mapped)
        if order != "C":
            raise NotImplementedError("the simulator has C order alone")
        try:
            allocation = self._machine.driver.allocate("pagelocked_empty", "mapped" if mapped else "pinned", nbytes)
        except rules.OutOfMemory:
            raise MemoryError("cuMemHostAlloc failed: out of memory") from None
        made = object.__new__(self._pinned)
        made._allocation = allocation
        made.__array_interface__ = {
            "version": 3, "shape": shape, "typestr": kind.str, "data": (allocation.host_address, False)
        }  # fmt: skip
        return np.asarray(made)

    def memcpy_htod_async(self, dest: Any, src: npt.NDArray[Any], stream: Stream | None = None) -> None:
        call = "memcpy_htod_async"
        _called(self._machine, call, bytes=getattr(src, "nbytes", 0))
        driver = self._machine.driver
        driver.current(call)
        pinned = _pinned(self._machine, call, src)
        target, offset = driver.bytes_at(call, int(dest), src.nbytes)
        source = _flat(src)

        def copy() -> None:
            target.data[offset : offset + source.size] = source

        self._enqueue(call, stream, Work(f"copy to {target}", copy, (target, pinned)))

    def memcpy_dtoh_async(self, dest: npt.NDArray[Any], src: Any, stream: Stream | None = None) -> None:
        call = "memcpy_dtoh_async"
        _called(self._machine, call, bytes=getattr(dest, "nbytes", 0))
        driver = self._machine.driver
        driver.current(call)
        pinned = _pinned(self._machine, call, dest)
        source, offset = driver.bytes_at(call, int(src), dest.nbytes)
        target = _flat(dest)

        def copy() -> None:
            target[...] = source.data[offset : offset + target.size]

        self._enqueue(call, stream, Work(f"copy from {source}", copy, (source, pinned)))

    def memcpy_htod(self, dest: Any, src: npt.NDArray[Any]) -> None:
        """Waits for all streams, as the null stream does."""
        _called(self._machine, "memcpy_htod", bytes=src.nbytes)
        self._machine.driver.current("memcpy_htod")
        target, offset = self._machine.driver.bytes_at("memcpy_htod", int(dest), src.nbytes)
        self._machine.driver.finish_all("memcpy_htod")
        target.data[offset : offset + src.nbytes] = _flat(np.ascontiguousarray(src))

    def memcpy_dtoh(self, dest: npt.NDArray[Any], src: Any) -> None:
        """Waits for all streams, as the null stream does."""
        _called(self._machine, "memcpy_dtoh", bytes=dest.nbytes)
        self._machine.driver.current("memcpy_dtoh")
        source, offset = self._machine.driver.bytes_at("memcpy_dtoh", int(src), dest.nbytes)
        self._machine.driver.finish_all("memcpy_dtoh")
        _flat(dest)[...] = source.data[offset : offset + dest.nbytes]

    def _enqueue(self, call: str, stream: Stream | None, work: Work) -> None:
        driver = self._machine.driver
        driver.submit(driver.stream(call, 0 if stream is None else stream.handle), work)


def make_pycuda_driver(machine: "Machine") -> ModuleType:
    """The module for one machine."""
    kinds = {
        kind.__name__: type(kind.__name__, (kind,), {"_machine": machine, "__module__": "pycuda.driver"})
        for kind in (Device, Context, Stream, Event, DeviceAllocation, PagelockedHostAllocation)
    }
    kinds["Device"]._context = kinds["Context"]  # type: ignore[attr-defined]
    functions = _Functions(machine, kinds["DeviceAllocation"], kinds["PagelockedHostAllocation"])
    public = {name: getattr(functions, name) for name in dir(functions) if not name.startswith("_")}
    module: Any = ModuleType("pycuda.driver")
    errors = {"Error": Error, **_ERRORS}
    values = SimpleNamespace(host_alloc_flags=host_alloc_flags, device_attribute=device_attribute)
    vars(module).update(kinds | public | errors | vars(values))
    return module
