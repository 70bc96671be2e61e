"""Judged frames from a real Inspector on FakeEngine, snapshots, and pages that are served for a test."""

import http.client
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
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
