"""The triggered station: one verdict for each trigger, in time, whatever fails."""

import asyncio
import random
import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future

import numpy as np
import pytest

from diffad_runtime.engines.fake import FakeEngine
from diffad_runtime.errors import InputError, SourceError
from diffad_runtime.inspector import Inspector
from diffad_runtime.manifest import ImageScore
from diffad_runtime.result import Frame, Image, Result, SourceState, Verdict
from diffad_runtime.rules import DecisionRules
from diffad_runtime.sinks.base import Sink
from diffad_runtime.sources.base import Shot, Source
from diffad_runtime.station import Station

RULES = DecisionRules(0.5, 0.5, ImageScore(pixels=1))
GREY = np.full((16, 16, 3), 128, np.uint8)  # OK for the fake engine
BLACK = np.zeros((16, 16, 3), np.uint8)  # NG
BROKEN = np.full((16, 16, 3), 7, np.uint8)  # the engine fails on it


class Camera(Source):
    """Gives the shots that a test pushes, at once."""

    def __init__(self) -> None:
        super().__init__("camera://test", live=True, fps_hint=None)
        self._shots: deque[Shot | Exception | None] = deque()
        self._pushed = threading.Condition()

    def push(self, what: Image | Shot | Exception | None) -> None:
        with self._pushed:
            self._shots.append(Shot(what) if isinstance(what, np.ndarray) else what)
            self._pushed.notify()

    def _grab(self) -> Shot | None:
        with self._pushed:
            while not (self._shots or self._closing.is_set()):
                self._pushed.wait(0.01)
            shot = self._shots.popleft() if self._shots else None
        if isinstance(shot, Exception):
            raise shot
        return shot

    def _release(self) -> None:
        with self._pushed:
            self._pushed.notify()


class Recorder(Sink):
    def __init__(self) -> None:
        self.name = "recorder"
        self.results: list[tuple[Frame, Result]] = []

    def write(self, frame: Frame, result: Result) -> None:
        self.results.append((frame, result))

    def close(self) -> None:
        pass


class Slow(FakeEngine):
    def __init__(self, seconds: float) -> None:
        super().__init__(16, fails=lambda image: bool((image == 7).all()))
        self.seconds = seconds

    def _extract(self, image: Image):  # type: ignore[no-untyped-def]
        time.sleep(self.seconds)
        return super()._extract(image)


def _inspector(seconds: float = 0.0) -> Inspector:
    return Inspector(Slow(seconds), RULES)


@pytest.fixture
def camera() -> Camera:
    return Camera()


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    end = time.monotonic() + 3
    while (left := set(threading.enumerate()) - before) and time.monotonic() < end:
        time.sleep(0.01)
    assert not left


def _wait_for(camera: Camera, frames: int) -> None:
    while (camera.status().frames) < frames:
        time.sleep(0.001)


@pytest.mark.parametrize(("image", "verdict"), [(GREY, "OK"), (BLACK, "NG"), (BROKEN, "ERROR")])
def test_a_verdict_for_a_trigger(camera: Camera, image: Image, verdict: str) -> None:
    sink, told = Recorder(), []
    with Station(_inspector(), camera, [sink], on_verdict=told.append) as station:
        camera.push(BLACK)  # before the trigger: another part's
        _wait_for(camera, 1)
        future = station.submit("part 7", 2000)
        camera.push(image)
        result = future.result(2)
        assert (result.verdict.value, result.part_id, result.frame_id) == (verdict, "part 7", 1)
        assert result.t_trigger is not None
        assert result.t_trigger <= result.t_capture
        assert 0 <= result.latency_ms["trigger"] < 2000
        snapshot = station.monitor.snapshot()
        assert snapshot.verdicts[verdict] == 1 == sum(snapshot.verdicts.values())
        assert (snapshot.pending, snapshot.triggered) == (0, True)
        assert sum(snapshot.stages["trigger"].counts) == 1
    assert [result for _, result in sink.results] == [result] == told
    assert sink.results[0][0].image.shape == (16, 16, 3)


def test_no_picture_is_an_error_before_the_deadline(camera: Camera) -> None:
    sink = Recorder()
    with Station(_inspector(), camera, [sink]) as station:
        start = time.monotonic()
        result = station.trigger("a", 100)
        assert time.monotonic() - start < 0.1
        assert (result.verdict, result.frame_id) == (Verdict.ERROR, -1)
        assert "no picture came within" in result.error
        camera.push(GREY)  # too late: nobody's
        _wait_for(camera, 1)
        assert station.monitor.snapshot().verdicts == {"OK": 0, "NG": 0, "ERROR": 1}
    assert [(frame.image.size, result.part_id) for frame, result in sink.results] == [(0, "a")]


def test_a_slow_judgement_is_an_error_and_counted_as_late(camera: Camera) -> None:
    with Station(_inspector(0.2), camera) as station:
        future = station.submit("a", 100)
        camera.push(GREY)
        start = time.monotonic()
        result = future.result(1)
        assert time.monotonic() - start < 0.1
        assert result.verdict is Verdict.ERROR
        assert "judgement was not ready" in result.error
        time.sleep(0.25)
        snapshot = station.monitor.snapshot()
        assert (snapshot.late, snapshot.verdicts["ERROR"], snapshot.verdicts["OK"]) == (1, 1, 0)


def test_a_missed_part_is_an_error_and_its_neighbour_keeps_its_picture(camera: Camera) -> None:
    with Station(_inspector(), camera) as station:
        first, second = station.submit("a", 5000), station.submit("b", 5000)
        camera.push(BLACK)
        assert (second.result(1).verdict, second.result().frame_id) == (Verdict.NG, 0)
        assert "before the next part's trigger" in first.result(1).error


def test_a_frozen_picture_and_one_of_another_size_judge_nothing(camera: Camera) -> None:
    with Station(_inspector(), camera) as station:
        futures = []
        for shot in (
            Shot(GREY),
            Shot(GREY, state=SourceState.STALLED),
            Shot(np.full((8, 16, 3), 128, np.uint8)),
            Shot(GREY),
        ):
            futures.append(station.submit("part", 2000))
            camera.push(shot)
            futures[-1].result(2)
            if len(futures) == 3:
                assert "gives 16 x 8, at the start it gave 16 x 16" in station.monitor.snapshot().setup_faults[0]
        assert [future.result().verdict.value for future in futures] == ["OK", "ERROR", "ERROR", "OK"]
        assert "frozen" in futures[1].result().error
        assert "gives 16 x 8, expected 16 x 16" in futures[2].result().error
        assert station.monitor.snapshot().setup_faults == ()


def test_a_trigger_after_its_picture(camera: Camera) -> None:
    with Station(_inspector(), camera, late_trigger_ms=500) as station:
        camera.push(BLACK)
        _wait_for(camera, 1)
        time.sleep(0.05)
        assert station.trigger("a", 1000).verdict is Verdict.NG
        camera.push(GREY)
        _wait_for(camera, 2)
        time.sleep(0.05)
        assert station.trigger("b", 1000).verdict is Verdict.OK


def test_a_camera_that_stamps_late(camera: Camera) -> None:
    with Station(_inspector(), camera, camera_delay_ms=300) as station:
        future = station.submit("a", 150)
        camera.push(GREY)  # exposed before the trigger
        assert future.result(1).verdict is Verdict.ERROR


def test_the_end_of_the_source_is_told_at_once(camera: Camera) -> None:
    with Station(_inspector(), camera) as station:
        waiting = station.submit("a", 60_000)
        camera.push(SourceError("the cable was pulled", mend="Plug it in"))
        assert "cable was pulled" in waiting.result(1).error
        assert "cable was pulled" in station.trigger("b", 60_000).error
        assert "cable" in station.problems[0]


def test_close_gives_every_part_its_error(camera: Camera) -> None:
    station = Station(_inspector(0.05), camera)
    waiting = station.submit("a", 60_000)
    camera.push(GREY)
    time.sleep(0.02)
    later = station.submit("b", 60_000)
    start = time.monotonic()
    station.close()
    station.close()
    assert time.monotonic() - start < 2
    for future in (waiting, later, station.submit("c", 1000)):
        assert "closed" in future.result(0).error


@pytest.mark.parametrize("deadline", [0, -1, float("nan"), float("inf"), 1e9])
def test_a_deadline_must_be_one(camera: Camera, deadline: float) -> None:
    with Station(_inspector(), camera) as station, pytest.raises(InputError, match="deadline_ms"):
        station.submit("a", deadline)


def test_a_recipe_that_is_not_there_is_an_error(camera: Camera) -> None:
    with Station(_inspector(), camera) as station:
        future = station.submit("a", 1000, recipe="gears")
        camera.push(GREY)
        assert "gears" in future.result(1).error


def test_what_on_verdict_raises_stays_there(camera: Camera) -> None:
    def fail(_: Result) -> None:
        raise ZeroDivisionError

    with Station(_inspector(), camera, on_verdict=fail) as station:
        future = station.submit("a", 1000)
        camera.push(GREY)
        assert future.result(1).verdict is Verdict.OK
        _wait_until(lambda: bool(station.problems))
        assert "ZeroDivisionError" in station.problems[0]


def test_asyncio(camera: Camera) -> None:
    async def line(station: Station) -> list[str]:
        asked = [asyncio.ensure_future(station.trigger_async(f"part {n}", 1000)) for n in range(3)]
        await asyncio.sleep(0.02)
        asked[0].cancel()
        camera.push(GREY)
        answers = await asyncio.gather(*asked, return_exceptions=True)
        return [answer.verdict.value if isinstance(answer, Result) else type(answer).__name__ for answer in answers]

    with Station(_inspector(), camera) as station:
        assert asyncio.run(line(station)) == ["CancelledError", "ERROR", "OK"]
        assert station.monitor.snapshot().verdicts == {"OK": 1, "NG": 0, "ERROR": 2}


@pytest.mark.parametrize("seed", range(4))
def test_any_interleaving_gives_each_trigger_one_verdict(seed: int) -> None:
    """Triggers from three threads, frames, silences, failures of engine and sink, and a close, at random moments."""
    random_ = random.Random(seed)
    camera, sink = Camera(), Recorder()

    class Crashing(Sink):
        name = "crashing"

        def write(self, frame: Frame, result: Result) -> None:  # noqa: ARG002
            raise OSError("disk full")

        def close(self) -> None:
            raise OSError("still full")

    told: dict[str, int] = {}
    lock = threading.Lock()

    def count(result: Result) -> None:
        with lock:
            told[result.part_id] = told.get(result.part_id, 0) + 1

    station = Station(_inspector(0.002), camera, [Crashing(), sink], on_verdict=count)
    futures: dict[str, tuple[Future[Result], float]] = {}
    pictures = {}

    def triggers(name: int, rng: random.Random) -> None:
        for number in range(60):
            part, deadline = f"{name}-{number}", rng.choice([20, 50, 200])
            futures[part] = (station.submit(part, deadline), deadline)
            time.sleep(rng.expovariate(1 / 0.006))

    threads = [threading.Thread(target=triggers, args=(n, random.Random(random_.random()))) for n in range(3)]
    for thread in threads:
        thread.start()
    number = 0
    close_at = time.monotonic() + random_.uniform(0.25, 0.5)
    while time.monotonic() < close_at:
        image = random_.choice([GREY, BLACK, BROKEN, np.empty((0, 4, 3), np.uint8), np.zeros((16, 16, 3), np.float32)])
        camera.push(Shot(image, state=random_.choice([SourceState.STREAMING] * 5 + [SourceState.STALLED])))  # type: ignore[arg-type]
        pictures[number] = image
        number += 1
        time.sleep(random_.expovariate(1 / 0.004) + (0.05 if random_.random() < 0.05 else 0))
    station.close()
    for thread in threads:
        thread.join()
    results = {part: future.result(0) for part, (future, _) in futures.items()}
    assert len(results) == 180
    assert told == dict.fromkeys(results, 1)
    for part, result in results.items():
        assert result.part_id == part
        if result.verdict is not Verdict.ERROR:
            assert result.latency_ms["trigger"] < futures[part][1]
            assert pictures[result.frame_id] is (GREY if result.verdict is Verdict.OK else BLACK)
    judged = [result.frame_id for result in results.values() if result.verdict is not Verdict.ERROR]
    assert len(judged) == len(set(judged)) > 0
    assert len(sink.results) <= 180


def _wait_until(true: object) -> None:
    end = time.monotonic() + 2
    while not true() and time.monotonic() < end:  # type: ignore[operator]
        time.sleep(0.001)
