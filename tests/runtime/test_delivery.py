"""Sinks that fail, hang, are slow or want to end the process: none of it reaches another sink or the line."""

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import Callable
from datetime import datetime, timezone

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffad_runtime.delivery import DEPTH, Delivery
from diffad_runtime.result import Frame, Result, Verdict
from diffad_runtime.sinks import CallbackSink, Sink

WHEN = datetime(2026, 11, 27, tzinfo=timezone.utc)


def _frame(number: int) -> Frame:
    return Frame(np.full((4, 4, 3), number % 256, np.uint8), number, 0.0, WHEN)


def _result(frame: Frame) -> Result:
    mask, anomaly = np.zeros((4, 4), np.uint8), np.zeros((2, 2), np.float32)
    return Result(frame.frame_id, WHEN, 0.0, Verdict.OK, mask, anomaly, {}, "", "", "", 1.0, 1.0)


def _put(delivery: Delivery, numbers: range) -> None:
    for number in numbers:
        frame = _frame(number)
        delivery.put(frame, _result(frame))


class Keeps(Sink):
    """Keeps frame ids; `each` is called with the id first."""

    def __init__(self, each: Callable[[int], object] = lambda _: None, name: str = "keeps") -> None:
        self.name, self.each = name, each
        self.ids: list[int] = []
        self.closed = 0

    def write(self, frame: Frame, result: Result) -> None:
        assert frame.frame_id == result.frame_id
        self.each(frame.frame_id)
        self.ids.append(frame.frame_id)

    def close(self) -> None:
        self.closed += 1


def _sink_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("sink: ")]


def _raise(error: BaseException) -> Callable[[int], object]:
    def each(_: int) -> None:
        raise error

    return each


plans = st.lists(st.sampled_from(["ok", "slow", "fails", "exits"]), min_size=1, max_size=30)


@settings(max_examples=30, deadline=None)
@given(st.lists(plans, min_size=1, max_size=4), st.integers(1, 40), st.integers(1, 4))
def test_every_good_sink_gets_every_result_in_order(kinds: list[list[str]], length: int, depth: int) -> None:
    """Where nothing may be lost, whatever the others do, and what a sink failed on is exactly what it lacks."""

    def follow(kinds: list[str]) -> Callable[[int], object]:
        def each(number: int) -> None:
            kind = kinds[number % len(kinds)]
            if kind == "slow":
                time.sleep(0.001)
            elif kind == "fails":
                raise OSError("no")
            elif kind == "exits":
                raise SystemExit(3)

        return each

    good, others = Keeps(), [Keeps(follow(plan)) for plan in kinds]
    delivery = Delivery([*others, good], wait=True, depth=depth)
    _put(delivery, range(length))
    delivery.close()
    assert good.ids == list(range(length))
    for sink, plan, status in zip(others, kinds, delivery.status(), strict=False):
        assert sink.ids == [n for n in range(length) if plan[n % len(plan)] in {"ok", "slow"}]
        assert (status.written, status.faults) == (len(sink.ids), length - len(sink.ids))
        assert (status.dropped, status.waiting, sink.closed) == (0, 0, 1)
    assert not _sink_threads()


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 60), st.integers(1, 8), st.floats(0, 0.002))
def test_live_nothing_waits_and_every_result_is_accounted_for(length: int, depth: int, pause: float) -> None:
    slow = Keeps(lambda _: time.sleep(pause))
    delivery = Delivery([slow], wait=False, depth=depth)
    _put(delivery, range(length))
    delivery.close()
    (status,) = delivery.status()
    assert status.written + status.dropped == length
    assert slow.ids == sorted(set(slow.ids))
    assert slow.ids[:depth] == list(range(min(depth, length)))


def test_a_hanging_sink_holds_nobody_up_in_a_live_run() -> None:
    let_go = threading.Event()
    stuck, good = Keeps(lambda _: let_go.wait(), "stuck"), Keeps()
    delivery = Delivery([stuck, good], wait=False, hang_s=0.05)
    start = time.monotonic()
    for number in range(100):
        _put(delivery, range(number, number + 1))
        while len(good.ids) <= number and time.monotonic() - start < 5:
            time.sleep(0.0001)
    assert good.ids == list(range(100))
    time.sleep(0.06)
    first, second = delivery.status()
    assert (first.healthy, first.waiting, first.dropped, first.written) == (False, DEPTH, 100 - DEPTH - 1, 0)
    assert "busy with one result for more than 0.05 s" in first.first_error
    assert second.healthy
    delivery.close(0.1)
    assert time.monotonic() - start < 6
    (fault,) = delivery.faults
    assert (fault.sink, fault.count, fault.dropped) == ("stuck", DEPTH + 1, 100 - DEPTH - 1)
    before = time.monotonic()
    delivery.close()
    assert time.monotonic() - before < 0.05  # left behind once, not waited for again
    assert delivery.faults == [fault]
    let_go.set()


def test_a_hanging_sink_holds_files_up_only_for_its_limit() -> None:
    let_go = threading.Event()
    stuck, good = Keeps(lambda number: number == 3 and let_go.wait()), Keeps()
    delivery = Delivery([stuck, good], wait=True, depth=2, hang_s=0.2)
    start = time.monotonic()
    _put(delivery, range(200))
    assert 0.2 <= time.monotonic() - start < 2
    let_go.set()
    delivery.close()
    assert good.ids == list(range(200))
    (status, _) = delivery.status()
    assert (status.written, status.faults, status.dropped) == (len(stuck.ids), 200 - len(stuck.ids), 0)
    assert stuck.ids[:4] == [0, 1, 2, 3]
    assert status.faults >= 100


def test_a_failing_sink_is_left_alone_for_longer_and_longer_and_heals() -> None:
    broken = True
    tried: list[int] = []

    def each(number: int) -> None:
        tried.append(number)
        if broken:
            raise OSError("disk\nfull")

    sink = Keeps(each)
    delivery = Delivery([sink], wait=False)
    end = time.monotonic() + 1.0
    number = 0
    while time.monotonic() < end:
        _put(delivery, range(number, number + 1))
        number += 1
        time.sleep(0.002)
    assert 3 <= len(tried) <= 8  # at 0, 0, 0.1, 0.3, 0.7 s
    assert tried[:2] == [0, 1]
    (status,) = delivery.status()
    assert (status.healthy, status.first_error, status.last_error) == (False, "disk full", "disk full")
    broken = False
    while not delivery.status()[0].healthy and time.monotonic() < end + 5:
        _put(delivery, range(number, number + 1))
        number += 1
        time.sleep(0.002)
    delivery.close()
    (status,) = delivery.status()
    assert status.healthy
    assert status.written == len(sink.ids) > 0
    assert status.written + status.faults + status.dropped == number


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt(), GeneratorExit(), asyncio.CancelledError("x")])
def test_whatever_a_sink_raises_it_gets_the_next_result(error: BaseException) -> None:
    sink = Keeps(_raise(error))
    delivery = Delivery([sink], wait=True)
    _put(delivery, range(3))
    delivery.close()
    (fault,) = delivery.faults
    assert fault.count == 3
    assert fault.first_error.startswith(type(error).__name__)
    assert sink.closed == 1


def test_close_drains_then_gives_up_then_closes() -> None:
    slow = Keeps(lambda _: time.sleep(0.15))
    delivery = Delivery([slow], wait=False)
    _put(delivery, range(6))
    start = time.monotonic()
    delivery.close(0.4)
    assert time.monotonic() - start < 0.7
    (status,) = delivery.status()
    assert slow.closed == 1
    assert status.written + status.faults == 6
    assert status.written in {2, 3}
    assert "results to write when the run ended" in status.first_error


def test_close_from_everywhere_and_in_every_state() -> None:
    empty = Delivery([], wait=True)
    _put(empty, range(3))
    empty.close()
    holder: list[Delivery] = []
    inside = CallbackSink(lambda *_: holder[0].close())
    holder.append(Delivery([inside, Keeps()], wait=True))
    _put(holder[0], range(1))
    closers = [threading.Thread(target=holder[0].close) for _ in range(4)]
    for thread in closers:
        thread.start()
    for thread in closers:
        thread.join(3)
        assert not thread.is_alive()
    _put(holder[0], range(5))
    assert [status.dropped for status in holder[0].status()] == [5, 5]
    assert not _sink_threads()


def test_close_wakes_whoever_waits_for_room() -> None:
    let_go = threading.Event()
    delivery = Delivery([Keeps(lambda _: let_go.wait())], wait=True, depth=1)
    thread = threading.Thread(target=_put, args=(delivery, range(5)))
    thread.start()
    time.sleep(0.05)
    delivery.close(0.1)
    thread.join(1)
    assert not thread.is_alive()
    let_go.set()


def test_an_idle_sink_keeps_no_picture_alive() -> None:
    delivery = Delivery([Keeps(), Keeps(lambda number: 1 // number)], wait=True)
    frame = _frame(0)
    image = weakref.ref(frame.image)
    delivery.put(frame, _result(frame))
    while any(status.written + status.faults == 0 for status in delivery.status()):
        time.sleep(0.001)
    time.sleep(0.01)
    del frame
    gc.collect()
    assert image() is None
    delivery.close()
