"""What viewers get: one block, made once for all, no more often than is allowed, and only where somebody asks."""

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest

from diffad_runtime import Frame
from diffad_runtime.preview import About, Settings
from diffad_runtime.preview import views as views_module
from diffad_runtime.preview.sink import PreviewSink
from diffad_runtime.preview.views import Views
from diffad_runtime.result import Result
from diffad_runtime.snapshot import Snapshot

Judge = Callable[..., tuple[Frame, Result]]
Unpack = Callable[[bytes], tuple[dict[str, Any], bytes, bytes]]
GOOD = np.full((48, 64, 3), 128, np.uint8)
BAD = np.where(np.arange(64)[None, :, None] < 20, 0, GOOD).astype(np.uint8)


@pytest.fixture
def sink() -> PreviewSink:
    return PreviewSink(Settings())


def make(sink: PreviewSink, snap: Callable[..., Snapshot], rate: float = 60.0) -> Views:
    return Views(sink, snap, lambda: About("bottle", 3), "page", Settings(rate=rate))


def test_a_view_holds_picture_map_and_words_of_one_part(
    sink: PreviewSink, snap: Callable[..., Snapshot], judge: Judge, unpack: Unpack
) -> None:
    views = make(sink, snap)
    empty, *pictures = unpack(asyncio.run(views.after("")))
    assert (empty["number"], empty["newest"], empty["layers"], pictures) == (0, None, None, [b"", b""])
    assert empty["title"] == "bottle"
    sink.write(*judge(GOOD))
    sink.write(*judge(BAD, "part 7"))
    words, jpeg, png = unpack(asyncio.run(views.after(f"{views.run}.1")))
    assert (words["number"], words["newest"]["verdict"], words["newest"]["part"]) == (2, "NG", "part 7")
    assert words["strip"]["verdicts"] == "ON"
    assert [one["number"] for one in words["rejects"]] == [2]
    assert cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR).shape == (48, 64, 3)
    assert cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED).shape == (32, 32)
    assert words["layers"]["outlines"]
    again, *pictures = unpack(asyncio.run(views.after(f"{views.run}.2")))
    assert (again["number"], again["layers"], pictures) == (2, None, [b"", b""])
    reject, jpeg, png = unpack(views.layers(2) or b"")
    assert reject["layers"]["width"] == 64
    assert jpeg[:2] == b"\xff\xd8"
    assert png[:4] == b"\x89PNG"
    assert views.layers(1) is None


@pytest.mark.parametrize("seen", ["", "x", "other.5", "RUN.-1", "RUN.", "RUN.1e3", "RUN.²", "RUN." + "9" * 40])
def test_whatever_else_was_seen_gives_the_picture_at_once(
    seen: str, sink: PreviewSink, snap: Callable[..., Snapshot], judge: Judge, unpack: Unpack
) -> None:
    views = make(sink, snap)
    sink.write(*judge(GOOD))
    begun = time.monotonic()
    words, jpeg, _ = unpack(asyncio.run(views.after(seen.replace("RUN", views.run))))
    assert words["number"] == 1
    assert jpeg
    assert time.monotonic() - begun < 0.5


def test_whoever_waits_is_woken_by_the_next_part(
    sink: PreviewSink, snap: Callable[..., Snapshot], judge: Judge, unpack: Unpack
) -> None:
    views = make(sink, snap)
    sink.write(*judge(GOOD))

    async def wait() -> tuple[float, bytes]:
        later = threading.Timer(0.2, lambda: sink.write(*judge(BAD)))
        later.start()
        begun = time.monotonic()
        view = await views.after(f"{views.run}.1")
        later.join()
        return time.monotonic() - begun, view

    took, view = asyncio.run(wait())
    assert 0.15 < took < 0.6
    assert unpack(view)[0]["number"] == 2


def test_a_heartbeat_where_nothing_is_new(
    sink: PreviewSink,
    snap: Callable[..., Snapshot],
    judge: Judge,
    unpack: Unpack,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(views_module, "HEARTBEAT_S", 0.2)
    views = make(sink, snap)
    sink.write(*judge(GOOD))
    begun = time.monotonic()
    assert unpack(asyncio.run(views.after(f"{views.run}.1")))[0]["layers"] is None
    assert 0.15 < time.monotonic() - begun < 0.6


def test_whoever_waits_is_let_go_where_it_closes(
    sink: PreviewSink, snap: Callable[..., Snapshot], judge: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views_module, "HEARTBEAT_S", 30.0)
    views = make(sink, snap)
    sink.write(*judge(GOOD))

    async def closed() -> None:
        waiting = asyncio.create_task(views.after(f"{views.run}.1"))
        await asyncio.sleep(0.05)
        views.close()
        await asyncio.wait_for(waiting, 1)
        await asyncio.wait_for(views.after(f"{views.run}.1"), 1)  # nobody waits after that

    asyncio.run(closed())


def test_many_viewers_share_what_is_made_at_a_bounded_rate(
    sink: PreviewSink,
    snap: Callable[..., Snapshot],
    judge: Judge,
    unpack: Unpack,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    encoded = []
    encode = cv2.imencode
    monkeypatch.setattr(cv2, "imencode", lambda kind, *rest: (encoded.append(kind), encode(kind, *rest))[1])
    views = make(sink, snap, rate=20.0)
    pairs = [judge(GOOD) for _ in range(4)]
    stop = threading.Event()

    def run() -> None:
        while not stop.is_set():
            sink.write(*pairs[sink.number % 4])
            time.sleep(0.002)

    async def watch(until: float) -> list[int]:
        seen, numbers = "", []
        while time.monotonic() < until:
            words = unpack(await views.after(seen))[0]
            seen = f"{words['run']}.{words['number']}"
            numbers.append(words["number"])
        return numbers

    async def all_watch() -> list[list[int]]:
        until = time.monotonic() + 1.0
        return await asyncio.gather(*(watch(until) for _ in range(6)))

    line = threading.Thread(target=run)
    line.start()
    try:
        watched = asyncio.run(all_watch())
    finally:
        stop.set()
        line.join()
    assert 10 <= views.made <= 22
    assert encoded.count(".jpg") <= views.made
    for numbers in watched:
        assert len(numbers) >= 9
        assert numbers == sorted(set(numbers))  # never the same, never back


def test_nobody_asks_nothing_is_made(sink: PreviewSink, judge: Judge, snap: Callable[..., Snapshot]) -> None:
    asked = []
    views = Views(sink, lambda: asked.append(1) or snap(), About, "page", Settings())  # type: ignore[func-returns-value]
    for _ in range(50):
        sink.write(*judge(GOOD))
    assert (views.made, asked) == (0, [])


def test_figures_can_be_read_and_names_are_asked_for_again(
    sink: PreviewSink, snap: Callable[..., Snapshot], unpack: Unpack
) -> None:
    """The model may be exchanged while the page is open. Counts are those of this moment."""
    names = iter(["first", "second", "third", "fourth"])
    views = Views(sink, snap, lambda: About(next(names)), "page", Settings(rate=60))

    async def watch() -> list[str]:
        until, seen = time.monotonic() + 0.8, []
        while time.monotonic() < until:
            seen.append(unpack(await views.after(""))[0]["title"])
        return seen

    seen = asyncio.run(watch())
    assert len(seen) > 20
    assert list(dict.fromkeys(seen)) == ["first", "second"]
    # counts are not a part of that
    taken = iter(range(100))
    views = Views(sink, lambda: snap(verdicts={"OK": next(taken)}), About, "page", Settings(rate=60))

    async def count() -> list[str]:
        return [unpack(await views.after(""))[0]["counts"]["OK"] for _ in range(5)]

    assert asyncio.run(count()) == ["0", "1", "2", "3", "4"]


def test_a_snapshot_that_fails_fails_for_whoever_asked(sink: PreviewSink) -> None:
    def broken() -> Snapshot:
        raise RuntimeError("no")

    views = Views(sink, broken, About, "page", Settings())
    for _ in range(2):
        with pytest.raises(RuntimeError, match="no"):
            asyncio.run(views.after(""))
