"""The good pictures that the chaos camera spoils: of the synthetic line, or of any other source.

Knows how to have the next one at little cost. Does not know faults.
"""

import threading
from abc import ABC, abstractmethod

from diffad_runtime.errors import SourceError
from diffad_runtime.sources.base import Shot, Source
from diffad_runtime.synthetic.line import LineConfig, SyntheticFrame, SyntheticLine


class Pictures(ABC):
    """Where pictures come from.

    Attributes:
        live: True if it sets the pace itself.
        problems: as in Source.
    """

    live: bool = False

    def __init__(self) -> None:
        self.problems: list[str] = []

    @abstractmethod
    def take(self, index: int) -> Shot | None:
        """Picture `index` of the stream; None only after close(). The image is the receiver's."""

    def close(self) -> None:  # noqa: B027  a drawn line neither waits nor holds anything
        """End a `take` in progress and each after it, and let go of what is held. Any thread, at any time."""


class LinePictures(Pictures):
    """The first `count` parts of the synthetic line again and again, drawn once.

    Drawing a part of 256 px takes 18 ms, a copy of it 0.01 ms, a frame through the camera 0.1 ms in all (one core of
    an x86 server): a soak is to load the runtime, not this.
    """

    def __init__(self, line: LineConfig, count: int) -> None:
        super().__init__()
        drawn = SyntheticLine(line)
        self._drawn: list[SyntheticFrame] = [drawn.frame(index) for index in range(count)]

    def take(self, index: int) -> Shot | None:
        frame = self._drawn[index % len(self._drawn)]
        return Shot(frame.image.copy(), name="", truth=frame.mask)


class SourcePictures(Pictures):
    """The frames of another source; one that ends is opened again, so that only planted faults are faults.

    Args:
        uri: of it, as open_source takes it.

    Raises:
        SourceError, DataError, ImageError: it does not open.
    """

    def __init__(self, uri: str) -> None:
        super().__init__()
        self._uri = uri
        self._changing = threading.Lock()
        self._closed = False
        self._source = self._open()
        self.live = self._source.live

    def take(self, index: int) -> Shot | None:  # noqa: ARG002  a source knows only its next
        for _ in range(2):
            frame = next(self._source, None)
            if frame is not None:
                return Shot(frame.image, frame.name, frame.truth, frame.t_monotonic, frame.source_state)
            with self._changing:
                if self._closed:
                    return None
                self._source.close()
                self._source = self._open()
        raise SourceError(f"{self._uri} gives no frame", mend="Check that it plays without chaos://")

    def close(self) -> None:
        with self._changing:
            self._closed = True
            source = self._source
        source.close()

    def _open(self) -> Source:
        from diffad_runtime.sources.opening import open_source  # noqa: PLC0415  which knows chaos://

        source = open_source(self._uri, supervise=False)
        self.problems = source.problems
        return source
