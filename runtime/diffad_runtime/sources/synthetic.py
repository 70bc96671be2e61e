"""The synthetic production line as a camera, with the true defect mask on every frame.

Knows pace and count. Does not know how a part is drawn (diffad_runtime.synthetic).
"""

import time
from urllib.parse import parse_qsl

from pydantic import Field

from diffad_runtime.errors import SourceError
from diffad_runtime.sources.base import Shot, Source
from diffad_runtime.synthetic.line import LineConfig, SyntheticLine


class StreamConfig(LineConfig):
    """The parameters of synthetic://line."""

    fps: float = Field(default=30.0, ge=0, le=1000, description="parts per second; 0 is as fast as they are taken")
    count: int = Field(default=0, ge=0, description="frames before the stream ends; 0 is without end")


class SyntheticSource(Source):
    """A line that runs at `fps` like a camera (live), or with fps=0 hands out parts on demand (not live).

    Frame i is part i of the line, also when the reader is late: then the line waits, none is skipped.

    Args:
        uri: "synthetic://line?name=value&...".
        loop: begin again at part 0 after `count` parts.

    Raises:
        SourceError: another line, an unknown parameter, or a bad value.
    """

    def __init__(self, uri: str, *, loop: bool = False) -> None:
        place, _, query = uri.partition("://")[2].partition("?")
        if place.rstrip("/") != "line":
            raise SourceError(f"there is no synthetic source {place!r}", mend="The only one is synthetic://line")
        pairs = parse_qsl(query, keep_blank_values=True)
        names = [name for name, _ in pairs]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise SourceError(f"synthetic://line parameter {twice[0]!r} is given twice", mend="Give it once")
        self.config = StreamConfig.from_query(dict(pairs))
        super().__init__(uri, live=self.config.fps > 0, fps_hint=self.config.fps or None)
        self._line = SyntheticLine(self.config)
        self._loop = loop
        self._index = 0
        self._due = 0.0

    def _grab(self) -> Shot | None:
        if self.config.count and self._index >= self.config.count:
            if not self._loop:
                return None
            self._index = 0
        frame = self._line.frame(self._index)
        self._index += 1
        if self.config.fps > 0:
            # A late reader moves the schedule; it is not paid back with a burst.
            wait = self._due - time.monotonic()
            if wait > 0 and self._closing.wait(wait):
                return None
            self._due = max(self._due, time.monotonic() - 1e-3) + 1 / self.config.fps
        return Shot(frame.image, truth=frame.mask)

    def _release(self) -> None:
        pass
