"""The page in headless Chromium with something in the way: the device lost, the picture old, no place, a token."""

import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from diffad_runtime import Frame
from diffad_runtime.preview import Preview, Settings, open_preview
from diffad_runtime.result import Result, SourceState
from diffad_runtime.snapshot import Snapshot

pytest.importorskip("starlette", reason="the preview page needs starlette, the extra [preview]")
pytest.importorskip("uvicorn", reason="the preview page needs uvicorn, the extra [preview]")
pytestmark = pytest.mark.slow

Judge = Callable[..., tuple[Frame, Result]]
Snap = Callable[..., Snapshot]
Look = Callable[..., Any]


def bad(height: int = 120, width: int = 160) -> Any:
    image = np.full((height, width, 3), 128, np.uint8)
    image[height // 4 : height // 2, width // 2 : width * 3 // 4] = 0
    return image


GOOD = np.full((120, 160, 3), 128, np.uint8)


def test_a_lost_connection_is_loud_and_the_picture_grey(
    still: Callable[..., Preview], judge: Judge, look: Look
) -> None:
    preview = still()
    preview.sink.write(*judge(GOOD))
    seen = look(preview.url, allow="ERR_CONNECTION_REFUSED")
    seen.wait("document.getElementById('verdict').dataset.verdict === 'OK'")
    assert not seen.page.is_visible("#lost")
    preview.close()
    seen.wait("document.body.dataset.connection === 'lost'")
    assert seen.page.is_visible("#lost")
    assert "Connection to the device lost" in seen.text("#lost")
    assert seen.page.get_attribute("#lost", "role") == "alert"
    assert seen.text("#connection") == "connection lost"
    assert seen.text("#verdict .word") == "no connection"  # a green OK would be a lie
    assert "NOT LIVE" in seen.text("#covering")
    assert "grayscale" in seen.page.evaluate("getComputedStyle(document.getElementById('picture')).filter")
    assert "grayscale" in seen.page.evaluate("getComputedStyle(document.getElementById('cards')).filter")
    before = seen.text("#age")
    seen.page.wait_for_timeout(1200)
    assert seen.text("#age") != before  # it grows older in front of everybody


def test_a_device_that_hangs_is_lost_as_well_and_comes_back(
    snap: Snap, still: Callable[..., Preview], judge: Judge, look: Look
) -> None:
    """Its connections stay open, but nothing is answered any more; then the page is one of another run."""
    hanging = threading.Event()
    goes_on = threading.Event()

    def snapshot() -> Snapshot:
        if hanging.is_set():
            goes_on.wait(20)
        return snap()

    preview = still(snapshot)
    preview.sink.write(*judge(GOOD))
    seen = look(preview.url, allow="ERR_")
    seen.wait("document.getElementById('verdict').dataset.verdict === 'OK'")
    hanging.set()
    seen.wait("document.body.dataset.connection === 'lost'", 8)
    assert "Connection to the device lost" in seen.text("#lost")
    hanging.clear()
    goes_on.set()
    seen.wait("document.body.dataset.connection === 'live'", 8)
    assert not seen.page.is_visible("#lost")
    assert seen.text("#verdict .word") == "OK"


def test_an_old_picture_is_never_live(snap: Snap, still: Callable[..., Preview], judge: Judge, look: Look) -> None:
    """The device answers, its camera gives nothing: greyed, with its age, and the camera's state on top."""
    stalled = threading.Event()
    preview = still(lambda: snap(state=SourceState.STALLED, detail="no frame for 3 s") if stalled.is_set() else snap())
    frame, result = judge(GOOD)
    preview.sink.write(frame, result)
    seen = look(preview.url)
    seen.wait("document.getElementById('age').textContent.startsWith('live')")
    stalled.set()
    seen.wait("document.getElementById('covering').textContent.startsWith('NOT LIVE')", 8)
    assert seen.page.get_attribute("#live .stage", "data-state") == "old"
    assert seen.text("#alerts") == "◆ The camera is stalled: no frame for 3 s"
    preview.sink.write(*judge(GOOD))
    seen.wait("document.getElementById('age').textContent.startsWith('live')")
    assert not seen.page.is_visible("#covering")


def test_parts_of_a_triggered_line_wait_without_alarm(
    snap: Snap, still: Callable[..., Preview], judge: Judge, look: Look
) -> None:
    preview = still(lambda: snap(triggered=True))
    frame, result = judge(GOOD)
    preview.sink.write(replace(frame, t_monotonic=time.monotonic() - 40), result)
    seen = look(preview.url)
    seen.wait("document.getElementById('age').textContent")
    assert seen.text("#age").startswith("last part, 4")
    assert not seen.page.is_visible("#covering")
    assert seen.text("#verdict .word") == "OK"


def test_the_token_is_asked_for_and_leaves_the_address(still: Callable[..., Preview], judge: Judge, look: Look) -> None:
    preview = still(token="chosen-token-1")
    preview.sink.write(*judge(GOOD))
    seen = look(preview.url, allow="401")
    assert "asks for a token" in seen.text("h1")
    assert seen.violations() == []
    seen.page.fill("#token", "wrong-token")
    seen.page.keyboard.press("Enter")
    seen.page.wait_for_load_state()
    assert "asks for a token" in seen.text("h1")
    seen.page.fill("#token", "chosen-token-1")
    seen.page.click("button")
    seen.wait("document.body.dataset.connection === 'live'")
    assert seen.page.url == preview.url + "/"
    assert seen.page.evaluate("document.cookie") == ""  # HttpOnly


def test_one_viewer_too_many_sees_why(still: Callable[..., Preview], judge: Judge, look: Look) -> None:
    preview = still(settings=Settings(viewers=1))
    preview.sink.write(*judge(GOOD))
    first = look(preview.url)
    first.wait("document.body.dataset.connection === 'live'")
    second = look(preview.url, allow="503")
    assert second.text("h1") == "All places are taken"
    assert [name for name, _ in second.violations() if name != "meta-refresh"] == []
    first.page.reload()  # whoever has a place keeps it
    first.wait("document.body.dataset.connection === 'live'")


def test_a_page_of_an_older_device_loads_itself_again(
    snap: Snap, judge: Judge, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    first = open_preview(snap, f"127.0.0.1:{port}")
    first.sink.write(*judge(GOOD))
    seen = look(first.url, allow="ERR_")
    seen.wait("document.body.dataset.connection === 'live'")
    seen.page.evaluate("window.old = true")
    first.close()
    seen.wait("document.body.dataset.connection === 'lost'")
    monkeypatch.setattr("diffad_runtime.preview.opening.digest_of", lambda _: "another")
    with open_preview(snap, f"127.0.0.1:{port}") as second:
        second.sink.write(*judge(bad()))
        seen.wait("window.old === undefined && document.body.dataset.connection === 'live'", 8)
        assert seen.text("#verdict .word") == "NG"


def test_a_hidden_page_asks_for_nothing(still: Callable[..., Preview], judge: Judge, look: Look) -> None:
    preview = still()
    preview.sink.write(*judge(GOOD))
    seen = look(preview.url)
    seen.wait("document.body.dataset.connection === 'live'")
    hide = "Object.defineProperty(document, 'hidden', {{value: {}, configurable: true}});"
    hide += " document.dispatchEvent(new Event('visibilitychange'))"
    seen.page.evaluate(hide.format("true"))
    assert seen.text("#verdict .word") == "paused"
    seen.page.wait_for_timeout(1500)
    asked = []
    seen.page.on("request", lambda request: asked.append(request.url))
    seen.page.wait_for_timeout(1500)
    assert asked == []
    assert seen.page.get_attribute("#live .stage", "data-state") == "lost"  # grey
    seen.page.evaluate(hide.format("false"))
    seen.wait("document.body.dataset.connection === 'live'")
    assert seen.text("#verdict .word") == "OK"
