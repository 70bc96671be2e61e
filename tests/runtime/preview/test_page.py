"""The page in headless Chromium, beside a real run: Inspector on FakeEngine, synthetic line, pipeline, monitor.

Needs Debian's `chromium` and the package playwright, which drives it; axe-playwright-python brings axe-core, which
looks for what keeps people out (labels, roles, contrast as computed by the browser).
"""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
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
pytestmark = pytest.mark.slow

Judge = Callable[..., tuple[Frame, Result]]
Snap = Callable[..., Snapshot]
Look = Callable[..., Any]
HOSTILE = "<img src=x onerror=document.title='owned'><script>document.title='owned'</script>\u202e&amp;\"'`${1}"
# Grey parts are good to FakeEngine: what it says of the synthetic line lies on both sides of this.
RULES = DecisionRules(pixel_threshold=0.55, image_threshold=0.62, image_score=ImageScore(pixels=9), min_defect_pixels=4)


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


def bad(height: int = 120, width: int = 160) -> Any:
    image = np.full((height, width, 3), 128, np.uint8)
    image[height // 4 : height // 2, width // 2 : width * 3 // 4] = 0
    return image


GOOD = np.full((120, 160, 3), 128, np.uint8)


def test_a_run_is_seen_while_it_goes_on(line: Line, look: Look) -> None:
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


def test_toggles_change_what_is_drawn(still: Callable[..., Preview], judge: Judge, look: Look) -> None:
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


def test_outline_and_map_lie_on_the_defect(still: Callable[..., Preview], judge: Judge, look: Look) -> None:
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


def test_the_page_is_used_by_keyboard_alone(still: Callable[..., Preview], judge: Judge, look: Look) -> None:
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


def test_parts_without_a_picture_and_without_a_score(still: Callable[..., Preview], judge: Judge, look: Look) -> None:
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
    snap: Snap, still: Callable[..., Preview], judge: Judge, look: Look
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
    look: Look,
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
        assert seen.violations() == []
    assert seen.page.evaluate("getComputedStyle(document.getElementById('verdict')).transitionDuration") == "0s"


def test_verdicts_never_flash(still: Callable[..., Preview], judge: Judge, look: Look) -> None:
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
