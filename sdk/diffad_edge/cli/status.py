"""The one line that moves while there is work.

Knows counts, rates and the terminal. Does not know where frames come from. On a terminal the line is redrawn in
place; elsewhere a plain line is written now and then, so that logs stay short.
"""

import sys
import time
from collections import deque
from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text
from typing_extensions import Self

from diffad_edge.cli.output import note, stderr
from diffad_runtime.latency import LatencyRecorder
from diffad_runtime.result import Result, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

_REDRAW_S = 0.2
_PLAIN_S = 5.0
_WINDOW_S = 2.0


class StatusLine:
    """Counts results and shows them. A context manager; `update` is called with every result, on one thread.

    Args:
        total: frames to come where that is known.
        clock: seconds, monotonic.
    """

    def __init__(self, total: int | None = None, clock: "Callable[[], float]" = time.monotonic) -> None:
        self._total = total
        self._clock = clock
        self._counts = dict.fromkeys(Verdict, 0)
        self._latency = LatencyRecorder()
        self._recent: deque[float] = deque(maxlen=600)
        self._live = Live(console=stderr(), auto_refresh=False, transient=True) if sys.stderr.isatty() else None
        self._shown = self._clock()

    def update(self, result: Result) -> None:
        """Count one result and redraw when it is time."""
        now = self._clock()
        self._counts[result.verdict] += 1
        self._latency.add(result.latency_ms["total"])
        self._recent.append(now)
        while now - self._recent[0] > _WINDOW_S:
            self._recent.popleft()
        if now - self._shown < (_REDRAW_S if self._live else _PLAIN_S):
            return
        self._shown = now
        if self._live:
            self._live.update(self._picture(), refresh=True)
        else:
            note(self.line())

    def line(self) -> str:
        """As in "120/500 frames   NG 4   ERROR 1   29.8 FPS   p95 12.3 ms"."""
        frames = sum(self._counts.values())
        parts = [f"{frames}/{self._total} frames" if self._total else f"{frames} frames"]
        parts.append(f"NG {self._counts[Verdict.NG]}")
        if self._counts[Verdict.ERROR]:
            parts.append(f"ERROR {self._counts[Verdict.ERROR]}")
        if len(self._recent) > 1 and self._recent[-1] > self._recent[0]:
            parts.append(f"{(len(self._recent) - 1) / (self._recent[-1] - self._recent[0]):.1f} FPS")
            if self._total:
                rate = (len(self._recent) - 1) / (self._recent[-1] - self._recent[0])
                parts.append(f"{max(0, self._total - frames) / rate:.0f} s left")
        if frames:
            parts.append(f"p95 {self._latency.quantile(0.95):.1f} ms")
        return "   ".join(parts)

    def _picture(self) -> RenderableType:
        words = Text(self.line(), no_wrap=True, overflow="ellipsis")
        if not self._total:
            return words
        row = Table.grid(padding=(0, 2))
        row.add_row(ProgressBar(self._total, sum(self._counts.values()), width=30), words)
        return row

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()


class Rounds:
    """A bar for work of known length, on a terminal only, from the first `update` on.

    Redrawn by `update` alone: no thread disturbs a timing.
    """

    def __init__(self, words: str) -> None:
        self._words = words
        self._live = Live(console=stderr(), auto_refresh=False, transient=True) if sys.stderr.isatty() else None
        self._shown: float | None = None

    def update(self, done: int, total: int | None) -> None:
        """Say how far the work is; `total` None where nobody knows."""
        now = time.monotonic()
        if self._live and (self._shown is None or now - self._shown >= _REDRAW_S):
            if self._shown is None:
                self._live.start()
            self._shown = now
            row = Table.grid(padding=(0, 2))
            count = f"{done}/{total}" if total else str(done)
            row.add_row(ProgressBar(total, done, width=30), Text(f"{self._words} {count}"))
            self._live.update(row, refresh=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._live and self._shown is not None:
            self._live.stop()


class Parts:
    """A bar for work in named parts; a finished part leaves its line on a terminal, elsewhere one plain line."""

    def __init__(self) -> None:
        self._what = ""
        self._bar: Rounds | None = None

    def update(self, what: str, done: int, total: int) -> None:
        """Say how far the part `what` is."""
        if what != self._what:
            self._close()
            note(what)
            self._what, self._bar = what, Rounds(what).__enter__()
        if self._bar is not None:
            self._bar.update(done, total)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.__exit__()
            self._bar = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()
