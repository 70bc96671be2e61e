"""Capture and launch of CUDA graphs, with no other package than cuda-bindings."""

import ctypes
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from diffad_runtime.cuda.recorded import NotRecordedError, Recording

pytestmark = pytest.mark.gpu

BYTES = 4096


class Side:
    """A stream, pinned memory and as much on the GPU, all by the driver's own functions."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver
        self.stream = self("cuStreamCreate", 0)
        pinned = self("cuMemHostAlloc", BYTES, 0)
        self._pinned = pinned
        self.host = np.frombuffer((ctypes.c_uint8 * BYTES).from_address(pinned), np.uint8)
        self.device = self("cuMemAlloc", BYTES)

    def __call__(self, name: str, *arguments: Any) -> Any:
        status, *values = getattr(self.driver, name)(*arguments)
        assert status == self.driver.CUresult.CUDA_SUCCESS, f"{name} gave {status.name}"
        return values[0] if values else None

    @property
    def handle(self) -> int:
        return int(self.stream)

    def work(self) -> None:
        """The host's bytes to the GPU, the first 100 of them overwritten, and back."""
        self("cuMemcpyHtoDAsync", self.device, self.host.ctypes.data, BYTES, self.stream)
        self("cuMemsetD8Async", self.device, 7, 100, self.stream)
        self("cuMemcpyDtoHAsync", self.host.ctypes.data, self.device, BYTES, self.stream)

    def check(self, run: Callable[[], None], value: int) -> None:
        self.host[...] = value
        run()
        self("cuStreamSynchronize", self.stream)
        assert (self.host[:100] == 7).all()
        assert (self.host[100:] == value).all()

    def close(self) -> None:
        self("cuStreamSynchronize", self.stream)
        self("cuMemFree", self.device)
        self("cuMemFreeHost", self._pinned)
        self("cuStreamDestroy", self.stream)


@pytest.fixture
def side(driver: Any) -> Iterator[Side]:
    _, context = driver.cuDevicePrimaryCtxRetain(0)
    driver.cuCtxPushCurrent(context)
    made = Side(driver)
    yield made
    made.close()
    driver.cuCtxPopCurrent()
    driver.cuDevicePrimaryCtxRelease(0)


def test_what_was_recorded_runs_on_what_lies_there(side: Side) -> None:
    side.check(side.work, 1)
    side.host[...] = 99
    recording = Recording(side.work, side.handle)
    side("cuStreamSynchronize", side.stream)
    assert (side.host == 99).all(), "capturing ran the work"
    for value in (3, 4, 5):
        side.check(recording.launch, value)
    side.host[...] = 6
    for _ in range(50):
        recording.launch()
    side("cuStreamSynchronize", side.stream)
    recording.close()
    recording.close()
    side.check(side.work, 8)


def test_two_recordings_on_one_stream(side: Side) -> None:
    first = Recording(lambda: side("cuMemsetD8Async", side.device, 1, BYTES, side.stream), side.handle)
    second = Recording(
        lambda: side("cuMemcpyDtoHAsync", side.host.ctypes.data, side.device, BYTES, side.stream), side.handle
    )
    side.host[...] = 0
    first.launch()
    second.launch()
    side("cuStreamSynchronize", side.stream)
    assert (side.host == 1).all()
    first.close()
    second.close()


def test_what_cannot_be_recorded_leaves_the_stream_as_it_was(side: Side) -> None:
    def waits() -> None:
        side.work()
        status = side.driver.cuStreamSynchronize(side.stream)[0]
        assert status != side.driver.CUresult.CUDA_SUCCESS

    for _ in range(3):
        with pytest.raises(NotRecordedError, match="cuStreamEndCapture gave CUDA_ERROR_STREAM_CAPTURE"):
            Recording(waits, side.handle)
        side.check(side.work, 2)
    Recording(side.work, side.handle).close()


def test_an_error_while_recording_comes_out(side: Side) -> None:
    def broken() -> None:
        side.work()
        raise KeyError("enqueue")

    with pytest.raises(KeyError, match="enqueue"):
        Recording(broken, side.handle)
    side.check(side.work, 2)
    recording = Recording(side.work, side.handle)
    side.check(recording.launch, 3)
    recording.close()


@pytest.mark.usefixtures("side")  # its context is current
def test_the_default_stream_is_refused() -> None:
    with pytest.raises(NotRecordedError, match="cuStreamBeginCapture gave"):
        Recording(lambda: None, 0)


def test_other_threads_work_on_while_one_records(side: Side) -> None:
    _, context = side.driver.cuCtxGetCurrent()
    allocated: list[int] = []

    def elsewhere() -> None:
        side("cuCtxPushCurrent", context)
        memory = side("cuMemAlloc", BYTES)
        allocated.append(int(memory))
        side("cuMemFree", memory)
        side("cuCtxPopCurrent")

    def enqueue() -> None:
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join(10)
        side.work()

    recording = Recording(enqueue, side.handle)
    assert len(allocated) == 1
    side.check(recording.launch, 9)
    recording.close()
