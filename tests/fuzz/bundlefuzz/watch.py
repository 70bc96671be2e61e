"""What an input did while it was read: the error and where it arose, files touched, memory, time.

Knows audit events, /proc and tracebacks. Does not know what was read.
"""

import os
import signal
import sys
import time
import traceback
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, TracebackType

from diffad_runtime.errors import DiffadError

HANG_S = 30.0
_LONGEST_MESSAGE = 2000
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_WATCHED = (
    "open",
    "os.",
    "shutil.",
    "subprocess.",
    "socket.",
    "ctypes.dlopen",
    "tempfile.",
    "pty.",
    "webbrowser.",
    "glob.",
)
_HARMLESS = frozenset({"os.listdir", "os.scandir", "glob.glob", "glob.glob/2", "os.fspath"})
_CODE = (".py", ".pyc", ".so")


class HangError(BaseException):
    """Not an Exception: nothing under test may catch it."""


@dataclass(slots=True)
class Seen:
    """What came of one input.

    Attributes:
        layer: that refused it; "accepted".
        message: of the refusal.
        faults: whatever must never be, one line each.
        cpu_s: seconds of this process.
        peak_mb: resident memory above what it was when the watch began, the most there was; NaN where it is not known.
        python_mb: of that what Python's allocators know, where it was asked for.
    """

    layer: str = "accepted"
    message: str = ""
    faults: list[str] = field(default_factory=list)
    cpu_s: float = 0.0
    peak_mb: float = float("nan")
    python_mb: float = float("nan")


class Watch:
    """Runs things and says what they did. One in a process, as audit hooks stay for good.

    Args:
        inside: folder whose files may be read.
    """

    def __init__(self, inside: Path) -> None:
        self._inside = str(inside)
        self._on = False
        self._touched: list[str] = []
        self._base_mb = _status_mb("VmRSS")
        sys.addaudithook(self._hook)

    def settle(self) -> None:
        """From now on memory is counted above what there is now: to be called when all is imported and warm."""
        self._base_mb = _status_mb("VmRSS")

    def run(self, work: Callable[[], object], *, python_memory: bool = False) -> Seen:
        """Run it, under watch."""
        seen = Seen()
        self._touched.clear()
        _forget_peak()
        if python_memory:
            tracemalloc.start()
        start = time.process_time()
        with _alarm():
            self._on = True
            try:
                work()
            except DiffadError as error:
                seen.layer, seen.message = layer_of(error), str(error)
                seen.faults += _faults_of_message(seen.message)
            except HangError:
                seen.layer, seen.faults = "hang", [f"did not end within {HANG_S:g} s"]
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt):
                    raise
                seen.layer, seen.message = "traceback", f"{type(error).__name__}: {error!s:.200}"
                seen.faults.append(f"{seen.message} at {_place(error)}")
            finally:
                self._on = False
        seen.cpu_s = time.process_time() - start
        if python_memory:
            seen.python_mb = tracemalloc.get_traced_memory()[1] / (1 << 20)
            tracemalloc.stop()
        seen.peak_mb = _status_mb("VmHWM") - self._base_mb
        seen.faults += self._touched
        return seen

    def _hook(self, event: str, args: tuple[object, ...]) -> None:
        if not self._on or not event.startswith(_WATCHED) or event in _HARMLESS:
            return
        if event == "open" and isinstance(args[0], str | bytes | os.PathLike):
            path, flags = os.fsdecode(args[0]), args[2] if isinstance(args[2], int) else 0
            writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
            if not writes and (path.startswith(self._inside) or path.endswith(_CODE)):
                return
            self._touched.append(f"{'wrote' if writes else 'read'} {path!r:.200}")
        elif event != "open":
            self._touched.append(f"{event} {args!r:.200}")


def layer_of(error: BaseException) -> str:
    """File and function in which the first refusal of a chain arose, as in "container.unpack"."""
    while isinstance(error.__cause__, DiffadError):
        error = error.__cause__
    return _place(error)


def _place(error: BaseException) -> str:
    trace: TracebackType | None = error.__traceback__
    for frame, _ in reversed(list(traceback.walk_tb(trace))):
        stem = Path(frame.f_code.co_filename)
        if "diffad_" in str(stem):
            return f"{stem.stem}.{frame.f_code.co_name}"
    return "elsewhere"


def _faults_of_message(message: str) -> list[str]:
    """A message is one line that a terminal shows as it is."""
    faults = []
    if len(message) > _LONGEST_MESSAGE:
        faults.append(f"message of {len(message)} characters: {message[:120]}")
    if not message.isprintable():
        faults.append(f"message that a terminal would act on: {message!r:.200}")
    return faults


@contextmanager
def _alarm() -> Iterator[None]:
    def ring(_signal: int, _frame: FrameType | None) -> None:
        raise HangError

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, HANG_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _forget_peak() -> None:
    with suppress(OSError):  # a kernel without it: the peak is then that of the whole run
        _CLEAR.write_text("5")


def _status_mb(name: str) -> float:
    try:
        line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(name))
    except (OSError, StopIteration):
        return float("nan")
    return int(line.split()[1]) / 1024
