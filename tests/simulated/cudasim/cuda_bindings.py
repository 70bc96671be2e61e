"""The simulated module cuda.bindings.driver: what CUDA graphs need of it.

Knows its names, and that it gives a status and values, raising nothing. Does not know the rules (driver.py).
"""

from collections.abc import Callable
from enum import IntEnum
from types import ModuleType
from typing import TYPE_CHECKING, Any

from cudasim.streams import Capture, Graph

if TYPE_CHECKING:
    from cudasim.machine import Machine


class CUresult(IntEnum):
    """Statuses."""

    CUDA_SUCCESS = 0
    CUDA_ERROR_INVALID_VALUE = 1
    CUDA_ERROR_OUT_OF_MEMORY = 2
    CUDA_ERROR_LAUNCH_FAILED = 719
    CUDA_ERROR_NOT_SUPPORTED = 801
    CUDA_ERROR_STREAM_CAPTURE_INVALIDATED = 901
    CUDA_ERROR_UNKNOWN = 999


_STATUS = {
    "LaunchError": CUresult.CUDA_ERROR_LAUNCH_FAILED,
    "MemoryError": CUresult.CUDA_ERROR_OUT_OF_MEMORY,
    "LogicError": CUresult.CUDA_ERROR_INVALID_VALUE,
    "RuntimeError": CUresult.CUDA_ERROR_UNKNOWN,
}


class CUstreamCaptureMode(IntEnum):
    """Which calls are prohibited meanwhile."""

    CU_STREAM_CAPTURE_MODE_GLOBAL = 0
    CU_STREAM_CAPTURE_MODE_THREAD_LOCAL = 1
    CU_STREAM_CAPTURE_MODE_RELAXED = 2


class _Handle:
    def __init__(self, value: int = 0) -> None:
        self._value = int(value)

    def __int__(self) -> int:
        return self._value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Handle) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)


class CUstream(_Handle):
    """A stream's handle."""


class CUgraph(_Handle):
    """A graph's."""


class CUgraphExec(_Handle):
    """That of an instantiated graph."""


class _Functions:
    def __init__(self, machine: "Machine") -> None:
        self._machine = machine

    # The names are NVIDIA's.

    def cuStreamBeginCapture(self, stream: CUstream, mode: CUstreamCaptureMode) -> tuple[CUresult]:  # noqa: N802
        def work() -> None:
            driver = self._machine.driver
            found = driver.stream("cuStreamBeginCapture", int(self._of(CUstream, stream)))
            if found.capture is not None:
                raise self._machine.misuse(f"cuStreamBeginCapture: {found.what} is being captured")
            word = CUstreamCaptureMode(mode).name.removeprefix("CU_STREAM_CAPTURE_MODE_")
            found.capture = Capture(driver.thread(), word)

        if not self._machine.graphs:
            self._machine.called("cuda", "cuStreamBeginCapture")
            return (CUresult.CUDA_ERROR_NOT_SUPPORTED,)
        return (self._call("cuStreamBeginCapture", work)[0],)

    def cuStreamEndCapture(self, stream: CUstream) -> tuple[CUresult, CUgraph]:  # noqa: N802
        def work() -> CUgraph:
            driver = self._machine.driver
            found = driver.stream("cuStreamEndCapture", int(self._of(CUstream, stream)))
            capture, found.capture = found.capture, None
            if capture is None:
                raise self._machine.misuse(f"cuStreamEndCapture: {found.what} is not being captured")
            if capture.mode != "RELAXED" and capture.thread is not driver.thread():
                raise self._machine.misuse("cuStreamEndCapture: the capture was begun on another thread")
            if self._machine.faults.take("capture") is not None:
                return CUgraph(0)
            made = Graph(
                driver.named("graph"), driver.current("cuStreamEndCapture"), handle=driver.handle(),
                nodes=tuple(capture.nodes),
            )  # fmt: skip
            return CUgraph(driver.add(made).handle)

        status, graph = self._call("cuStreamEndCapture", work)
        if status == CUresult.CUDA_SUCCESS and not int(graph):
            status = CUresult.CUDA_ERROR_STREAM_CAPTURE_INVALIDATED
        return status, graph or CUgraph(0)

    def cuGraphInstantiate(self, graph: CUgraph, flags: int) -> tuple[CUresult, CUgraphExec | None]:  # noqa: N802
        def work() -> CUgraphExec:
            driver = self._machine.driver
            found = self._graph("cuGraphInstantiate", self._of(CUgraph, graph))
            made = Graph(driver.named("executable graph"), found.owner, handle=driver.handle(), nodes=found.nodes)
            return CUgraphExec(driver.add(made).handle)

        return self._call("cuGraphInstantiate", work, flags=flags)

    def cuGraphLaunch(self, graph: CUgraphExec, stream: CUstream) -> tuple[CUresult]:  # noqa: N802
        def work() -> None:
            driver = self._machine.driver
            found = driver.stream("cuGraphLaunch", int(self._of(CUstream, stream)))
            driver.launch("cuGraphLaunch", self._graph("cuGraphLaunch", self._of(CUgraphExec, graph)), found)

        return (self._call("cuGraphLaunch", work)[0],)

    def cuGraphDestroy(self, graph: CUgraph) -> tuple[CUresult]:  # noqa: N802
        return self._destroy("cuGraphDestroy", self._of(CUgraph, graph))

    def cuGraphExecDestroy(self, graph: CUgraphExec) -> tuple[CUresult]:  # noqa: N802
        return self._destroy("cuGraphExecDestroy", self._of(CUgraphExec, graph))

    def _destroy(self, name: str, graph: _Handle) -> tuple[CUresult]:
        # After an error of the device it is gone with it.
        return (self._call(name, lambda: self._machine.driver.destroy(name, self._graph(name, graph)), last=True)[0],)

    def _of(self, kind: type[_Handle], value: Any) -> Any:
        if type(value) is not kind:
            raise self._machine.misuse(f"expected a {kind.__name__}, got {value!r}")
        return value

    def _graph(self, call: str, handle: _Handle) -> Graph:
        for one in self._machine.driver.things:
            if isinstance(one, Graph) and one.handle == int(handle):
                if not one.alive:
                    raise self._machine.misuse(f"{call}: {one.what} was destroyed")
                return one
        raise self._machine.misuse(f"{call}: no graph has the handle {int(handle):#x}")

    def _call(self, name: str, work: Callable[[], Any], *, last: bool = False, **arguments: Any) -> tuple[Any, Any]:
        driver = self._machine.driver
        self._machine.called("cuda", name, **arguments)
        driver.current(name)
        fault = self._machine.faults.take_cuda(name)
        if fault is not None:
            if fault.sticky:
                driver.lose(fault.text)
            if last:
                work()
            return _STATUS[fault.kind], None
        if driver.lost:
            if last or name == "cuStreamEndCapture":
                work()
            return CUresult.CUDA_ERROR_LAUNCH_FAILED, None
        return CUresult.CUDA_SUCCESS, work()


def make_cuda_bindings(machine: "Machine") -> ModuleType:
    """The module for one machine."""
    module: Any = ModuleType("cuda.bindings.driver")
    functions = _Functions(machine)
    public = {name: getattr(functions, name) for name in dir(functions) if name.startswith("cu")}
    kinds = (CUresult, CUstreamCaptureMode, CUstream, CUgraph, CUgraphExec)
    vars(module).update(public | {kind.__name__: kind for kind in kinds})
    return module
