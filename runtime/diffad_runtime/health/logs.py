"""Lines on stderr about what happens, for people, for machines, or for the journal; a flood of the same is counted.

Knows formats and repeats. Does not know what is worth a line.

An error for every frame is 100 lines a second and a full disk by the morning. Lines of one logger, level and event (or
text before its arguments are filled in) are the same: the first goes out, those of the minute after it are counted, and
the count goes out with whatever line comes next after that minute, or at the end.
"""

import logging
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from json import dumps
from typing import Any, Final, TextIO

from diffad_runtime.errors import InputError

ROOTS: Final = ("diffad_runtime", "diffad_calibration", "diffad_export", "diffad_edge")
EVERY_S: Final = 60.0
_MOST_KINDS = 256
_EVENT, _FIELDS = "diffad_event", "diffad_fields"
# sd-daemon(3): what journald takes as the priority of a line.
_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (0, 7))
_LEVELS: Final = ("debug", "info", "warning", "error", "critical")


def configure(
    *,
    json: bool = False,
    level: str = "info",
    journald: bool = False,
    stream: TextIO | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Send the lines of this product's loggers to stderr, by one handler; called again, it replaces the one before.

    Args:
        json: a JSON object a line: time (UTC, ISO 8601), level, logger, event, message, and the event's own fields.
        level: "debug", "info", "warning", "error" or "critical"; what is below it is not written.
        journald: begin each line with "<priority>", which journald takes away and understands.
        stream: instead of stderr.
        clock: seconds, for repeats.

    Raises:
        InputError: an unknown level.
    """
    if level.lower() not in _LEVELS:
        raise InputError(f"unknown level of log lines {level!r}", mend=f"Use one of {', '.join(_LEVELS)}")
    handler = _Handler(stream or sys.stderr, as_json=json, journald=journald, clock=clock)
    for name in ROOTS:
        logger = logging.getLogger(name)
        for old in [old for old in logger.handlers if isinstance(old, _Handler)]:
            logger.removeHandler(old)
            old.close()
        logger.addHandler(handler)
        logger.setLevel(level.upper())
        # Whoever embeds this product and calls basicConfig would see each line twice.
        logger.propagate = False


def event(logger: logging.Logger, level: int, name: str, text: str, **fields: Any) -> None:
    """Log one thing that happened.

    Args:
        logger: of the module.
        level: as logging.ERROR.
        name: what it is, for machines, as in "camera_lost"; repeats of one name are counted.
        text: a line for people.
        fields: for machines; whatever JSON does not know is written as text.
    """
    logger.log(level, "%s", text, extra={_EVENT: name, _FIELDS: fields})


class _Handler(logging.Handler):
    """Counts repeats, formats and writes. logging calls `emit` under the handler's own lock."""

    def __init__(self, stream: TextIO, *, as_json: bool, journald: bool, clock: Callable[[], float]) -> None:
        super().__init__()
        self._stream = stream
        self._line = _json_line if as_json else _text_line
        self._journald = journald
        self._clock = clock
        self._seen: OrderedDict[tuple[str, int, str], _Repeats] = OrderedDict()

    def emit(self, record: logging.LogRecord) -> None:
        """A line that cannot be written is lost: it ends no inspection, and there is nowhere to say so."""
        with suppress(OSError, ValueError):
            now = self._clock()
            self._settle(now)
            key = (record.name, record.levelno, str(getattr(record, _EVENT, record.msg)))
            if key in self._seen:
                repeats = self._seen[key]
                repeats.held, repeats.last = repeats.held + 1, record
                return
            self._seen[key] = _Repeats(now, record)
            self._write(record)
            if len(self._seen) > _MOST_KINDS:
                self._tell(self._seen.popitem(last=False)[1], now)

    def flush(self) -> None:
        """Write what was counted so far."""
        with self._held(), suppress(OSError, ValueError):
            for repeats in self._seen.values():
                self._tell(repeats, self._clock())
            self._stream.flush()

    def close(self) -> None:
        """Flush; the stream belongs to somebody else."""
        self.flush()
        super().close()

    @contextmanager
    def _held(self) -> Iterator[None]:
        self.acquire()
        try:
            yield
        finally:
            self.release()

    def _settle(self, now: float) -> None:
        """Tell of those whose minute is over; one that did not come again within it is forgotten."""
        while self._seen:
            key, repeats = next(iter(self._seen.items()))
            if now - repeats.since < EVERY_S:
                return
            del self._seen[key]
            if repeats.held:
                self._tell(repeats, now)
                self._seen[key] = repeats

    def _tell(self, repeats: "_Repeats", now: float) -> None:
        if repeats.held:
            self._write(repeats.last, f"{repeats.held} more in {max(1.0, now - repeats.since):.0f} s", repeats.held)
            repeats.held, repeats.since = 0, now

    def _write(self, record: logging.LogRecord, more: str = "", repeats: int = 0) -> None:
        line = self._line(record, more, repeats)
        if self._journald:
            priority = next(number for level, number in _PRIORITIES if record.levelno >= level)
            line = f"<{priority}>{line}"
        self._stream.write(line + "\n")
        self._stream.flush()


@dataclass(slots=True)
class _Repeats:
    """Of one kind of line: since when they are counted, the newest, and how many were held back."""

    since: float
    last: logging.LogRecord
    held: int = 0


def _text_line(record: logging.LogRecord, more: str, _: int) -> str:
    stamp = datetime.fromtimestamp(record.created, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    text = _message(record) + (f" ({more})" if more else "")
    return f"{stamp} {record.levelname.lower()} {record.name}: {text}"


def _json_line(record: logging.LogRecord, _: str, repeats: int) -> str:
    stamp = datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds")
    known: dict[str, Any] = {
        "time": stamp.replace("+00:00", "Z"),
        "level": record.levelname.lower(),
        "logger": record.name,
        "event": getattr(record, _EVENT, "message"),
        "message": _message(record),
    }
    if repeats:
        known["repeats"] = repeats
    # The line's own keys win: a field of the same name may not change what a reader looks for.
    return dumps({**getattr(record, _FIELDS, {}), **known}, default=str)


def _message(record: logging.LogRecord) -> str:
    """On one line, with the exception's own words where there is one."""
    try:
        text = record.getMessage()
    except (TypeError, ValueError):  # arguments that do not fit the text
        text = str(record.msg)
    error = record.exc_info[1] if record.exc_info else None
    return " ".join((f"{text}: {type(error).__name__}: {error}" if error else text).split())
