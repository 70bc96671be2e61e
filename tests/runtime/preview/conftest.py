"""Judged frames from a real Inspector on FakeEngine, snapshots, and pages that are served for a test."""

import http.client
import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import Any

import pytest

from diffad_runtime import DecisionRules, FakeEngine, Frame, Inspector
from diffad_runtime.manifest import ImageScore
from diffad_runtime.preview import About, Preview, Settings, open_preview
from diffad_runtime.result import Image, Result, SourceState
from diffad_runtime.sinks.status import SinkStatus
from diffad_runtime.snapshot import Snapshot
from diffad_runtime.sources.base import SourceStatus

RULES = DecisionRules(pixel_threshold=0.5, image_threshold=0.6, image_score=ImageScore(pixels=9), min_defect_pixels=4)
WELL = Snapshot(
    started=0.0,
    now=7400.0,
    verdicts={"OK": 12345, "NG": 8, "ERROR": 2},
    dropped=3,
    late=1,
    pending=0,
    queues={"capture": 1},
    last_verdict=7399.9,
    stages={},
    source=SourceStatus(SourceState.STREAMING, frames=12355, last_frame=7399.9),
    sinks=(SinkStatus("masks", 90, 0, 0, 0, "", "", True),),
    setup_faults=(),
    recipe="left door",
    bundle_digest="0123456789abcdef" * 4,
    variant="int8",
    backend="fake",
)

Judge = Callable[..., tuple[Frame, Result]]


@pytest.fixture
def snap() -> Callable[..., Snapshot]:
    """snap(state=..., detail=..., sinks=...): fields of a snapshot, and of its source."""

    def make(**changes: Any) -> Snapshot:
        source = {name: changes.pop(name) for name in ("state", "detail", "last_frame", "frozen") if name in changes}
        return replace(WELL, source=replace(WELL.source, **source), **changes)

    return make


@pytest.fixture
def judge() -> Iterator[Judge]:
    """judge(image, part_id="", **changes): a frame and its result, with fields of the result changed."""
    with Inspector(FakeEngine(32), RULES, bundle_digest="d" * 64) as inspector:
        number = iter(range(1_000_000))

        def make(image: Image, part_id: str = "", **changes: Any) -> tuple[Frame, Result]:
            frame = Frame(image, next(number), time.monotonic(), datetime.now(timezone.utc))
            return frame, replace(inspector.judge(frame, part_id), **changes)

        yield make


@pytest.fixture
def unpack() -> Callable[[bytes], tuple[dict[str, Any], bytes, bytes]]:
    """A view's words, JPEG and PNG."""
    return unpacked


@dataclass
class Client:
    """A browser's requests, one connection each."""

    preview: Preview

    def get(self, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
        host, _, port = self.preview.url.removeprefix("http://").rpartition(":")
        connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=10)
        try:
            connection.putrequest(method, path, skip_host="Host" in headers)
            for name, value in headers.items():
                connection.putheader(name, value)
            connection.endheaders()
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def view(self, seen: str = "", viewer: str = "0" * 24) -> tuple[dict[str, Any], bytes, bytes]:
        status, _, body = self.get(f"/view?viewer={viewer}&seen={seen}")
        assert status == 200, body
        return unpacked(body)


def unpacked(body: bytes) -> tuple[dict[str, Any], bytes, bytes]:
    """Words, JPEG, PNG."""
    length = int.from_bytes(body[:4], "big")
    words = json.loads(body[4 : 4 + length])
    layers = words["layers"] or {"picture_bytes": 0, "map_bytes": 0}
    end = 4 + length + layers["picture_bytes"]
    assert len(body) == end + layers["map_bytes"]
    return words, body[4 + length : end], body[end:]


@pytest.fixture
def serve(snap: Callable[..., Snapshot]) -> Iterator[Callable[..., Client]]:
    """serve(address, snapshot=..., **options of open_preview): a page, closed after the test."""
    opened: list[Preview] = []

    def start(address: str = "127.0.0.1:0", snapshot: Callable[[], Snapshot] = snap, **options: Any) -> Client:
        options.setdefault("about", About("bottle", 3, "press 4"))
        options.setdefault("settings", Settings(rate=50))
        opened.append(open_preview(snapshot, address, **options))
        return Client(opened[-1])

    yield start
    for preview in opened:
        preview.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's Chromium, driven by playwright."""
    api = pytest.importorskip("playwright.sync_api", reason="no playwright to drive a browser with")
    chromium_path = shutil.which("chromium")
    if chromium_path is None:
        pytest.skip("no chromium: apt-get install chromium")
    with api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=chromium_path, args=["--no-sandbox", "--disable-gpu"])
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
        except Exception as error:
            if "context was destroyed" in str(error):  # it is being loaded again
                return False
            raise

    def violations(self) -> list[tuple[str, Any]]:
        """What axe-core finds on the page: its rule, and where."""
        axe = pytest.importorskip(
            "axe_playwright_python.sync_playwright", reason="no axe-core to look at the page with"
        )
        found = axe.Axe().run(self.page).response["violations"]
        return [(one["id"], [node["target"] for node in one["nodes"]]) for one in found]

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


@pytest.fixture
def still(snap: Callable[..., Snapshot]) -> Iterator[Callable[..., Preview]]:
    """A page over a sink that the test writes to."""
    opened = []

    def start(snapshot: Callable[[], Snapshot] = snap, **options: Any) -> Preview:
        opened.append(open_preview(snapshot, "127.0.0.1:0", **options))
        return opened[-1]

    yield start
    for preview in opened:
        preview.close()
