"""The page in headless Chromium, beside a real run: Inspector on FakeEngine, synthetic line, pipeline, monitor.

Needs Debian's `chromium` and the package playwright, which drives it; axe-playwright-python brings axe-core, which
looks for what keeps people out (labels, roles, contrast as computed by the browser).
"""

import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from diffad_runtime import DecisionRules, FakeEngine, Frame, Inspector, Verdict
from diffad_runtime.manifest import ImageScore
from diffad_runtime.monitor import Monitor
from diffad_runtime.pipeline import run_stream
from diffad_runtime.preview import About, Preview, Settings, open_preview
from diffad_runtime.result import Result, SourceState
from diffad_runtime.sinks.status import SinkStatus
from diffad_runtime.snapshot import Snapshot
from diffad_runtime.sources import open_source

pytest.importorskip("starlette", reason="the preview page needs starlette, the extra [preview]")
pytest.importorskip("uvicorn", reason="the preview page needs uvicorn, the extra [preview]")
api = pytest.importorskip("playwright.sync_api", reason="no playwright to drive a browser with")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="no axe-core to look at the page with")
CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium"),
]

Judge = Callable[..., tuple[Frame, Result]]
Snap = Callable[..., Snapshot]
HOSTILE = "<img src=x onerror=document.title='owned'><script>document.title='owned'</script>\u202e&amp;\"'`${1}"
# Grey parts are good to FakeEngine: what it says of the synthetic line lies on both sides of this.
RULES = DecisionRules(pixel_threshold=0.55, image_threshold=0.62, image_score=ImageScore(pixels=9), min_defect_pixels=4)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield chromium
        chromium.close()


@dataclass
class Seen:
    """A page, and what it did that it should not."""

    page: Any
    errors: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)

    def text(self, selector: str) -> str:
        return str(self.page.locator(selector).first.inner_text()).strip()

    def wait(self, script: str, timeout_s: float = 5.0) -> None:
        # Not by wait_for_function: that evaluates a string on the page, which the page's policy forbids.
        until = time.monotonic() + timeout_s
        while not self._says(script):
            assert time.monotonic() < until, f"never: {script}"
            self.page.wait_for_timeout(30)

    def _says(self, script: str) -> bool:
        try:
            return bool(self.page.evaluate(script))
        except api.Error:  # it is being loaded again
            return False

    def picture(self, canvas: str = "picture") -> str:
        """Text that changes with what is drawn."""
        return str(self.page.evaluate("(id) => document.getElementById(id).toDataURL()", canvas))


@pytest.fixture
def look(browser: Any) -> Iterator[Callable[..., Seen]]:
    """look(url, **options of a browser context): open a page; afterwards nothing may have gone wrong or elsewhere."""
    contexts, opened = [], []

    def start(url: str, *, allow: str = "", **options: Any) -> Seen:
        options.setdefault("viewport", {"width": 1280, "height": 800})
        context = browser.new_context(**options)
        context.set_default_timeout(5000)
        contexts.append(context)
        seen = Seen(context.new_page())
        host = url.partition("//")[2].partition("/")[0]
        seen.page.on("pageerror", lambda error: seen.errors.append(str(error)))
        seen.page.on(
            "console",
            lambda line: (
                seen.errors.append(line.text)
                if line.type in ("error", "warning") and not (allow and allow in line.text)
                else None
            ),
        )
        seen.page.on(
            "request",
            lambda request: (
                None
                if request.url.startswith((f"http://{host}/", f"blob:http://{host}/"))
                else seen.elsewhere.append(request.url)
            ),
        )
        seen.page.goto(url)
        opened.append(seen)
        return seen

    yield start
    for context in contexts:
        context.close()
    assert [seen.elsewhere for seen in opened] == [[]] * len(opened)
    assert [seen.errors for seen in opened] == [[]] * len(opened)


@dataclass
class Line:
    """A run that goes on until it is stopped."""

    preview: Preview
    inspector: Inspector
    stop: threading.Event
    thread: threading.Thread


@pytest.fixture
def line() -> Iterator[Line]:
    with (
        Inspector(FakeEngine(32), RULES, bundle_digest="0123456789abcdef" * 4) as inspector,
        open_source("synthetic://line?fps=20&size=128&defects=0.5&seed=3") as source,
    ):
        monitor = Monitor(inspector, source)
        about = About("bottle", 3, "press 4, left", source.uri)
        with open_preview(monitor.snapshot, "127.0.0.1:0", about=about, settings=Settings(viewers=3)) as preview:
            stop = threading.Event()
            thread = threading.Thread(
                target=run_stream, args=(inspector, source, [preview.sink]), kwargs={"stop": stop, "monitor": monitor}
            )
            thread.start()
            yield Line(preview, inspector, stop, thread)
            stop.set()
            thread.join(10)


@pytest.fixture
def still(snap: Snap) -> Iterator[Callable[..., Preview]]:
    """A page over a sink that the test writes to."""
    opened = []

    def start(snapshot: Callable[[], Snapshot] = snap, **options: Any) -> Preview:
        opened.append(open_preview(snapshot, "127.0.0.1:0", **options))
        return opened[-1]

    yield start
    for preview in opened:
        preview.close()


def bad(height: int = 120, width: int = 160) -> Any:
    image = np.full((height, width, 3), 128, np.uint8)
    image[height // 4 : height // 2, width // 2 : width * 3 // 4] = 0
    return image


GOOD = np.full((120, 160, 3), 128, np.uint8)


def test_a_run_is_seen_while_it_goes_on(line: Line, look: Callable[..., Seen]) -> None:
    seen = look(line.preview.url)
    seen.wait("document.body.dataset.connection === 'live'")
    assert seen.text("#title") == "press 4, left"
    assert seen.page.title() == "press 4, left"
    assert seen.text("#connection") == "connected"
    # the picture moves
    pictures = set()
    for _ in range(10):
        pictures.add(seen.picture())
        seen.page.wait_for_timeout(120)
    assert len(pictures) >= 4
    # verdicts change, in words, shape and colour together
    shown = set()
    for verdict, shape in (("NG", "#shape-ng"), ("OK", "#shape-ok")):
        # a reject is held for some time: on a line with few of them, OK comes back
        line.inspector.rules = replace(RULES, image_threshold=0.0 if verdict == "NG" else 9.0)
        seen.wait(f"document.getElementById('verdict').dataset.verdict === '{verdict}'")
        assert seen.text("#verdict .word") == verdict
        assert seen.page.get_attribute("#verdict use", "href") == shape
        shown.add(seen.page.evaluate("getComputedStyle(document.getElementById('verdict')).backgroundColor"))
    assert len(shown) == 2
    assert "threshold" in seen.text("#verdict .why")
    assert seen.text("#spoken").partition(",")[0] in ("OK", "NG")
    assert "Scores of the last" in str(seen.page.get_attribute("#strip", "aria-label"))
    assert seen.page.locator("#rejects-list button").count() > 0
    assert int(seen.text("#count-ng")) > 0
    assert seen.text("#rate").endswith("/s")
    assert "live, 0." in seen.text("#age")
    cards = seen.text("#cards")
    for word in ("Latency", "p99", "reconstruct", "total", "Camera", "streaming", "preview", "0123456789ab", "fake"):
        assert word in cards, word


def test_toggles_change_what_is_drawn(still: Callable[..., Preview], judge: Judge, look: Callable[..., Seen]) -> None:
    preview = still()
    preview.sink.write(*judge(bad()))
    seen = look(preview.url)
    seen.wait("document.getElementById('age').textContent")
    drawn = [seen.picture()]
    for name in ("picture", "map", "outline"):
        seen.page.focus(f"#show-{name}")
        seen.page.keyboard.press("Space")
        drawn.append(seen.picture())
    assert len(set(drawn)) == 4
    for name in ("picture", "map", "outline"):
        seen.page.check(f"#show-{name}")
    assert seen.picture() == drawn[0]


def test_outline_and_map_lie_on_the_defect(
    still: Callable[..., Preview], judge: Judge, look: Callable[..., Seen]
) -> None:
    """Pixels of the canvas, where the black rectangle of a grey part lies."""
    preview = still()
    preview.sink.write(*judge(bad(480, 640)))
    seen = look(preview.url)
    seen.wait("document.getElementById('age').textContent")
    pixel = """([x, y]) => {
        const canvas = document.getElementById("picture");
        const zoom = Math.min(canvas.width / 640, canvas.height / 480);
        const left = (canvas.width - 640 * zoom) / 2, top = (canvas.height - 480 * zoom) / 2;
        const pen = document.createElement("canvas").getContext("2d");
        pen.drawImage(canvas, -(left + x * zoom), -(top + y * zoom));
        return Array.from(pen.getImageData(0, 0, 1, 1).data);
    }"""
    seen.page.uncheck("#show-outline")
    hot, cold = seen.page.evaluate(pixel, [400, 180]), seen.page.evaluate(pixel, [100, 400])
    assert max(abs(value - 128) for value in cold[:3]) < 6
    assert hot[0] > max(90, hot[2])  # inferno over black
    seen.page.uncheck("#show-map")
    assert max(seen.page.evaluate(pixel, [400, 180])[:3]) < 12
    seen.page.check("#show-outline")
    column = [seen.page.evaluate(pixel, [x, 180])[0] for x in np.arange(300, 340, 0.5)]
    assert max(column) > 240  # its white line, near the rectangle's left edge at 320
    seen.page.uncheck("#show-picture")
    seen.page.uncheck("#show-outline")
    assert seen.page.evaluate(pixel, [100, 400])[3] == 0


def test_the_page_is_used_by_keyboard_alone(
    still: Callable[..., Preview], judge: Judge, look: Callable[..., Seen]
) -> None:
    preview = still()
    for number in range(3):
        preview.sink.write(*judge(bad(), f"part {number}"))
    seen = look(preview.url)
    seen.wait("document.querySelectorAll('#rejects-list button').length === 3")
    visited = []
    for _ in range(6):
        seen.page.keyboard.press("Tab")
        visited.append(
            seen.page.evaluate(
                "[document.activeElement.id || document.activeElement.getAttribute('aria-label'),"
                " getComputedStyle(document.activeElement).outlineStyle]"
            )
        )
    assert [name for name, _ in visited[:3]] == ["show-picture", "show-map", "show-outline"]
    assert [str(name)[:16] for name, _ in visited[3:]] == ["NG, part part 2,", "NG, part part 1,", "NG, part part 0,"]
    assert {style for _, style in visited} == {"solid"}  # whoever has the focus shows it
    seen.page.keyboard.press("Shift+Tab")
    preview.sink.write(*judge(bad(), "part 3"))  # does not move what is looked at
    seen.page.keyboard.press("Enter")
    assert seen.page.evaluate("document.getElementById('enlarged').open")
    assert "part part 1" in seen.text("#enlarged-words")
    assert seen.text("#enlarged-place") == "2 of 3"
    seen.wait("document.getElementById('enlarged-picture').getAttribute('aria-label').startsWith('Picture')")
    assert len({seen.picture("enlarged-picture")}) == 1
    seen.page.keyboard.press("ArrowLeft")
    assert "part part 2" in seen.text("#enlarged-words")
    assert seen.page.is_disabled("#enlarged-newer")
    seen.page.keyboard.press("ArrowLeft")
    seen.page.keyboard.press("ArrowRight")
    seen.page.keyboard.press("ArrowRight")
    assert "part part 0" in seen.text("#enlarged-words")
    seen.page.keyboard.press("Escape")
    assert not seen.page.evaluate("document.getElementById('enlarged').open")
    seen.wait("(document.activeElement.getAttribute('aria-label') || '').includes('part part 0')")
    seen.page.evaluate("document.activeElement.blur()")
    seen.wait("document.querySelectorAll('#rejects-list button').length === 4")


def test_a_lost_connection_is_loud_and_the_picture_grey(
    still: Callable[..., Preview], judge: Judge, look: Callable[..., Seen]
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
    before = seen.text("#age")
    seen.page.wait_for_timeout(1200)
    assert seen.text("#age") != before  # it grows older in front of everybody


def test_a_device_that_hangs_is_lost_as_well_and_comes_back(
    snap: Snap, still: Callable[..., Preview], judge: Judge, look: Callable[..., Seen]
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


def test_an_old_picture_is_never_live(
    snap: Snap, still: Callable[..., Preview], judge: Judge, look: Callable[..., Seen]
) -> None:
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
    snap: Snap, still: Callable[..., Preview], judge: Judge, look: Callable[..., Seen]
) -> None:
    preview = still(lambda: snap(triggered=True))
    frame, result = judge(GOOD)
    preview.sink.write(replace(frame, t_monotonic=time.monotonic() - 40), result)
    seen = look(preview.url)
    seen.wait("document.getElementById('age').textContent")
    assert seen.text("#age").startswith("last part, 4")
    assert not seen.page.is_visible("#covering")
    assert seen.text("#verdict .word") == "OK"


def test_parts_without_a_picture_and_without_a_score(
    still: Callable[..., Preview], judge: Judge, look: Callable[..., Seen]
) -> None:
    preview = still()
    preview.sink.write(*judge(GOOD))
    preview.sink.write(*judge(np.zeros((0, 0), np.uint8), "part 8"))
    seen = look(preview.url)
    seen.wait("document.getElementById('verdict').dataset.verdict === 'ERROR'")
    assert seen.text("#covering") == "this part has no picture"  # and not that of the part before
    assert "frame is empty" in seen.text("#verdict .why")
    seen.wait("document.querySelector('#rejects-list .nothing')")
    seen.page.click("#rejects-list button")
    assert "frame is empty" in seen.text("#enlarged-words")
    seen.page.keyboard.press("Escape")
    preview.sink.write(*judge(np.full((60, 3000), 128, np.uint8), "grey and long"))
    seen.page.mouse.move(1, 1)
    seen.wait("document.getElementById('verdict').dataset.verdict === 'OK'")
    assert not seen.page.is_visible("#covering")
    assert "grey and long" in seen.text("#caption")


def test_whatever_comes_from_outside_is_text(
    snap: Snap, still: Callable[..., Preview], judge: Judge, look: Callable[..., Seen]
) -> None:
    sinks = (SinkStatus(HOSTILE, 1, 2, 3, 4, HOSTILE, HOSTILE, False),)
    preview = still(
        lambda: snap(
            recipe=HOSTILE,
            variant=HOSTILE,
            backend=HOSTILE,
            detail=HOSTILE,
            state=SourceState.CONNECTING,
            setup_faults=(HOSTILE,),
            sinks=sinks,
            queues={HOSTILE: 1},
        ),
        about=About(HOSTILE, 1, HOSTILE, HOSTILE),
    )
    frame, result = judge(bad(), HOSTILE)
    preview.sink.write(
        replace(frame, name=HOSTILE), replace(result, recipe=HOSTILE, name=HOSTILE, latency_ms={HOSTILE: 1.0})
    )
    preview.sink.write(*judge(bad(), HOSTILE, verdict=Verdict.ERROR, error=HOSTILE, score=float("nan")))
    seen = look(preview.url)
    seen.wait("document.querySelectorAll('#rejects-list button').length === 2")
    seen.page.wait_for_timeout(500)
    assert seen.page.evaluate("document.querySelectorAll('img, body script').length") == 0
    shown = HOSTILE.replace("\u202e", "\ufffd")
    assert seen.page.title() == shown[:79] + "…"
    assert seen.text("#verdict .why") == shown
    assert shown in seen.text("#caption")
    assert seen.text("#alerts").count("<script>") == 4
    seen.page.locator("#rejects-list button").first.click()
    assert shown in seen.text("#enlarged-words")
    # however long a name without a space is, nothing is pushed out of the page
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= 1280


@pytest.mark.parametrize(("scheme", "width"), [("light", 360), ("dark", 1280)])
@pytest.mark.parametrize("verdict", list(Verdict))
def test_axe_finds_nothing(
    scheme: str,
    width: int,
    verdict: Verdict,
    snap: Snap,
    still: Callable[..., Preview],
    judge: Judge,
    look: Callable[..., Seen],
) -> None:
    broken = SinkStatus("archive", 1, 2, 3, 4, "disk full", "disk full", False)
    preview = still(lambda: snap(setup_faults=("SETUP: lens dirty",), sinks=(broken,)))
    for kind in (Verdict.NG, Verdict.ERROR, verdict):
        preview.sink.write(*judge(GOOD if kind is Verdict.OK else bad(), "A-17", verdict=kind, error="late"))
    seen = look(preview.url, color_scheme=scheme, viewport={"width": width, "height": 800}, reduced_motion="reduce")
    seen.wait("document.querySelectorAll('#rejects-list button').length >= 2")
    if verdict is Verdict.OK:
        seen.wait("document.getElementById('verdict').dataset.verdict === 'OK'")
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= width
    for enlarged in (False, True):
        if enlarged:
            seen.page.locator("#rejects-list button").first.click()
        found = axe.Axe().run(seen.page).response["violations"]
        assert [(one["id"], [node["target"] for node in one["nodes"]]) for one in found] == []
    assert seen.page.evaluate("getComputedStyle(document.getElementById('verdict')).transitionDuration") == "0s"


def test_verdicts_never_flash(still: Callable[..., Preview], judge: Judge, look: Callable[..., Seen]) -> None:
    """However fast they change, the large field changes back and forth less than three times a second."""
    preview = still(settings=Settings(rate=30))
    seen = look(preview.url)
    seen.wait("document.body.dataset.connection === 'live'")
    seen.page.evaluate(
        """() => {
            window.changes = [];
            new MutationObserver(() => window.changes.push(document.getElementById("verdict").dataset.verdict))
                .observe(document.getElementById("verdict"), { attributeFilter: ["data-verdict"] });
        }"""
    )
    pairs = [judge(GOOD), judge(bad()), judge(GOOD), judge(GOOD, verdict=Verdict.ERROR, error="x", score=float("nan"))]
    stop = threading.Event()

    def run() -> None:
        while not stop.wait(0.02):
            frame, result = pairs[preview.sink.number // 3 % 4]
            preview.sink.write(replace(frame, t_monotonic=time.monotonic()), result)

    line = threading.Thread(target=run)
    line.start()
    seen.page.wait_for_timeout(3000)
    stop.set()
    line.join()
    changes = seen.page.evaluate("window.changes")
    assert "ERROR" in changes
    # In each 0.7 s it may become OK, then NG and ERROR at once: not three flashes, of two changes each, in a second.
    assert len(changes) <= 15


def test_the_token_is_asked_for_and_leaves_the_address(
    still: Callable[..., Preview], judge: Judge, look: Callable[..., Seen]
) -> None:
    preview = still(token="chosen-token-1")
    preview.sink.write(*judge(GOOD))
    seen = look(preview.url, allow="401")
    assert "asks for a token" in seen.text("h1")
    assert [one["id"] for one in axe.Axe().run(seen.page).response["violations"]] == []
    seen.page.fill("#token", "wrong-token")
    seen.page.keyboard.press("Enter")
    seen.page.wait_for_load_state()
    assert "asks for a token" in seen.text("h1")
    seen.page.fill("#token", "chosen-token-1")
    seen.page.click("button")
    seen.wait("document.body.dataset.connection === 'live'")
    assert seen.page.url == preview.url + "/"
    assert seen.page.evaluate("document.cookie") == ""  # HttpOnly


def test_one_viewer_too_many_sees_why(still: Callable[..., Preview], judge: Judge, look: Callable[..., Seen]) -> None:
    preview = still(settings=Settings(viewers=1))
    preview.sink.write(*judge(GOOD))
    first = look(preview.url)
    first.wait("document.body.dataset.connection === 'live'")
    second = look(preview.url, allow="503")
    assert second.text("h1") == "All places are taken"
    assert [one["id"] for one in axe.Axe().run(second.page).response["violations"] if one["id"] != "meta-refresh"] == []
    first.page.reload()  # whoever has a place keeps it
    first.wait("document.body.dataset.connection === 'live'")


def test_a_page_of_an_older_device_loads_itself_again(
    snap: Snap, judge: Judge, look: Callable[..., Seen], monkeypatch: pytest.MonkeyPatch
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


def test_a_hidden_page_asks_for_nothing(still: Callable[..., Preview], judge: Judge, look: Callable[..., Seen]) -> None:
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
