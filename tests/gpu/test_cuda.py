"""Contexts, memory and events on a GPU, through pycuda alone."""

import re
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from diffad_runtime.cuda.buffers import Exchange, Mapped, Staged, exchange
from diffad_runtime.cuda.gpu import Gpu, open_gpu

pytestmark = pytest.mark.gpu

MIB = 1 << 20


@pytest.fixture(params=[Mapped, Staged])
def kind(gpu: Gpu, request: pytest.FixtureRequest) -> Callable[..., Exchange]:
    """Both kinds of memory work on every GPU that maps host memory, whichever `exchange` would take."""
    if request.param is Mapped and not gpu.facts.maps_host_memory:
        pytest.skip("this GPU cannot map host memory")
    chosen: Callable[..., Exchange] = request.param
    return chosen


def on_threads(count: int, work: Callable[[], None]) -> None:
    """Run it on several threads at once; what one raises is raised here."""
    raised: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=guarded) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if raised:
        raise raised[0]


def test_facts(gpu: Gpu) -> None:
    facts = gpu.facts
    assert facts.name
    assert re.fullmatch(r"\d+\.\d", facts.compute_capability)
    assert re.fullmatch(r"\d+\.\d", facts.cuda)
    assert facts.multiprocessors > 0
    assert facts.total_bytes >= 256 * MIB
    assert open_gpu() is gpu


def test_current_is_nested_and_ends(gpu: Gpu) -> None:
    current = gpu.cuda.Context.get_current
    for _ in range(3):
        with gpu.current():
            first = current()
            with gpu.current():
                assert current() == first
            assert current() == first
        assert current() is None
    with pytest.raises(KeyError), gpu.current(), gpu.current():
        raise KeyError
    assert current() is None


def test_current_on_threads_at_once(gpu: Gpu) -> None:
    together = threading.Barrier(4)

    def work() -> None:
        for _ in range(20):
            with gpu.current():
                together.wait(10)
                assert gpu.cuda.Context.get_current() is not None
                together.wait(10)
            assert gpu.cuda.Context.get_current() is None

    on_threads(4, work)


def test_the_driver_agrees_that_nothing_is_current(gpu: Gpu, driver: Any) -> None:
    seen: list[int] = []

    def look() -> None:
        seen.append(int(driver.cuCtxGetCurrent()[1]))

    def work() -> None:
        look()
        with gpu.current():
            look()
        look()

    on_threads(1, work)
    assert [bool(context) for context in seen] == [False, True, False]


def test_free_memory(gpu: Gpu) -> None:
    with gpu.current():
        free = gpu.free_bytes()
        assert free > 0
        if not gpu.facts.integrated:
            assert free <= gpu.facts.total_bytes
            held = gpu.cuda.mem_alloc(64 * MIB)
            assert gpu.free_bytes() <= free - 32 * MIB
            held.free()


def test_there_and_back_with_a_change_between(gpu: Gpu, kind: Callable[..., Exchange]) -> None:
    shape = (1, 7, 5, 3)
    with gpu.current():
        stream, tensor = gpu.cuda.Stream(), kind(gpu, shape, "uint8")
        assert (tensor.host.shape, tensor.host.dtype) == (shape, np.uint8)
        assert tensor.host.flags.c_contiguous
        for round_ in range(5):
            sent = np.random.default_rng(round_).integers(0, 256, shape, np.uint8)
            tensor.host[...] = sent
            tensor.upload(stream)
            gpu.cuda.memset_d8_async(tensor.address + 10, 200 + round_, 20, stream)
            tensor.download(stream)
            stream.synchronize()
            sent.reshape(-1)[10:30] = 200 + round_
            np.testing.assert_array_equal(tensor.host, sent)
        tensor.free()
        del stream


def test_floats_and_a_hand_over_on_the_gpu(gpu: Gpu, kind: Callable[..., Exchange]) -> None:
    with gpu.current():
        stream, came, went = gpu.cuda.Stream(), kind(gpu, (1, 64, 64), "float32"), kind(gpu, (1, 64, 64), np.float32)
        between = gpu.cuda.mem_alloc(came.host.nbytes)
        came.host[...] = np.random.default_rng(0).normal(size=came.host.shape)
        came.upload(stream)
        gpu.cuda.memcpy_dtod_async(int(between), came.address, came.host.nbytes, stream)
        gpu.cuda.memset_d32_async(int(between), 0x3FC00000, 64, stream)  # 1.5
        gpu.cuda.memcpy_dtod_async(went.address, int(between), came.host.nbytes, stream)
        went.download(stream)
        stream.synchronize()
        assert (went.host[0, 0] == 1.5).all()
        np.testing.assert_array_equal(went.host[0, 1:], came.host[0, 1:])
        for memory in (came, went, between):
            memory.free()
        del stream


def test_the_kind_that_suits_the_gpu(gpu: Gpu) -> None:
    with gpu.current():
        tensor = exchange(gpu, (1, 8), "float32")
        assert isinstance(tensor, Mapped if gpu.facts.integrated and gpu.facts.maps_host_memory else Staged)
        tensor.free()


def test_used_and_freed_on_other_threads(gpu: Gpu, kind: Callable[..., Exchange]) -> None:
    with gpu.current():
        streams, tensor = [gpu.cuda.Stream()], kind(gpu, (1, 1000), "uint8")

    def work(number: int) -> None:
        with gpu.current():
            stream = streams[0]
            tensor.host[...] = 0
            tensor.upload(stream)
            gpu.cuda.memset_d8_async(tensor.address, number, 1000, stream)
            tensor.download(stream)
            stream.synchronize()
            assert (tensor.host == number).all()
            del stream
            if number == 3:
                tensor.free()
                streams.clear()

    for number in range(4):
        on_threads(1, partial(work, number))


def test_memory_comes_back(gpu: Gpu, kind: Callable[..., Exchange]) -> None:
    with gpu.current():
        kind(gpu, (8 * MIB,), "uint8").free()  # the first one makes the driver allocate for itself
        before, _ = gpu.cuda.mem_get_info()
        for _ in range(100):
            tensor = kind(gpu, (8 * MIB,), "uint8")
            tensor.host[::4096] = 1
            tensor.free()
        after, _ = gpu.cuda.mem_get_info()
    # On a board that shares its memory, whatever else runs takes and gives as well.
    assert before - after < (400 * MIB if gpu.facts.integrated else 32 * MIB)


def test_no_memory_is_an_error_of_ours(gpu: Gpu) -> None:
    with gpu.current():
        with pytest.raises(gpu.cuda.Error) as caught:
            gpu.cuda.mem_alloc(1 << 50)
        error = gpu.failed("prepare the engines", caught.value)
        assert "memory" in error.what or "error 2" in error.what
        tensor = exchange(gpu, (1, 8), "float32")
        tensor.free()


def test_events_tell_the_time(gpu: Gpu) -> None:
    with gpu.current():
        stream, memory = gpu.cuda.Stream(), gpu.cuda.mem_alloc(32 * MIB)
        first, second, third = (gpu.cuda.Event() for _ in range(3))
        start = time.perf_counter()
        first.record(stream)
        for value in range(20):
            gpu.cuda.memset_d8_async(int(memory), value, 32 * MIB, stream)
        second.record(stream)
        gpu.cuda.memset_d8_async(int(memory), 0, 4096, stream)
        third.record(stream)
        stream.synchronize()
        wall = 1e3 * (time.perf_counter() - start)
        long, short = float(second.time_since(first)), float(third.time_since(second))
        assert 0 <= short < long <= wall
        assert float(third.time_since(first)) == pytest.approx(long + short, abs=0.01)
        memory.free()
        del stream, first, second, third
