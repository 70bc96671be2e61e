"""What depends on threads: contexts, frees, captures; and streams that wait for each other."""

import threading
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import numpy as np
import pytest
from cudasim import Machine, Misuse


@pytest.fixture
def machine() -> Iterator[Machine]:
    machine = Machine(integrated=False)
    with machine.installed():
        yield machine


@pytest.fixture
def cuda(machine: Machine) -> Any:
    driver = import_module("pycuda.driver")
    driver.init()
    assert machine.names() == ["init"]
    return driver


def elsewhere(work: Callable[[], Any]) -> list[BaseException]:
    """Run it on another thread; what it raised."""
    thrown: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            thrown.append(error)

    worker = threading.Thread(target=run, name="other")
    worker.start()
    worker.join()
    return thrown


def current(context: Any, cuda: Any, work: Callable[[], Any]) -> Callable[[], None]:
    def run() -> None:
        context.push()
        work()
        cuda.Context.pop()

    return run


def test_a_context_is_current_on_the_thread_that_pushed_it_alone(machine: Machine, cuda: Any) -> None:
    context = cuda.Device(0).retain_primary_context()
    context.push()
    (thrown,) = elsewhere(lambda: cuda.mem_alloc(4))
    assert "no context is current on thread 'other'" in str(thrown)
    assert elsewhere(current(context, cuda, cuda.mem_get_info)) == []
    assert [(call.thread, call.depth) for call in machine.calls[-4:]] == [
        ("other", 0), ("other", 0), ("other", 1), ("other", 1)
    ]  # fmt: skip
    cuda.Context.pop()


def test_a_thread_that_ends_with_a_context(machine: Machine, cuda: Any) -> None:
    context = cuda.Device(0).retain_primary_context()
    assert elsewhere(context.push) == []
    with pytest.raises(Misuse, match="thread 'other' has 1 contexts pushed"):
        machine.assert_clean()


def test_memory_is_freed_where_its_context_is_current_or_was_made(machine: Machine, cuda: Any) -> None:
    context = cuda.Device(0).retain_primary_context()
    context.push()
    one, two, three = (cuda.mem_alloc(64) for _ in range(3))
    cuda.Context.pop()
    one.free()  # here the context was retained
    assert elsewhere(current(context, cuda, two.free)) == []
    machine.driver.memory.free(machine.driver.memory.every[2])
    machine.assert_clean()
    machine.driver.memory.every[2].alive = True
    (thrown,) = elsewhere(three.free)
    assert "where its context is not current: it leaks" in str(thrown)
    with pytest.raises(Misuse, match=r"it leaks; device memory no. 3 of 64 bytes is left"):
        machine.assert_clean()


@pytest.mark.parametrize("kind", ["Stream", "Event", "mem_alloc", "pagelocked_empty"])
@pytest.mark.parametrize("pushed", [True, False])
def test_destructors_on_another_thread(machine: Machine, cuda: Any, kind: str, pushed: bool) -> None:
    context = cuda.Device(0).retain_primary_context()
    context.push()
    arguments: dict[str, tuple[Any, ...]] = {"mem_alloc": (8,), "pagelocked_empty": ((2, 2), np.float32)}
    held = [getattr(cuda, kind)(*arguments.get(kind, ()))]
    cuda.Context.pop()
    assert elsewhere(current(context, cuda, held.clear) if pushed else held.clear) == []  # destructors cannot raise
    if pushed:
        machine.assert_clean()
    else:
        with pytest.raises(Misuse, match="it leaks"):
            machine.assert_clean()


def test_given_back_on_another_thread(machine: Machine, cuda: Any) -> None:
    context = cuda.Device(0).retain_primary_context()
    (thrown,) = elsewhere(context.detach)
    assert "was retained on another thread" in str(thrown)
    with pytest.raises(Misuse, match="primary context 1 is retained"):
        machine.assert_clean(retained=False)


def test_a_misuse_that_was_swallowed_is_remembered(machine: Machine, cuda: Any) -> None:
    try:
        cuda.mem_alloc(4)
    except cuda.Error:  # it is not one
        pytest.fail("a Misuse must not be one of pycuda's errors")
    except BaseException:  # somebody who catches everything
        pass
    with pytest.raises(Misuse, match="mem_alloc: no context is current"):
        machine.assert_clean()


class Two:
    """Two streams, and a buffer on each side."""

    def __init__(self, cuda: Any) -> None:
        self.context = cuda.Device(0).retain_primary_context()
        self.context.push()
        self.first, self.second = cuda.Stream(), cuda.Stream()
        self.source, self.target = cuda.pagelocked_empty(4, np.uint8), cuda.pagelocked_empty(4, np.uint8)
        self.memory = cuda.mem_alloc(4)
        self.source[:], self.target[:] = (1, 2, 3, 4), 0


@pytest.fixture
def two(machine: Machine, cuda: Any) -> Iterator[Two]:
    yield (made := Two(cuda))
    for stream in machine.driver.streams():
        stream.queue.clear()
        stream.capture = None
    del made.first, made.second
    cuda.Context.pop()


def test_nothing_happens_until_somebody_waits(cuda: Any, two: Two) -> None:
    cuda.memcpy_htod_async(two.memory, two.source, two.first)
    cuda.memcpy_dtoh_async(two.target, two.memory, two.first)
    assert not two.first.is_done()
    assert two.target.tolist() == [0] * 4
    two.first.synchronize()
    assert two.first.is_done()
    assert two.target.tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("waits", [True, False])
def test_streams_are_in_order_only_where_one_waits(cuda: Any, two: Two, waits: bool) -> None:
    event = cuda.Event()
    cuda.memcpy_htod_async(two.memory, two.source, two.first)
    event.record(two.first)
    if waits:
        two.second.wait_for_event(event)
    cuda.memcpy_dtoh_async(two.target, two.memory, two.second)
    two.second.synchronize()
    assert (two.target.tolist() == [1, 2, 3, 4]) == waits
    assert event.query() == waits


def test_an_event_waits_for_what_was_before_it(cuda: Any, two: Two) -> None:
    event = cuda.Event()
    cuda.memcpy_htod_async(two.memory, two.source, two.first)
    cuda.memcpy_dtoh_async(two.target, two.memory, two.first)
    event.record(two.first)
    cuda.memcpy_dtoh_async(two.source, two.memory, two.first)
    event.synchronize()
    assert two.target.tolist() == [1, 2, 3, 4]
    assert not two.first.is_done()
    two.first.synchronize()


def test_a_copy_that_waits_sees_what_all_streams_did(cuda: Any, two: Two) -> None:
    cuda.memcpy_htod_async(two.memory, two.source, two.first)
    plain = np.zeros(4, np.uint8)
    cuda.memcpy_dtoh(plain, two.memory)
    assert plain.tolist() == [1, 2, 3, 4]
    cuda.memcpy_htod(two.memory, plain[::-1].copy())
    cuda.memcpy_dtoh(plain, two.memory)
    assert plain.tolist() == [4, 3, 2, 1]


def test_new_memory_holds_garbage(cuda: Any, two: Two) -> None:
    cuda.memcpy_dtoh_async(two.target, two.memory, two.first)
    two.first.synchronize()
    assert np.isnan(two.target.view(np.float32)).all()


@pytest.mark.parametrize(
    ("mode", "here", "there"), [("GLOBAL", False, False), ("THREAD_LOCAL", False, True), ("RELAXED", True, True)]
)
def test_what_may_be_called_during_a_capture(
    machine: Machine, cuda: Any, two: Two, mode: str, here: bool, there: bool
) -> None:
    driver = import_module("cuda.bindings.driver")
    stream = driver.CUstream(two.first.handle)
    driver.cuStreamBeginCapture(stream, driver.CUstreamCaptureMode[f"CU_STREAM_CAPTURE_MODE_{mode}"])
    assert (elsewhere(current(two.context, cuda, two.second.synchronize)) == []) == there
    if here:
        two.second.synchronize()
    else:
        with pytest.raises(Misuse, match="while a stream is captured"):
            two.second.synchronize()
    ended = elsewhere(current(two.context, cuda, lambda: driver.cuStreamEndCapture(stream)))
    assert (ended == []) == (mode == "RELAXED")
    assert not machine.driver.captures()


def test_an_event_of_a_capture_has_no_time(cuda: Any, two: Two) -> None:
    driver = import_module("cuda.bindings.driver")
    stream, event = driver.CUstream(two.first.handle), cuda.Event()
    driver.cuStreamBeginCapture(stream, driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)
    event.record(two.first)
    _, graph = driver.cuStreamEndCapture(stream)
    driver.cuGraphDestroy(graph)
    with pytest.raises(Misuse, match="was captured, it has no time of its own"):
        event.query()
