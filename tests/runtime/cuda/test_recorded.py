"""Recorded work: what is launched is what was recorded, and a recording that fails leaves the stream as it was."""

import gc
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import import_module
from typing import Any

import numpy as np
import pytest
from cudasim import Machine

from diffad_runtime.cuda.buffers import Staged
from diffad_runtime.cuda.gpu import Gpu, open_gpu
from diffad_runtime.cuda.recorded import NotRecordedError, Recording


@pytest.fixture
def machine() -> Iterator[Machine]:
    made = Machine(integrated=False)
    with made.installed():
        yield made
        gc.collect()
        assert made.misuses == []
        # The test's own stream is kept by pytest.
        assert [what for what in made.driver.left_in() if not what.startswith("stream ")] == []


@pytest.fixture
def gpu(machine: Machine) -> Iterator[Gpu]:
    opened = open_gpu()
    with opened.current():
        yield opened
    assert not machine.driver.thread().stack


@pytest.fixture
def stream(gpu: Gpu) -> Any:
    return gpu.cuda.Stream()


@pytest.fixture
def tensor(gpu: Gpu) -> Iterator[Staged]:
    made = Staged(gpu, (8,), "float32")
    yield made
    made.free()


def on_gpu(machine: Machine, tensor: Staged) -> Any:
    return machine.driver.bytes_at("here", tensor.address, 32)[0].data.view(np.float32)


def test_a_launch_does_what_was_recorded_again_and_again(machine: Machine, stream: Any, tensor: Staged) -> None:
    recording = Recording(lambda: tensor.upload(stream), stream.handle)
    assert np.isnan(on_gpu(machine, tensor)).all()  # recording does nothing yet
    for value in (1, 2, 3):
        tensor.host[...] = value
        recording.launch()
        stream.synchronize()
        np.testing.assert_array_equal(on_gpu(machine, tensor), value)
    assert machine.count("memcpy_htod_async") == 1
    assert machine.count("cuGraphLaunch") == 3
    assert machine.count("cuGraphDestroy") == 1
    recording.close()


def test_other_threads_may_use_cuda_meanwhile(machine: Machine, stream: Any, tensor: Staged) -> None:
    modes: list[str] = []

    def enqueue() -> None:
        modes.extend(capture.mode for capture in machine.driver.captures())
        tensor.upload(stream)

    Recording(enqueue, stream.handle).close()
    assert modes == ["THREAD_LOCAL"]


def test_close_twice_is_harmless(machine: Machine, stream: Any, tensor: Staged) -> None:
    recording = Recording(lambda: tensor.upload(stream), stream.handle)
    recording.close()
    recording.close()
    assert machine.count("cuGraphExecDestroy") == 1


def check_usable(machine: Machine, stream: Any, tensor: Staged) -> None:
    """Plainly, and for a recording."""
    assert machine.driver.captures() == []
    tensor.host[...] = 5
    tensor.upload(stream)
    stream.synchronize()
    np.testing.assert_array_equal(on_gpu(machine, tensor), 5)
    Recording(lambda: tensor.upload(stream), stream.handle).close()


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
@pytest.mark.parametrize("enqueued", [True, False])
def test_whatever_enqueue_raises_comes_out_and_the_stream_can_be_used(
    machine: Machine, stream: Any, tensor: Staged, error: type[BaseException], enqueued: bool
) -> None:
    def enqueue() -> None:
        if enqueued:
            tensor.upload(stream)
        raise error

    with pytest.raises(error):
        Recording(enqueue, stream.handle)
    assert not [what for what in machine.driver.left_in() if "graph" in what]
    check_usable(machine, stream, tensor)


def faults(machine: Machine) -> dict[str, Callable[[], None]]:
    made = {
        name: lambda name=name: machine.faults.cuda_error_on(name, "RuntimeError")  # type: ignore[misc]
        for name in ("cuStreamBeginCapture", "cuGraphInstantiate")
    }
    return made | {"cuStreamEndCapture": lambda: machine.faults.capture_fails(1)}


@pytest.mark.parametrize("name", ["cuStreamBeginCapture", "cuStreamEndCapture", "cuGraphInstantiate"])
def test_what_cuda_refuses_is_named_and_leaves_no_graph(
    machine: Machine, stream: Any, tensor: Staged, name: str
) -> None:
    faults(machine)[name]()
    with pytest.raises(NotRecordedError, match=f"^{name} gave CUDA_ERROR_"):
        Recording(lambda: tensor.upload(stream), stream.handle)
    machine.faults.clear()
    assert not [what for what in machine.driver.left_in() if "graph" in what]
    check_usable(machine, stream, tensor)


def test_a_graph_that_cannot_be_destroyed_takes_no_other_with_it(machine: Machine, stream: Any, tensor: Staged) -> None:
    """The recording is made or not; what was instantiated does not stay."""
    machine.faults.cuda_error_on("cuGraphDestroy", "RuntimeError")
    with suppress(NotRecordedError):
        Recording(lambda: tensor.upload(stream), stream.handle).close()
    assert not [what for what in machine.driver.left_in() if "graph" in what]
    check_usable(machine, stream, tensor)


def test_a_launch_that_cuda_refuses(machine: Machine, stream: Any, tensor: Staged) -> None:
    recording = Recording(lambda: tensor.upload(stream), stream.handle)
    machine.faults.cuda_error_on("cuGraphLaunch", "MemoryError")
    with pytest.raises(NotRecordedError, match=r"^cuGraphLaunch gave CUDA_ERROR_OUT_OF_MEMORY$"):
        recording.launch()
    recording.launch()
    stream.synchronize()
    recording.close()


def test_a_close_that_cuda_refuses_is_not_tried_again(machine: Machine, stream: Any, tensor: Staged) -> None:
    recording = Recording(lambda: tensor.upload(stream), stream.handle)
    machine.faults.cuda_error_on("cuGraphExecDestroy")
    with pytest.raises(NotRecordedError, match="cuGraphExecDestroy gave CUDA_ERROR_LAUNCH_FAILED"):
        recording.close()
    recording.close()


@pytest.mark.parametrize("there", [True, False])
def test_a_machine_that_cannot(there: bool) -> None:
    machine = Machine(graphs=False)
    with machine.installed(bindings=there):
        with open_gpu().current():
            stream = import_module("pycuda.driver").Stream()
            why = "cuStreamBeginCapture gave CUDA_ERROR_NOT_SUPPORTED" if there else "cuda-bindings is not installed"
            with pytest.raises(NotRecordedError, match=why):
                Recording(lambda: pytest.fail("nothing may be enqueued"), stream.handle)
            del stream
        machine.assert_clean()
