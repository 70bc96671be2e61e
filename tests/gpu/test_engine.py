"""The TensorRT backend's engine on a GPU, around networks that copy bytes: all of it but TensorRT."""

import gc
import sys
import threading
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from copying import SIZE, expected, frame, open_copying

from diffad_runtime.cuda.gpu import Gpu
from diffad_runtime.engines.tensorrt import TensorRtEngine
from diffad_runtime.errors import EngineError

pytestmark = pytest.mark.gpu


@pytest.fixture(params=["recorded", "plain"])
def engine(gpu: Gpu, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[TensorRtEngine]:
    if request.param == "recorded":
        request.getfixturevalue("driver")
    else:
        monkeypatch.setitem(sys.modules, "cuda.bindings.driver", None)
    made, _ = open_copying(gpu)
    assert made.recorded == (request.param == "recorded")
    with made:
        yield made


def free(gpu: Gpu) -> int:
    with gpu.current():
        return int(gpu.cuda.mem_get_info()[0])


def check(engine: TensorRtEngine, number: int) -> None:
    maps = engine.infer(frame(number))
    anomaly, feature = expected(frame(number))
    np.testing.assert_array_equal(maps.anomaly, anomaly)
    np.testing.assert_array_equal(maps.feature, feature)


def test_each_frame_gives_its_own_maps(engine: TensorRtEngine) -> None:
    for number in range(50):
        check(engine, number)


def test_maps_belong_to_the_caller(engine: TensorRtEngine) -> None:
    first = engine.infer(frame(0))
    kept = first.anomaly.copy()
    check(engine, 1)
    np.testing.assert_array_equal(first.anomaly, kept)


def test_times_of_the_stages(engine: TensorRtEngine) -> None:
    for number in range(20):
        start = time.perf_counter()
        maps = engine.infer(frame(number))
        wall = 1e3 * (time.perf_counter() - start)
        assert maps.extract_ms >= 0
        assert maps.reconstruct_ms >= 0
        assert maps.extract_ms + maps.reconstruct_ms < wall


def test_threads_at_once(engine: TensorRtEngine) -> None:
    raised: list[BaseException] = []

    def work(first: int) -> None:
        try:
            for number in range(first, first + 30):
                check(engine, number)
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=work, args=(100 * one,)) for one in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not raised


def test_two_engines_in_turn(gpu: Gpu, engine: TensorRtEngine) -> None:
    second, _ = open_copying(gpu)
    with second:
        for number in range(10):
            check(engine, number)
            check(second, number + 1)
    check(engine, 0)


def test_closed_twice_and_on_another_thread(gpu: Gpu) -> None:
    open_copying(gpu)[0].close()  # the first one makes the driver allocate for itself
    before = free(gpu)
    engine, networks = open_copying(gpu)
    check(engine, 0)
    thread = threading.Thread(target=engine.close)
    thread.start()
    thread.join()
    engine.close()
    assert [network.closed for network in networks] == [1, 1]
    if not gpu.facts.integrated:
        assert free(gpu) == before
    with pytest.raises(EngineError, match="closed"):
        engine.infer(frame(0))


def test_one_that_nobody_closes(gpu: Gpu) -> None:
    engine, networks = open_copying(gpu)
    check(engine, 0)
    del engine
    gc.collect()
    assert [network.closed for network in networks] == [1, 1]


def test_an_error_while_running_and_after_it(gpu: Gpu) -> None:
    engine, networks = open_copying(gpu)
    with engine:
        if not engine.recorded:
            networks[1].fails = True
            with pytest.raises(EngineError, match="does not run"):
                engine.infer(frame(0))
            networks[1].fails = False
        check(engine, 1)


def test_one_that_cannot_be_made_holds_nothing(gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    open_copying(gpu)[0].close()
    before = free(gpu)

    def broken(*_: Any) -> None:
        raise EngineError("it does not run", mend="Nothing")

    monkeypatch.setattr("copying.Copying.enqueue", broken)
    for _ in range(5):
        with pytest.raises(EngineError, match="does not run"):
            open_copying(gpu)
    if not gpu.facts.integrated:
        assert free(gpu) == before


def test_recorded_where_cuda_bindings_is_there(gpu: Gpu) -> None:
    notes: list[str] = []
    engine, _ = open_copying(gpu, notes.append)
    engine.close()
    there = find_spec("cuda") is not None and find_spec("cuda.bindings") is not None
    assert bool(notes) != there, notes


def test_memory_does_not_grow(engine: TensorRtEngine, gpu: Gpu) -> None:
    image = np.zeros((SIZE, SIZE, 3), np.uint8)
    for _ in range(200):
        engine.infer(image)
    before, resident = free(gpu), resident_bytes()
    for _ in range(2000):
        engine.infer(image)
    assert resident_bytes() - resident < 8 << 20
    if not gpu.facts.integrated:
        assert before - free(gpu) < 8 << 20


def resident_bytes() -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))
