"""What goes wrong on purpose.

Knows what was asked for and how often. Does not know what a fault looks like to a program (the faces do).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

NO_DRIVER = "cuInit failed: no CUDA-capable device is detected"
"""What pycuda says on a machine without a GPU."""

_TEXTS = {
    "LaunchError": "unspecified launch failure",
    "MemoryError": "out of memory",
    "LogicError": "invalid argument",
    "RuntimeError": "unknown error",
}


@dataclass
class CudaFault:
    """A call that fails.

    Attributes:
        kind: the class in pycuda.driver.
        sticky: all calls after it fail as well, as after a kernel that crashed.
        after: calls that go well before.
    """

    name: str
    kind: str
    text: str
    times: int
    sticky: bool
    after: int


@dataclass
class _Some:
    times: int
    lines: tuple[str, ...]


@dataclass
class _Wrong:
    which: Callable[[bytes], bool]
    scale: float
    nan: bool


class Faults:
    """Ask for one before the program runs; ask again for another. `times=-1` is for ever."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """All goes well from now on; a device that was lost stays lost."""
        self._cuda: list[CudaFault] = []
        self._counted: dict[str, _Some] = {}
        self._parser: list[tuple[str, str, str, str]] = []
        self._wrong: list[_Wrong] = []
        self._steps: list[Callable[[int, str], None]] = []
        self._press_after: int | None = None
        self.step_s = 0.0
        self.without_gpu = ""

    def parser_errors(self, errors: Sequence[tuple[str, str, str, str]]) -> None:
        """The parser refuses every graph, with these: (node, operator, text, name of an ErrorCode)."""
        self._parser = list(errors)

    def build_fails(self, log: Sequence[str] = (), times: int = 1) -> None:
        """The builder logs these as errors and gives None."""
        self._counted["build"] = _Some(times, tuple(log))

    def deserialise_none(self, times: int = 1, log: Sequence[str] = ()) -> None:
        """Plans are not taken back."""
        self._counted["deserialise"] = _Some(times, tuple(log))

    def no_execution_context(self, times: int = 1, log: Sequence[str] = ()) -> None:
        """Engines are, but give no execution context: no memory for it."""
        self._counted["context"] = _Some(times, tuple(log))

    def execute_false(self, times: int = 1, log: Sequence[str] = ()) -> None:
        """execute_async_v3 gives False."""
        self._counted["execute"] = _Some(times, tuple(log))

    def capture_fails(self, times: int = 1) -> None:
        """The end of a capture says that it was invalidated."""
        self._counted["capture"] = _Some(times, ())

    def cuda_error_on(
        self,
        name: str,
        kind: str = "LaunchError",
        text: str = "",
        times: int = 1,
        *,
        sticky: bool = False,
        after: int = 0,
    ) -> None:
        """A call of pycuda raises, one of cuda-bindings gives the status of it.

        Args:
            name: as `Machine.names` gives it, as in "mem_alloc", "Stream.synchronize", "cuGraphLaunch".
            text: the driver's; None: the usual one.
        """
        self._cuda.append(CudaFault(name, kind, text or _TEXTS[kind], times, sticky, after))

    def no_gpu(self, text: str = NO_DRIVER) -> None:
        """cuda.init raises."""
        self.without_gpu = text

    def wrong_numbers(
        self, which: Callable[[bytes], bool] = lambda _: True, *, scale: float = 1.0, nan: bool = False
    ) -> None:
        """Engines of these graphs give their floats times `scale`, and a NaN."""
        self._wrong.append(_Wrong(which, scale, nan))

    def cancel_after(self, steps: int) -> None:
        """Ctrl-C is pressed at that step of the next build, from 1."""
        self._press_after = steps

    def on_step(self, callback: Callable[[int, str], None]) -> None:
        """Called with (steps told so far, phase) before each step of a build is told; on TensorRT's thread."""
        self._steps.append(callback)

    def slow_steps(self, seconds: float) -> None:
        """Each step of a build takes so long."""
        self.step_s = seconds

    # What the faces ask.

    def take_cuda(self, name: str) -> CudaFault | None:
        """The fault of this call, used up by asking."""
        for fault in self._cuda:
            if fault.name == name and fault.times:
                if fault.after:
                    fault.after -= 1
                    continue
                fault.times -= 1
                return fault
        return None

    def take(self, what: str) -> tuple[str, ...] | None:
        """Lines to log where it fails, else None."""
        some = self._counted.get(what)
        if some is None or not some.times:
            return None
        some.times -= 1
        return some.lines

    def of_parser(self) -> list[tuple[str, str, str, str]]:
        return self._parser

    def wrong(self, onnx: bytes) -> tuple[float, bool]:
        """(Factor, whether there is a NaN) for a graph's outputs."""
        scale, nan = 1.0, False
        for one in self._wrong:
            if one.which(onnx):
                scale, nan = scale * one.scale, nan or one.nan
        return scale, nan

    def step(self, done: int, phase: str) -> bool:
        """Tell who wants to know; True: press Ctrl-C."""
        for callback in self._steps:
            callback(done, phase)
        if self._press_after is not None and done >= self._press_after:
            self._press_after = None
            return True
        return False
