"""The last parts that were NG or ERROR: a small picture of each and what was said of it.

Knows how many are kept. Does not know who looks at them. Pictures are shrunk when the part comes, or a frame of 6 MB
would stay alive for each; they are encoded when somebody looks, once.
"""

import threading
from collections import OrderedDict
from dataclasses import dataclass

from diffad_runtime.preview.layers import Encoded, Layers, layers_of
from diffad_runtime.result import Frame, Result


@dataclass(slots=True)
class Reject:
    """One part.

    Attributes:
        number: of the result within the run; its key.
        result: without its arrays.
        at: when its picture was taken, seconds on the monotonic clock.
    """

    number: int
    result: Result
    at: float
    layers: Layers
    encoded: Encoded | None = None


class Rejects:
    """Bounded; the oldest goes. For any thread."""

    def __init__(self, most: int, longest: int, quality: int) -> None:
        self._most, self._longest, self._quality = most, longest, quality
        self._kept: OrderedDict[int, Reject] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, number: int, frame: Frame, result: Result, bare: Result) -> None:
        """Keep a part; `bare` is its result without arrays."""
        reject = Reject(number, bare, frame.t_monotonic, layers_of(frame, result, self._longest))
        with self._lock:
            self._kept[number] = reject
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)

    def newest_first(self) -> list[Reject]:
        """All that are kept."""
        with self._lock:
            return list(reversed(self._kept.values()))

    def encoded(self, number: int) -> Encoded | None:
        """One of them for the page; None where it has gone."""
        with self._lock:
            reject = self._kept.get(number)
        if reject is None:
            return None
        if reject.encoded is None:
            reject.encoded = reject.layers.encode(self._quality)
            reject.layers = _NOTHING  # it is kept as JPEG from now on
        return reject.encoded


_NOTHING = Layers(None, None, [], 0, 0)
