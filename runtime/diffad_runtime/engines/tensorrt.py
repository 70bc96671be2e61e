"""The two graphs run by TensorRT on an NVIDIA GPU.

Knows the buffers, the stream, and what is enqueued in which order. Does not know the bundle, the cache or how engines
are built (diffad_runtime/tensorrt).

    host      frame (pinned)                                                 maps (pinned)
                 |                                                               ^
    stream    upload -> [event] extractor [event] reconstructor [event] -> download -> synchronise

What the extractor gives stays on the GPU: its outputs lie where the reconstructor reads its inputs, so nothing is
copied or waited for between the two. On an integrated GPU upload and download are nothing at all. The host's maps are
copied out, so the caller owns what it gets.
"""

import math
import threading
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from diffad_runtime.cuda.buffers import Exchange, exchange
from diffad_runtime.cuda.gpu import Gpu
from diffad_runtime.cuda.recorded import NotRecordedError, Recording
from diffad_runtime.engines.base import Engine, Ran
from diffad_runtime.engines.signature import Nodes, check_signature
from diffad_runtime.errors import EngineError
from diffad_runtime.result import Image
from diffad_runtime.tensorrt.log import Heard, listening
from diffad_runtime.tensorrt.network import Network

_PATIENCE_S = 5.0  # for a frame that is judged while its engine is closed; the longest ones take tens of milliseconds


class TensorRtEngine(Engine):
    """Runs a variant's two engines. Safe to call from several threads: one frame at a time.

    Args:
        trt: the module tensorrt.
        gpu: that the networks were loaded on; its context is current.
        extractor, reconstructor: owned from now on, also where this raises.
        input_size: S.
        variant: its name, for results and messages.
        note: is told a line where it has to do with less than it could.

    Raises:
        EngineError: other inputs and outputs than engines/base.py says, or the engines do not run.
        pycuda.driver.Error: CUDA failed.
    """

    backend = "tensorrt"

    def __init__(
        self,
        trt: Any,
        gpu: Gpu,
        extractor: Network,
        reconstructor: Network,
        *,
        input_size: int,
        variant: str,
        note: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.variant = variant
        self.input_size = input_size
        self._trt = trt
        self._gpu = gpu
        self._lock = threading.Lock()
        self._work: _Work | None = None
        work = _Work(gpu, extractor, reconstructor)
        # Also where nobody calls close(): TensorRT must not be freed at exit, when its context is gone.
        self._closing = weakref.finalize(self, _close, self._lock, work)
        try:
            check_signature(
                (extractor.inputs, extractor.outputs),
                (reconstructor.inputs, reconstructor.outputs),
                input_size=input_size,
                variant=variant,
            )
            with listening(trt) as heard:
                work.prepare(heard)
                if reason := work.record(heard):
                    note(f"kernels are launched one by one, not as a CUDA graph: {reason}")
        except BaseException:
            self._closing()
            raise
        self._work = work

    @property
    def recorded(self) -> bool:
        """Whether the work is launched as CUDA graphs."""
        return self._work is not None and self._work.recorded

    def close(self) -> None:
        self._closing()

    def _infer(self, image: Image) -> Ran:
        with self._lock:
            if self._work is None or self._work.closed:
                raise EngineError("the engine is closed", mend="Open the bundle again")
            with listening(self._trt) as heard:
                try:
                    with self._gpu.current():
                        return self._work.run(image, heard)
                except self._gpu.cuda.Error as error:
                    fault = self._gpu.failed(f"run variant {self.variant!r}", error, heard.last())
                except NotRecordedError as error:
                    fault = self._gpu.failed(f"launch variant {self.variant!r}", error, heard.last())
                except EngineError as error:
                    fault = EngineError(error.what, mend=error.mend)
            # Raised out here it holds on to no frame of the work: whoever keeps it keeps nothing on the GPU.
            try:
                raise fault
            finally:
                del fault  # it holds on to this frame, and this frame must not to it


class _Work:
    """All that is held on the GPU, and what is enqueued on it."""

    def __init__(self, gpu: Gpu, extractor: Network, reconstructor: Network) -> None:
        self._gpu = gpu
        self._networks = (extractor, reconstructor)
        self._frame: Exchange | None = None
        self._maps: dict[str, Exchange] = {}
        self._between: list[Any] = []
        self._stream: Any = None
        self._events: list[Any] = []
        self._recordings: list[Recording] = []
        self.closed = False

    @property
    def recorded(self) -> bool:
        return bool(self._recordings)

    def prepare(self, heard: Heard) -> None:
        """Allocate, bind, and run once on a black frame: TensorRT loads kernels when they are first used."""
        cuda, (extractor, reconstructor) = self._gpu.cuda, self._networks
        self._stream = cuda.Stream()
        self._events = [cuda.Event() for _ in range(3)]
        self._frame = frame = self._exchanged("image", extractor.inputs)
        between = {}
        for name, (kind, shape) in extractor.outputs.items():
            self._between.append(cuda.mem_alloc(_bytes(kind, shape)))
            between[name] = int(self._between[-1])
        for name in reconstructor.outputs:
            self._maps[name] = self._exchanged(name, reconstructor.outputs)
        extractor.bind({"image": frame.address} | between)
        reconstructor.bind(between | {name: tensor.address for name, tensor in self._maps.items()})
        frame.host[...] = 0
        frame.upload(self._stream)
        for network in self._networks:
            network.enqueue(self._stream.handle, heard)
        self._stream.synchronize()

    def record(self, heard: Heard) -> str:
        """Record each graph, so that both are launched whole; why not, where that cannot be done."""
        for network in self._networks:

            def enqueue(network: Network = network) -> None:
                network.enqueue(self._stream.handle, heard)

            try:
                self._recordings.append(Recording(enqueue, self._stream.handle))
            except (NotRecordedError, EngineError) as error:
                self._drop_recordings()
                return str(error)
        return ""

    def run(self, image: Image, heard: Heard) -> Ran:
        frame, stream = self._frame, self._stream
        assert frame is not None  # prepared
        before, between, after = self._events
        frame.host[...] = image
        frame.upload(stream)
        before.record(stream)
        self._launch(0, heard)
        between.record(stream)
        self._launch(1, heard)
        after.record(stream)
        for tensor in self._maps.values():
            tensor.download(stream)
        stream.synchronize()
        return Ran(
            maps={name: tensor.host.copy() for name, tensor in self._maps.items()},
            extract_ms=float(between.time_since(before)),
            reconstruct_ms=float(after.time_since(between)),
        )

    def close(self) -> None:
        """Free all: what was recorded, TensorRT's objects, then the memory they worked on, then the stream."""
        self.closed = True
        with suppress(self._gpu.cuda.Error), self._gpu.current():
            # After an error CUDA refuses all further calls; each is tried all the same.
            with suppress(self._gpu.cuda.Error):
                if self._stream is not None:
                    self._stream.synchronize()
            self._drop_recordings()
            for network in reversed(self._networks):
                network.close()
            held = [*self._maps.values(), *self._between, *([self._frame] if self._frame else [])]
            self._maps, self._between, self._frame = {}, [], None
            for memory in held:
                with suppress(self._gpu.cuda.Error):
                    memory.free()
            self._events, self._stream = [], None

    def _launch(self, index: int, heard: Heard) -> None:
        if self._recordings:
            self._recordings[index].launch()
        else:
            self._networks[index].enqueue(self._stream.handle, heard)

    def _drop_recordings(self) -> None:
        while self._recordings:
            with suppress(NotRecordedError):
                self._recordings.pop().close()

    def _exchanged(self, name: str, nodes: Nodes) -> Exchange:
        kind, shape = nodes[name]
        return exchange(self._gpu, tuple(int(side) for side in shape), kind)


def _close(lock: threading.Lock, work: _Work) -> None:
    """Wait for the frame that another thread may be at: at exit daemon threads still run.

    A frame that does not end is left with what it works on: freed under it, the process would crash.
    """
    if lock.acquire(timeout=_PATIENCE_S):
        try:
            work.close()
        finally:
            lock.release()
    else:
        work.closed = True


def _bytes(kind: str, shape: Sequence[int | str]) -> int:
    return math.prod(int(side) for side in shape) * np.dtype(kind).itemsize
