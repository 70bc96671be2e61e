"""A function as a sink. Knows the call. Does not know threads: it is called on the sink's own."""

from collections.abc import Callable

from diffad_runtime.result import Frame, Result
from diffad_runtime.sinks.base import Sink


class CallbackSink(Sink):
    """Calls a function with every frame and its result, one after the other, on one thread that is not the judge's.

    What it raises is counted as a fault of this sink. It must neither write to the arrays nor keep many of them: each
    frame that it holds on to is 6 MB at 1080p.

    Args:
        function: called with (frame, result).
        name: for messages; "" is the function's own.
    """

    def __init__(self, function: Callable[[Frame, Result], object], name: str = "") -> None:
        self.name = name or f"callback {getattr(function, '__qualname__', type(function).__name__)}"
        self._function = function

    def write(self, frame: Frame, result: Result) -> None:
        self._function(frame, result)

    def close(self) -> None:
        pass
