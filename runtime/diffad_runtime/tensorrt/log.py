"""What TensorRT says while it works.

Knows severities and keeps the last lines. Does not know what they mean (messages.py).

TensorRT has one logger for the whole process: the first that it is given gets all that later objects say. So there is
one here too, and whoever wants to know what one call said listens while it runs.
"""

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from diffad_runtime.errors import EngineError

_KEPT = 200
_lock = threading.Lock()
_loggers: dict[Any, Any] = {}


class Heard:
    """Lines of one stretch of work, oldest first; the last few hundred of them.

    Attributes:
        errors: at ERROR or worse.
        lines: at WARNING or worse.
    """

    def __init__(self) -> None:
        self.errors: deque[str] = deque(maxlen=_KEPT)
        self.lines: deque[str] = deque(maxlen=_KEPT)

    def last(self, count: int = 3) -> str:
        """The last lines as one, for a message; of errors where there are any."""
        chosen = list(self.errors or self.lines)[-count:]
        return "; ".join(" ".join(line.split()) for line in chosen)


def logger_for(trt: Any) -> Any:
    """The logger to give to Builder, OnnxParser and Runtime of this module; the same every time."""
    with _lock:
        if trt not in _loggers:
            _loggers[trt] = _make(trt)
        return _loggers[trt]


@contextmanager
def listening(trt: Any) -> Iterator[Heard]:
    """What is logged while the block runs, by whichever thread."""
    logger, heard = logger_for(trt), Heard()
    with _lock:
        logger.listeners.append(heard)
    try:
        yield heard
    finally:
        with _lock:
            logger.listeners.remove(heard)


def not_started(heard: Heard, error: Exception) -> EngineError:
    """TensorRT gave no builder or runtime at all: the driver is broken, or of another CUDA."""
    return EngineError(
        f"TensorRT does not start: {heard.last() or ' '.join(str(error).split())[:200]}",
        mend="Check the driver with 'diffad-edge doctor --backend tensorrt', then restart the program",
    )


def _make(trt: Any) -> Any:
    levels = trt.ILogger.Severity
    errors = {levels.ERROR, levels.INTERNAL_ERROR}
    kept = errors | {levels.WARNING}

    class Log(trt.ILogger):  # type: ignore[misc]  # its base is known only where TensorRT is installed
        def __init__(self) -> None:
            super().__init__()
            self.listeners: list[Heard] = []

        def log(self, severity: Any, message: str) -> None:
            # No lock: called from TensorRT's threads, also while another thread waits for one of them.
            if severity not in kept:
                return
            for heard in tuple(self.listeners):
                heard.lines.append(message)
                if severity in errors:
                    heard.errors.append(message)

    return Log()
