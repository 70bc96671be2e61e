"""The streaming run: what is dropped and what never, broken sinks, broken sources, and every way to end."""

import _thread
import signal
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

from diffad_runtime import DecisionRules, FakeEngine, Frame, Inspector, Result, Verdict, run_stream
from diffad_runtime.errors import EngineError, SourceError
from diffad_runtime.feed import Feed
from diffad_runtime.manifest import ImageScore
from diffad_runtime.monitor import Monitor
from diffad_runtime.result import Image, SourceState
from diffad_runtime.sinks import Sink
from diffad_runtime.sources import Shot, Source

RULES = DecisionRules(pixel_threshold=0.5, image_threshold=0.6, image_score=ImageScore(pixels=9))


def _image(number: int) -> Image:
    return np.full((16, 16, 3), 128 if number % 3 else 0, np.uint8)


class Film(Source):
    """`length` frames; every third one, from the first, is black and so anomalous."""

    def __init__(
        self, length: int, *, live: bool = False, pause: float = 0.0, fails_at: int | None = None, hang: bool = False
    ) -> None:
        super().__init__("test://film", live=live, fps_hint=None)
        self.length, self.pause, self.fails_at, self.hang = length, pause, fails_at, hang
        self.grabbed = self.released = 0
        self.let_go = threading.Event()

    def _grab(self) -> Shot | None:
        if self.grabbed == self.fails_at:
            raise SourceError("the cable was pulled", mend="Plug it in")
        if self.grabbed == self.length:
            if self.hang:
                self.let_go.wait()
            return None
        if self.pause and self._closing.wait(self.pause):
            return None
        self.grabbed += 1
        return Shot(_image(self.grabbed - 1), name=f"{self.grabbed - 1}.png")

    def _release(self) -> None:
        self.released += 1


class Recorder(Sink):
    """Keeps frame ids; may be slow, and may raise on some frames."""

    name = "recorder"

    def __init__(self, *, pause: float = 0.0, raises: Callable[[int], bool] = lambda _: False) -> None:
        self.ids: list[int] = []
        self.closed = 0
        self.pause, self.raises = pause, raises

    def write(self, frame: Frame, result: Result) -> None:
        assert frame.frame_id == result.frame_id
        time.sleep(self.pause)
        if self.raises(frame.frame_id):
            raise OSError("disk\nfull")
        self.ids.append(frame.frame_id)

    def close(self) -> None:
        self.closed += 1


def _inspector(**options: object) -> Inspector:
    return Inspector(FakeEngine(16, **options), RULES)  # type: ignore[arg-type]


def _threads() -> set[str]:
    return {thread.name for thread in threading.enumerate()} & {"capture", "sinks", "close source"}


def test_a_film_is_judged_whole_and_in_order_even_when_sinks_are_slow() -> None:
    film, fast, slow = Film(30), Recorder(), Recorder(pause=0.003)
    seen: list[int] = []
    summary = run_stream(_inspector(), film, [fast, slow], on_result=lambda result: seen.append(result.frame_id))
    assert fast.ids == slow.ids == seen == list(range(30))
    assert (summary.frames, summary.ng, summary.errors, summary.dropped) == (30, 10, 0, 0)
    assert summary.frames_per_second == pytest.approx(30 / summary.seconds)
    assert list(summary.stages) == ["resize", "extract", "reconstruct", "mask", "total"]
    assert summary.latency_ms == summary.stages["total"]
    assert (summary.sink_faults, summary.problems, summary.interrupted) == ([], [], False)
    assert film.released
    assert (fast.closed, slow.closed) == (1, 1)
    assert not _threads()


def test_a_film_is_never_read_far_ahead() -> None:
    film = Film(1000)
    feed = Feed(film)
    next(feed)
    time.sleep(0.05)
    assert film.grabbed <= 5
    feed.close()
    assert list(feed) == []


def test_newest_wins_on_a_live_source_and_drops_are_counted() -> None:
    film, sink = Film(60, live=True, pause=0.001), Recorder()
    summary = run_stream(_inspector(), film, [sink], on_result=lambda _: time.sleep(0.01))
    assert sink.ids == sorted(set(sink.ids))
    assert sink.ids[-1] == 59
    assert summary.frames == len(sink.ids) < 30
    assert summary.frames + summary.dropped == 60


def test_live_frames_are_fresh() -> None:
    """After a long judgement the next frame is one from its end, not from its beginning."""
    feed = Feed(Film(10_000, live=True, pause=0.002))
    next(feed)
    time.sleep(0.5)
    assert time.monotonic() - next(feed).t_monotonic < 0.25
    feed.close()


def test_a_failing_frame_is_an_error_not_the_end() -> None:
    sink = Recorder()
    summary = run_stream(_inspector(fails=lambda image: image.max() == 0), Film(9), [sink])
    assert (summary.frames, summary.ng, summary.errors) == (9, 0, 3)
    assert sink.ids == list(range(9))


def test_a_broken_sink_is_isolated_and_reported() -> None:
    broken, good = Recorder(raises=lambda number: number % 2 == 1), Recorder()
    summary = run_stream(_inspector(), Film(10), [broken, good])
    assert summary.frames == 10
    assert good.ids == list(range(10))
    assert broken.ids == [0, 2, 4, 6, 8]
    (fault,) = summary.sink_faults
    assert (fault.sink, fault.count, fault.first_error) == ("recorder", 5, "disk full")


def test_a_sink_that_cannot_be_closed_is_reported() -> None:
    class Stubborn(Recorder):
        def close(self) -> None:
            raise OSError

    last = Recorder()
    summary = run_stream(_inspector(), Film(1), [Stubborn(), last])
    assert [fault.first_error for fault in summary.sink_faults] == ["OSError"]
    assert last.closed == 1


def test_a_broken_source_surfaces_after_its_frames_were_delivered() -> None:
    film, sink = Film(10, fails_at=5), Recorder(pause=0.005)
    with pytest.raises(SourceError, match="the cable was pulled"):
        run_stream(_inspector(), film, [sink])
    assert sink.ids == [0, 1, 2, 3, 4]
    assert sink.closed == 1
    assert film.released
    assert not _threads()


@pytest.mark.parametrize("live", [True, False])
def test_max_frames(live: bool) -> None:
    sink = Recorder()
    film = Film(100_000, live=live, pause=0.0005 if live else 0)
    assert run_stream(_inspector(), film, [sink], max_frames=7).frames == 7
    assert len(sink.ids) == 7
    assert film.released
    assert run_stream(_inspector(), Film(5), [], max_frames=0).frames == 0


def test_ctrl_c_ends_it_with_a_summary() -> None:
    sink = Recorder()
    film = Film(100_000)

    def interrupt(result: Result) -> None:
        if result.frame_id == 5:
            _thread.interrupt_main()

    summary = run_stream(_inspector(), film, [sink], on_result=interrupt)
    assert summary.interrupted
    assert summary.frames >= 1
    assert len(sink.ids) >= summary.frames - 1
    assert (sink.closed, film.released > 0) == (1, True)
    assert not _threads()


def test_ctrl_c_while_waiting_for_a_camera(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diffad_runtime.feed._PATIENCE_S", 0.05)
    film = Film(1, live=True, hang=True)
    main = threading.main_thread().ident
    assert main is not None
    threading.Timer(0.2, lambda: signal.pthread_kill(main, signal.SIGINT)).start()
    rescue = threading.Timer(5, film.let_go.set)
    rescue.start()
    summary = run_stream(_inspector(), film, [])
    assert not film.let_go.is_set(), "the wait for a frame did not hear Ctrl-C"
    assert (summary.interrupted, summary.frames) == (True, 1)
    rescue.cancel()
    film.let_go.set()


def test_a_camera_that_hangs_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diffad_runtime.feed._PATIENCE_S", 0.05)
    film = Film(1, live=True, hang=True)
    summary = run_stream(_inspector(), film, [], max_frames=1)
    assert summary.frames == 1
    assert any("did not return" in problem for problem in summary.problems)
    film.let_go.set()


def test_a_sink_that_hangs_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diffad_runtime.delivery.FILE_LIMIT_S", 0.05)
    gate = threading.Event()

    class Hanging(Recorder):
        def write(self, frame: Frame, result: Result) -> None:
            gate.wait()
            super().write(frame, result)

    summary = run_stream(_inspector(), Film(3), [Hanging()])
    assert "did not finish" in summary.sink_faults[0].first_error
    gate.set()


@pytest.mark.parametrize("what", ["inspector", "source"])
def test_closing_from_another_thread_ends_it(what: str) -> None:
    inspector, film, sink = _inspector(), Film(100_000, live=True, pause=0.001), Recorder()
    target = inspector if what == "inspector" else film
    threading.Timer(0.15, target.close).start()
    summary = run_stream(inspector, film, [sink])
    assert summary.frames == len(sink.ids) > 0
    assert summary.errors == 0
    assert not _threads()


def test_many_closes_at_once() -> None:
    for _ in range(100):
        film = Film(100_000, live=True, pause=0.001)
        feed = Feed(film)
        next(feed)
        closers = [threading.Thread(target=feed.close) for _ in range(4)]
        for closer in closers:
            closer.start()
        assert len(list(feed)) <= 100_000
        for closer in closers:
            closer.join()
        assert film.released
        assert not feed.stuck
    assert not _threads()


def test_closing_over_a_frame_is_no_error_of_the_part() -> None:
    class Closing(Inspector):
        def judge(self, frame: Frame, part_id: str = "") -> Result:
            if frame.frame_id == 2:
                self.close()
            return super().judge(frame, part_id)

    sink = Recorder()
    summary = run_stream(Closing(FakeEngine(16), RULES), Film(5), [sink], judges=1)
    assert (summary.frames, summary.errors, sink.ids) == (2, 0, [0, 1])


def test_a_callback_that_raises_ends_the_run_cleanly() -> None:
    def fail(_: Result) -> None:
        raise ZeroDivisionError

    film, sink = Film(10), Recorder()
    with pytest.raises(ZeroDivisionError):
        run_stream(_inspector(), film, [sink], on_result=fail)
    assert (sink.closed, film.released > 0) == (1, True)
    assert not _threads()


def test_a_closed_inspector_refuses_and_everything_is_closed() -> None:
    inspector, film, sink = _inspector(), Film(3), Recorder()
    inspector.close()
    with pytest.raises(EngineError, match="closed"):
        run_stream(inspector, film, [sink])
    assert (sink.closed, film.released > 0) == (1, True)


def test_problems_of_the_source_are_passed_on() -> None:
    film = Film(2)
    film.problems.append("b.png is not an image")
    assert run_stream(_inspector(), film, []).problems == ["b.png is not an image"]


def test_verdicts_of_a_film() -> None:
    verdicts: list[Verdict] = []
    run_stream(_inspector(), Film(3), [], on_result=lambda result: verdicts.append(result.verdict))
    assert verdicts == [Verdict.NG, Verdict.OK, Verdict.OK]


def test_results_come_in_order_whoever_is_quicker() -> None:
    """Every third frame takes long; the others overtake it with the second judge and wait for it."""

    class Uneven(Inspector):
        def judge(self, frame: Frame, part_id: str = "", recipe: str | int | None = None) -> Result:
            time.sleep(0.01 if frame.frame_id % 3 == 0 else 0.0)
            return super().judge(frame, part_id, recipe)

    sink, seen = Recorder(), []
    summary = run_stream(
        Uneven(FakeEngine(16), RULES), Film(40), [sink], on_result=lambda result: seen.append(result.frame_id), judges=3
    )
    assert (summary.frames, sink.ids, seen) == (40, list(range(40)), list(range(40)))


def test_two_judges_are_at_work_at_once() -> None:
    both = threading.Barrier(2, timeout=5)

    class Meeting(Inspector):
        def judge(self, frame: Frame, part_id: str = "", recipe: str | int | None = None) -> Result:
            both.wait()
            return super().judge(frame, part_id, recipe)

    assert run_stream(Meeting(FakeEngine(16), RULES), Film(10), []).frames == 10


def test_stop_ends_a_camera_in_good_order() -> None:
    stop, sink, film = threading.Event(), Recorder(), Film(100_000, live=True, pause=0.001)
    threading.Timer(0.2, stop.set).start()
    summary = run_stream(_inspector(), film, [sink], stop=stop)
    assert (summary.stopped, summary.interrupted, summary.errors) == (True, False, 0)
    assert summary.frames == len(sink.ids) > 0
    assert not _threads()


def test_an_engine_that_fails_for_good_ends_the_run() -> None:
    """An error of CUDA that sticks: only a new process helps, so the run must not go on for ever."""
    sink = Recorder()
    with pytest.raises(EngineError, match="failed 100 times in a row"):
        run_stream(_inspector(fails=lambda _: True), Film(1000), [sink])
    assert 95 <= len(sink.ids) <= 100
    assert run_stream(_inspector(fails=lambda image: image.max() < 200), Film(90), []).frames == 90


def test_a_frozen_camera_and_another_size_are_errors() -> None:
    class Ill(Film):
        def _grab(self) -> Shot | None:
            shot = super()._grab()
            if shot is None:
                return None
            if self.grabbed == 3:
                return Shot(shot.image, state=SourceState.STALLED)
            return Shot(shot.image[:8]) if self.grabbed == 5 else shot

    seen: list[Result] = []
    run_stream(_inspector(), Ill(7, live=True, pause=0.02), [], on_result=seen.append)
    errors = {result.frame_id: result.error for result in seen if result.error}
    assert list(errors) == [2, 4]
    assert "frozen" in errors[2]
    assert "expected" in errors[4]


def test_a_monitor_counts_what_the_summary_says() -> None:
    inspector, film = _inspector(fails=lambda image: image.max() == 0), Film(9, pause=0.03)
    ticks: list[int] = []
    monitor = Monitor(inspector, film)
    summary = run_stream(inspector, film, [Recorder()], monitor=monitor, on_tick=lambda: ticks.append(1))
    snapshot = monitor.snapshot()
    assert snapshot.verdicts == {"OK": summary.frames - summary.ng - summary.errors, "NG": summary.ng, "ERROR": 3}
    assert {stage: sum(histogram.counts) for stage, histogram in snapshot.stages.items()} == dict.fromkeys(
        summary.stages, 9
    )
    assert snapshot.stages["total"].total_ms > 0
    assert [status.written for status in snapshot.sinks] == [9]
    assert snapshot.queues == {"capture": 0}
    assert snapshot.source.state is SourceState.ENDED
    assert snapshot.last_verdict is not None
    assert snapshot.started <= snapshot.last_verdict <= snapshot.now
    assert ticks
