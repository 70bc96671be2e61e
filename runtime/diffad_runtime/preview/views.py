"""What viewers see, made once for all of them, at a bounded rate, and only while somebody asks.

Knows bytes, rates and who waits. Lives on one event loop. Does not know HTTP, nor what a viewer does with the bytes.

A view is one block, so that picture, map, outlines and verdict always belong to the same part:

    4 bytes    length of the JSON, big-endian
    JSON       UTF-8: all words and figures, and in "layers" how many bytes follow
    JPEG       the picture, "layers.picture_bytes" of them
    PNG        the map, grey, "layers.map_bytes" of them

A viewer that has the newest picture already waits for the next one, for a second at most; then it gets a view without a
picture, "layers": null, from which it knows that the device is alive. One that is slow asks less often and misses
pictures; it holds up nobody.
"""

import asyncio
import json
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from diffad_runtime.preview import telling
from diffad_runtime.preview.layers import Encoded, layers_of
from diffad_runtime.preview.settings import About, Settings
from diffad_runtime.preview.sink import PreviewSink
from diffad_runtime.snapshot import Snapshot

HEARTBEAT_S = 1.0
"""A viewer hears from the device at least so often."""

_SLOW_S = 0.5  # figures that change more often than that cannot be read


@dataclass(frozen=True, slots=True)
class View:
    """`number` is of the newest result in it; `whole` has its picture, `plain` has none."""

    number: int
    whole: bytes
    plain: bytes


class Views:
    """Makes views.

    Args:
        sink: what is shown.
        take: gives a snapshot of the run; called on the event loop's thread, and must be quick.
        about: asked twice a second: a model may be exchanged while the page is open.
        page: a digest of the page's own files; a browser that has others loads them again.
        settings: rate and quality.

    Attributes:
        run: of this process; numbers of results begin at 1 in each.
        made: views so far.
    """

    def __init__(
        self,
        sink: PreviewSink,
        take: Callable[[], Snapshot],
        about: Callable[[], About],
        page: str,
        settings: Settings,
    ) -> None:
        self.run = secrets.token_hex(8)
        self.made = 0
        self._sink, self._take, self._about, self._page, self._settings = sink, take, about, page, settings
        self._loop: asyncio.AbstractEventLoop | None = None
        self._news = asyncio.Event()
        self._closed = False
        self._making: asyncio.Task[View] | None = None
        self._next = self._slow_until = 0.0
        self._slow: dict[str, Any] = {}
        self._encoded: tuple[int, Encoded] | None = None

    async def after(self, seen: str) -> bytes:
        """The next view for somebody.

        Args:
            seen: "RUN.NUMBER" of the view before, "" for none. Whatever else it is, it counts as none.
        """
        run, _, digits = seen.partition(".")
        known = int(digits) if run == self.run and digits.isascii() and digits.isdecimal() and len(digits) < 19 else -1
        if known >= 0:
            await self._newer_than(known)
        view = await self._current()
        return view.whole if view.number > known else view.plain

    def layers(self, number: int) -> bytes | None:
        """A rejected part as a view without words; None where it is not kept any more."""
        encoded = self._sink.rejects.encoded(number)
        return None if encoded is None else _block({"layers": encoded.describe()}, encoded)

    def close(self) -> None:
        """Nobody waits any more. On the loop's thread."""
        self._closed = True
        self._wake()

    async def _newer_than(self, number: int) -> None:
        self._loop = asyncio.get_running_loop()
        news = self._news
        self._sink.call_once(self._wake_from_afar)
        if self._sink.number <= number and not self._closed:
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(news.wait(), HEARTBEAT_S)

    def _wake_from_afar(self) -> None:
        """On the sink's thread."""
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    async def _current(self) -> View:
        """The view that is being made, or a new one: those who ask meanwhile share it."""
        if self._making is None or self._making.done():
            self._making = asyncio.create_task(self._make())
            self._making.add_done_callback(_heard)
        return await asyncio.shield(self._making)

    async def _make(self) -> View:
        wait = self._next - time.monotonic()
        if wait > 0:
            await asyncio.sleep(wait)
        # Counted from the start, so that what it takes to encode does not lower the rate.
        self._next = time.monotonic() + 1 / self._settings.rate
        told: dict[str, Any] = {"run": self.run, "page": self._page, "number": 0, "newest": None, "layers": None}
        told |= self._state()
        now, marks = time.monotonic(), self._sink.marks()
        told["strip"], told["rate"] = telling.strip(marks), telling.rate(marks, now)
        told["strip_most"] = self._settings.results
        told["rejects"] = telling.rejects(self._sink.rejects.newest_first(), now)
        self.made += 1
        newest = self._sink.newest()
        if newest is None:
            block = _block(told)
            return View(0, block, block)
        number, frame, result = newest
        told["number"], told["newest"] = number, telling.newest(number, frame, result, now)
        if self._encoded is None or self._encoded[0] != number:
            layers = layers_of(frame, result, self._settings.longest)
            self._encoded = (number, layers.encode(self._settings.quality))
        encoded = self._encoded[1]
        return View(number, _block({**told, "layers": encoded.describe()}, encoded), _block(told))

    def _state(self) -> dict[str, Any]:
        now, snapshot = time.monotonic(), self._take()
        if now >= self._slow_until:
            about = self._about()
            self._slow = {
                "title": telling.text(about.station, 80) or telling.text(about.model_id, 80),
                "cards": [telling.latency_card(self._sink.latencies()), *telling.cards(snapshot, about)],
            }
            self._slow_until = now + _SLOW_S
        return {
            "triggered": snapshot.triggered,
            "ended": self._sink.ended,
            "counts": {name: telling.count(number) for name, number in snapshot.verdicts.items()},
            "alerts": telling.alerts(snapshot, ended=self._sink.ended),
            **self._slow,
        }


def _block(told: Mapping[str, Any], encoded: Encoded | None = None) -> bytes:
    words = json.dumps(told, allow_nan=False, separators=(",", ":")).encode()
    pictures = b"" if encoded is None else encoded.picture + encoded.warmth
    return len(words).to_bytes(4, "big") + words + pictures


def _heard(task: "asyncio.Task[View]") -> None:
    """Whoever waited for it may have gone: its failure is then nobody's."""
    if not task.cancelled():
        task.exception()
