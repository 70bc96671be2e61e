"""Memory that host and GPU exchange tensors through, and memory of the GPU alone.

Knows where bytes lie and when they are copied. Does not know what they mean. Everything here is used and freed with
the GPU's context current (`Gpu.current`), and nothing is freed while work on it is enqueued.

An integrated GPU reads and writes pinned host memory in place: no copy, and no second buffer. A discrete one has
pinned memory on the host's side and its own; copies are enqueued on the stream, so they wait for nobody.
"""

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from diffad_runtime.cuda.gpu import Gpu


class Exchange(Protocol):
    """A tensor that both sides see.

    Attributes:
        host: pinned array; written before `upload`, read after `download` and a synchronised stream. Never handed out.
        address: where the GPU finds it.
    """

    host: npt.NDArray[Any]
    address: int

    def upload(self, stream: Any) -> None:
        """Enqueue what makes the host's bytes visible to the GPU."""

    def download(self, stream: Any) -> None:
        """Enqueue what makes the GPU's bytes visible to the host."""

    def free(self) -> None:
        """Free both sides. Once."""


class Mapped:
    """Pinned host memory that the GPU works on in place."""

    def __init__(self, gpu: Gpu, shape: tuple[int, ...], dtype: npt.DTypeLike) -> None:
        cuda = gpu.cuda
        self.host = cuda.pagelocked_empty(shape, dtype, mem_flags=cuda.host_alloc_flags.DEVICEMAP)
        try:
            self.address = int(self.host.base.get_device_pointer())
        except cuda.Error:
            self.free()
            raise

    def upload(self, stream: Any) -> None:
        """Nothing: a kernel that is launched later sees what was written before."""

    def download(self, stream: Any) -> None:
        """Nothing: a synchronised stream has written all."""

    def free(self) -> None:
        pinned = self.host.base
        self.host = np.empty(0)
        pinned.free()


class Staged:
    """Pinned host memory, and as much on the GPU, with enqueued copies between."""

    def __init__(self, gpu: Gpu, shape: tuple[int, ...], dtype: npt.DTypeLike) -> None:
        self._cuda = gpu.cuda
        self.host = gpu.cuda.pagelocked_empty(shape, dtype)
        try:
            self._device = gpu.cuda.mem_alloc(self.host.nbytes)
        except gpu.cuda.Error:
            self.host.base.free()
            raise
        self.address = int(self._device)

    def upload(self, stream: Any) -> None:
        self._cuda.memcpy_htod_async(self._device, self.host, stream)

    def download(self, stream: Any) -> None:
        self._cuda.memcpy_dtoh_async(self.host, self._device, stream)

    def free(self) -> None:
        pinned = self.host.base
        self.host = np.empty(0)
        pinned.free()
        self._device.free()


def exchange(gpu: Gpu, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Exchange:
    """Memory for one tensor that goes in or comes out, of the kind that this GPU is best at."""
    mapped = gpu.facts.integrated and gpu.facts.maps_host_memory
    return Mapped(gpu, shape, dtype) if mapped else Staged(gpu, shape, dtype)
