"""What is kept of a run, how much of it, and that nothing is encoded unless somebody looks."""

import threading
from collections.abc import Callable

import cv2
import numpy as np
import pytest

from diffad_runtime import Frame, Verdict
from diffad_runtime.preview import Settings
from diffad_runtime.preview.sink import PreviewSink
from diffad_runtime.result import Image, Result

Judge = Callable[..., tuple[Frame, Result]]


def good(height: int = 48, width: int = 64) -> Image:
    return np.full((height, width, 3), 128, np.uint8)


def bad(height: int = 48, width: int = 64) -> Image:
    image = good(height, width)
    image[height // 4 : height // 2, width // 2 : width * 3 // 4] = 0
    return image


def test_the_newest_and_what_came_before(judge: Judge) -> None:
    times = iter(range(100))
    sink = PreviewSink(Settings(results=10, rejects=2), clock=lambda: next(times))
    assert (sink.number, sink.newest(), sink.marks(), sink.latencies()) == (0, None, [], [])
    shown = [judge(bad() if number % 4 == 0 else good()) for number in range(16)]
    for frame, result in shown:
        sink.write(frame, result)
    number, frame, result = sink.newest() or (0, None, None)
    assert number == sink.number == 16
    assert frame is shown[-1][0]
    assert result is shown[-1][1]
    assert [mark.verdict for mark in sink.marks()] == [result.verdict for _, result in shown[-10:]]
    assert [mark.at for mark in sink.marks()] == list(range(6, 16))
    assert sink.latencies() == [result.latency_ms for _, result in shown[-10:]]
    assert [(one.number, one.result.verdict) for one in sink.rejects.newest_first()] == [
        (13, Verdict.NG),
        (9, Verdict.NG),
    ]


def test_rejects_are_small_and_hold_no_array_of_the_run(judge: Judge) -> None:
    sink = PreviewSink(Settings())
    frame, result = judge(bad(1080, 1920))
    sink.write(frame, result)
    (kept,) = sink.rejects.newest_first()
    assert kept.layers.picture is not None
    assert kept.layers.picture.shape == (360, 640, 3)
    assert kept.result.mask.size == kept.result.anomaly_map.size == 0
    assert not np.shares_memory(kept.layers.picture, frame.image)
    assert len(kept.layers.outlines) == 1


def test_nothing_is_encoded_until_somebody_looks_and_then_once(judge: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    encode = cv2.imencode

    def counted(kind: str, *rest: object) -> object:
        calls.append(kind)
        return encode(kind, *rest)  # type: ignore[call-overload]

    monkeypatch.setattr(cv2, "imencode", counted)
    sink = PreviewSink(Settings())
    for image in (good(), bad()):
        sink.write(*judge(image))
    assert calls == []
    first = sink.rejects.encoded(2)
    assert first is not None
    assert sink.rejects.encoded(2) is first
    assert calls == [".jpg", ".png"]
    assert (sink.rejects.encoded(1), sink.rejects.encoded(3)) == (None, None)


def test_whoever_waits_is_told_once(judge: Judge) -> None:
    sink = PreviewSink(Settings())
    told: list[int] = []
    sink.call_once(lambda: told.append(sink.number))
    sink.write(*judge(good()))
    sink.write(*judge(good()))
    assert told == [1]
    sink.call_once(lambda: told.append(-1))
    sink.close()
    sink.close()
    assert told == [1, -1]
    assert sink.ended


def test_it_is_read_while_it_is_written(judge: Judge) -> None:
    sink = PreviewSink(Settings(results=50, rejects=3))
    pairs = [judge(good()), judge(bad())]
    stop, wrong = threading.Event(), []

    def read() -> None:
        while not stop.is_set():
            try:
                sink.marks()
                sink.latencies()
                for one in sink.rejects.newest_first():
                    sink.rejects.encoded(one.number)
            except RuntimeError as error:  # a deque that changes under whoever goes through it
                wrong.append(error)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for turn in range(400):
        sink.write(*pairs[turn % 2])
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert sink.number == 400
    assert len(sink.marks()) == 50
