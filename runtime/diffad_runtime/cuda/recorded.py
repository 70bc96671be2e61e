"""Work that is recorded once and launched as a whole: CUDA graphs, through cuda-bindings where it is installed.

Knows capture, launch and the order of freeing. Does not know what was recorded.

A network of fifty small kernels spends a good part of its time on launching them one by one; a graph launches all at
once. It is a matter of speed alone: whoever cannot record enqueues as before. pycuda has no function for it, so this
file takes pycuda's stream by its handle.
"""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any


class NotRecordedError(Exception):
    """The work cannot be recorded here. Why is in the message; not an error of the product's tree, it is handled."""


class Recording:
    """A captured and instantiated graph. Used and closed with the GPU's context current; close() twice is harmless.

    Args:
        enqueue: enqueues the work on the stream, and nothing else. It must have run once before, outside a recording:
            what TensorRT allocates at first use must not be allocated while it is recorded. The addresses that it uses
            are recorded with it.
        stream: handle of the stream, not the default one.

    Raises:
        NotRecordedError: cuda-bindings is missing, or CUDA refuses. The stream can be used as before.
        Exception: whatever `enqueue` raised.
    """

    def __init__(self, enqueue: Callable[[], None], stream: int) -> None:
        try:
            self._driver = import_module("cuda.bindings.driver")
        except (ImportError, OSError) as error:
            raise NotRecordedError("the package cuda-bindings is not installed") from error
        self._stream = self._driver.CUstream(stream)
        with _no_collection():
            graph = self._capture(enqueue)
        try:
            (self._ready,) = self._call("cuGraphInstantiate", graph, 0)
        finally:
            # What was instantiated is a copy, and good whatever becomes of this one.
            with suppress(NotRecordedError):
                self._call("cuGraphDestroy", graph)

    def launch(self) -> None:
        """Enqueue all that was recorded, on the stream that it was recorded on.

        Raises:
            NotRecordedError: CUDA refuses.
        """
        self._call("cuGraphLaunch", self._ready, self._stream)

    def close(self) -> None:
        """Free the graph; what was enqueued of it must have ended."""
        ready, self._ready = self._ready, None
        if ready is not None:
            self._call("cuGraphExecDestroy", ready)

    def _capture(self, enqueue: Callable[[], None]) -> Any:
        # Other threads may go on using CUDA while this one records.
        mode = self._driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        self._call("cuStreamBeginCapture", self._stream, mode)
        try:
            enqueue()
        except BaseException:
            # Ended all the same, else the stream stays unusable; what it gave is not worth keeping.
            _, graph = self._driver.cuStreamEndCapture(self._stream)
            if graph is not None and int(graph):
                self._driver.cuGraphDestroy(graph)
            raise
        (graph,) = self._call("cuStreamEndCapture", self._stream)
        return graph

    def _call(self, name: str, *arguments: Any) -> tuple[Any, ...]:
        try:
            status, *values = getattr(self._driver, name)(*arguments)
        except (RuntimeError, AttributeError) as error:
            # cuda-bindings looks for the driver's library, and in it for the function, when it first calls it.
            raise NotRecordedError(f"{name} cannot be called: {' '.join(str(error).split())[:200]}") from error
        if status != self._driver.CUresult.CUDA_SUCCESS:
            raise NotRecordedError(f"{name} gave {getattr(status, 'name', status)}")
        return tuple(values)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Keep the garbage collector out: what it frees of another engine would be freed within the recording."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()
