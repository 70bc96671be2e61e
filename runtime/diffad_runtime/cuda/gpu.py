"""One GPU and its primary context, through pycuda.

Knows devices, contexts and free memory. Does not know TensorRT, nor what lies in any buffer.

The primary context is the one that the CUDA runtime, and with it TensorRT, works in. It is retained once for the whole
process and kept until the process ends, as the CUDA runtime itself does. pycuda could not give it back earlier: its
`detach` does nothing on another thread than the one that retained it, and leaves the context pushed on that one.
`pycuda.autoinit` is never used: it makes a context of its own and leaves it current on the thread that imported it.
"""

import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from diffad_runtime.errors import EngineError, MissingExtraError

_MEMINFO = Path("/proc/meminfo")


@dataclass(frozen=True, slots=True)
class GpuFacts:
    """What is known of a GPU before any work.

    Attributes:
        name: as the driver says it, as in "Orin".
        compute_capability: as in "8.7".
        multiprocessors: number of streaming multiprocessors.
        total_bytes: memory; on an integrated GPU the machine's own.
        integrated: shares its memory with the processor.
        maps_host_memory: can read and write pinned host memory in place.
        cuda: version of CUDA that the driver speaks, as in "12.6".
    """

    name: str
    compute_capability: str
    multiprocessors: int
    total_bytes: int
    integrated: bool
    maps_host_memory: bool
    cuda: str


class Gpu:
    """A GPU whose primary context can be made current, on any thread.

    Attributes:
        cuda: the module pycuda.driver.
        facts: of the device.
        give_back: give the context back; whatever was made in it must be closed. Twice is harmless.
    """

    def __init__(self, cuda: Any, context: Any, facts: GpuFacts) -> None:
        self.cuda = cuda
        self.facts = facts
        self._context = context
        self._depth = threading.local()
        # Not atexit: at exit finalisers run in the reverse order they were made in, so this one after those of all
        # engines, whoever made finalisers or exit functions of their own before.
        self.give_back = weakref.finalize(self, _give_back, context)

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make the context current on this thread while the block runs. Blocks may be nested."""
        depth = getattr(self._depth, "value", 0)
        if depth == 0:
            self._context.push()
        self._depth.value = depth + 1
        try:
            yield
        finally:
            self._depth.value = depth
            if depth == 0:
                self.cuda.Context.pop()

    def free_bytes(self) -> int:
        """Memory that a new allocation may take. Call it within `current`.

        An integrated GPU shares the machine's memory, and there CUDA leaves out what the system would give up its file
        cache for: the system's own figure is the right one.
        """
        if self.facts.integrated and (available := _available_bytes()):
            return available
        free, _ = self.cuda.mem_get_info()
        return int(free)

    def failed(self, what: str, error: Exception, heard: str = "") -> EngineError:
        """An error of pycuda as one of ours; `heard`: what a library above it logged meanwhile."""
        said = " ".join(str(error).split())[:300] or type(error).__name__
        return EngineError(
            f"the GPU failed to {what}: {said}" + (f"; TensorRT: {heard[:300]}" if heard else ""),
            mend="Restart the program: after some errors CUDA refuses all further work of a process. "
            "If it comes again, see 'diffad-edge doctor' and the kernel's log (dmesg)",
        )


_lock = threading.Lock()
_opened: list[Gpu] = []


def open_gpu() -> Gpu:
    """The first GPU, its context retained. The same object for the whole process.

    Raises:
        MissingExtraError: pycuda is not installed.
        EngineError: pycuda or the driver does not work, or there is no GPU.
    """
    with _lock:
        if not _opened:
            _opened.append(_open())
        return _opened[0]


def release() -> None:
    """Give the context back before the process ends. Whatever was made in it must be closed."""
    with _lock:
        while _opened:
            _opened.pop().give_back()


def _give_back(context: Any) -> None:
    # The driver may be gone already, and then there is nothing to give back.
    with suppress(Exception):
        context.detach()


def _open() -> Gpu:
    try:
        cuda = import_module("pycuda.driver")
    except ModuleNotFoundError as error:
        package = (error.name or "pycuda").partition(".")[0]
        raise MissingExtraError(package, extra="jetson", purpose="the TensorRT backend") from error
    except (ImportError, OSError) as error:
        said = " ".join(str(error).split())[:200]
        rebuild = "Build it again on this device: pip install --force-reinstall --no-cache-dir pycuda"
        no_driver = (
            "The driver's library is missing: install the driver; in a container, start it with --runtime nvidia"
        )
        raise EngineError(
            f"pycuda cannot be loaded: {said}", mend=no_driver if "libcuda.so" in said else rebuild
        ) from error
    try:
        cuda.init()
        if cuda.Device.count() < 1:
            raise EngineError("CUDA finds no GPU", mend="Check the machine with 'diffad-edge doctor'")
        device = cuda.Device(0)
        facts = _facts(cuda, device)
        return Gpu(cuda, device.retain_primary_context(), facts)
    except cuda.Error as error:
        raise EngineError(
            f"no GPU answers: {' '.join(str(error).split())[:200]}",
            mend="Check the driver and, in a container, that it was started with --runtime nvidia",
        ) from error


def _facts(cuda: Any, device: Any) -> GpuFacts:
    asked = cuda.device_attribute
    major, minor = device.compute_capability()
    version = int(cuda.get_driver_version())  # 1000 x major + 10 x minor
    return GpuFacts(
        name=str(device.name()),
        compute_capability=f"{major}.{minor}",
        multiprocessors=int(device.get_attribute(asked.MULTIPROCESSOR_COUNT)),
        total_bytes=int(device.total_memory()),
        integrated=bool(device.get_attribute(asked.INTEGRATED)),
        maps_host_memory=bool(device.get_attribute(asked.CAN_MAP_HOST_MEMORY)),
        cuda=f"{version // 1000}.{version % 1000 // 10}",
    )


def _available_bytes() -> int:
    """The system's MemAvailable; 0 where it cannot be read."""
    try:
        lines = _MEMINFO.read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")), 0)
