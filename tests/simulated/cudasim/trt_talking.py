"""What the simulated TensorRT says, and to whom: loggers and progress monitors, which programs derive from.

Knows that one logger serves the whole process, and that nothing may be thrown through C++. Does not know what is said.
"""

import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cudasim.misuse import Misuse
from cudasim.trt_names import Severity

if TYPE_CHECKING:
    from cudasim.machine import Machine


class ILogger:
    """Derive from it, and call its constructor."""

    _machine: "Machine"
    _made = False
    Severity = Severity
    INTERNAL_ERROR = Severity.INTERNAL_ERROR
    ERROR = Severity.ERROR
    WARNING = Severity.WARNING
    INFO = Severity.INFO
    VERBOSE = Severity.VERBOSE

    def __init__(self) -> None:
        self._made = True

    def log(self, severity: Severity, msg: str) -> None:  # noqa: ARG002
        raise self._machine.misuse("ILogger.log is not overridden: it is a pure virtual function")


class Logger(ILogger):
    """Writes to stderr."""

    def __init__(self, min_severity: Severity = Severity.WARNING) -> None:
        super().__init__()
        self.min_severity = min_severity

    def log(self, severity: Severity, msg: str) -> None:
        if int(severity) <= int(self.min_severity):
            print(f"[TRT] [{severity.name[0]}] {msg}", file=sys.stderr)


class IProgressMonitor:
    """Derive from it, and call its constructor."""

    _machine: "Machine"
    _made = False

    def __init__(self) -> None:
        self._made = True

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:  # noqa: ARG002
        raise self._machine.misuse("IProgressMonitor.phase_start is not overridden")

    def step_complete(self, phase_name: str, step: int) -> bool:  # noqa: ARG002
        raise self._machine.misuse("IProgressMonitor.step_complete is not overridden")

    def phase_finish(self, phase_name: str) -> None:  # noqa: ARG002
        raise self._machine.misuse("IProgressMonitor.phase_finish is not overridden")


def check_made(machine: "Machine", kind: type, value: Any) -> None:
    """A misuse where a program's class did not call the constructor of its base."""
    if not isinstance(value, kind):
        raise TypeError(f"incompatible constructor arguments: expected {kind.__name__}, got {type(value).__name__}")
    if not value._made:
        raise machine.misuse(f"{type(value).__name__}.__init__ did not call that of {kind.__name__}")


def take_logger(machine: "Machine", call: str, logger: Any) -> None:
    """The first logger is kept for the process; a misuse where another one is given later."""
    check_made(machine, ILogger, logger)
    if machine.logger is None:
        machine.logger = logger
    elif machine.logger is not logger:
        raise machine.misuse(f"{call}: another logger than the first, TensorRT goes on with the first")


def say(machine: "Machine", severity: Severity, text: str) -> None:
    """Tell the program."""
    machine.said.append((severity.name, text))
    if machine.logger is None:
        return
    try:
        machine.logger.log(severity, text)
    except Misuse:
        raise
    except BaseException as error:
        raise machine.misuse(f"the logger raised {type(error).__name__} into TensorRT") from error


def on_another_thread(work: Callable[[], Any]) -> Any:
    """Run it as TensorRT runs builds: on a thread of its own, and Ctrl-C is seen when the call is over."""
    got: list[Any] = []
    thrown: list[BaseException] = []

    def run() -> None:
        try:
            got.append(work())
        except BaseException as error:
            thrown.append(error)

    worker = threading.Thread(target=run, name="TensorRT builder", daemon=True)
    worker.start()
    pressed: KeyboardInterrupt | None = None
    while worker.is_alive():
        try:
            worker.join()
        except KeyboardInterrupt as error:
            pressed = error
    if thrown:
        raise thrown[0]
    if pressed is not None:
        raise pressed
    return got[0]
