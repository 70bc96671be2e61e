"""What the engine does where the driver fails: only against the simulated driver, which fails when it is told to."""

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from conftest import SIMULATED
from copying import expected, frame, open_copying

from diffad_runtime.cuda.buffers import Staged
from diffad_runtime.cuda.gpu import Gpu
from diffad_runtime.errors import EngineError

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.usefixtures("driver"),
    pytest.mark.skipif(not SIMULATED, reason="the driver is no simulated one: see test_simulated.py"),
]

MAKING = [
    "cuStreamCreate",
    "cuEventCreate",
    "cuMemAlloc_v2",
    "cuMemHostAlloc",
    "cuMemHostGetDevicePointer_v2",
    "cuMemcpyHtoDAsync_v2",
    "cuMemcpyDtoDAsync_v2",
    "cuStreamSynchronize",
]
RECORDING = ["cuStreamBeginCapture_v2", "cuStreamEndCapture", "cuGraphInstantiateWithFlags"]
RUNNING = ["cuEventRecord", "cuGraphLaunch", "cuStreamSynchronize", "cuEventElapsedTime_v2"]


@contextmanager
def failing(monkeypatch: pytest.MonkeyPatch, function: str, code: int = 2) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("SIM_CUDA_FAIL", f"{function}={code}")
        yield


def left() -> str:
    """What is allocated now, as in "0 device, 0 pinned, ..."."""
    text = ctypes.create_string_buffer(256)
    ctypes.CDLL("libcuda.so.1").describe_left(text, ctypes.c_size_t(256))
    return text.value.decode()


def used_by(gpu: Gpu, function: str) -> bool:
    """Mapped memory has no copies, staged memory no address for the GPU."""
    return function != ("cuMemcpyHtoDAsync_v2" if gpu.facts.integrated else "cuMemHostGetDevicePointer_v2")


@pytest.mark.parametrize("function", MAKING)
def test_one_that_cannot_be_made(gpu: Gpu, function: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if not used_by(gpu, function):
        pytest.skip("this kind of memory does not need it")
    before = left()
    # Whoever opens an engine makes CUDA's errors EngineError; what the stand-in for TensorRT raises is one already.
    with failing(monkeypatch, function), pytest.raises((gpu.cuda.Error, EngineError)):
        open_copying(gpu)
    assert left() == before
    open_copying(gpu)[0].close()
    assert left() == before


@pytest.mark.parametrize("function", RECORDING)
def test_one_that_cannot_be_recorded_runs_all_the_same(
    gpu: Gpu, function: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, notes = left(), list[str]()
    with failing(monkeypatch, function, 1):
        engine, _ = open_copying(gpu, notes.append)
    assert not engine.recorded
    assert len(notes) == 1
    assert f"{function.partition('_')[0].replace('WithFlags', '')} gave" in notes[0]
    with engine:
        for number in range(3):
            assert (engine.infer(frame(number)).anomaly == expected(frame(number))[0]).all()
    assert left() == before


def test_a_graph_that_is_not_taken_back_is_no_reason_to_run_without(gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    with failing(monkeypatch, "cuGraphDestroy", 1):
        engine, _ = open_copying(gpu)
    with engine:
        assert engine.recorded
        assert (engine.infer(frame(0)).anomaly == expected(frame(0))[0]).all()


@pytest.mark.parametrize("function", RUNNING)
def test_an_error_while_it_runs(gpu: Gpu, function: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = left()
    engine, _ = open_copying(gpu)
    with engine:
        with failing(monkeypatch, function), pytest.raises(EngineError, match=r"the GPU failed to (run|launch)"):
            engine.infer(frame(0))
        assert (engine.infer(frame(1)).anomaly == expected(frame(1))[0]).all()
    assert left() == before


def test_pinned_memory_is_given_back_where_the_gpu_has_none(gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    before = left()
    with gpu.current(), failing(monkeypatch, "cuMemAlloc_v2"), pytest.raises(gpu.cuda.MemoryError):
        Staged(gpu, (1, 8), "uint8")
    assert left() == before


def test_no_context_can_be_pushed(gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, _ = open_copying(gpu)
    with failing(monkeypatch, "cuCtxPushCurrent_v2", 201), pytest.raises(gpu.cuda.Error), gpu.current():
        pass
    with failing(monkeypatch, "cuCtxPushCurrent_v2", 201), pytest.raises(EngineError, match="the GPU failed to run"):
        engine.infer(frame(0))
    assert (engine.infer(frame(1)).anomaly == expected(frame(1))[0]).all()
    engine.close()


def test_after_an_error_that_ends_all_work_close_still_returns(gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last test: from here on the simulated driver refuses everything, as a real one does."""
    engine, networks = open_copying(gpu)
    with failing(monkeypatch, "cuStreamSynchronize", 700), pytest.raises(EngineError, match="the GPU failed to run"):
        engine.infer(frame(0))
    with pytest.raises(EngineError, match="the GPU failed to run"):
        engine.infer(frame(0))
    thread = threading.Thread(target=engine.close)
    thread.start()
    thread.join(10)
    assert [network.closed for network in networks] == [1, 1]
    with pytest.raises(gpu.cuda.Error):
        open_copying(gpu)
