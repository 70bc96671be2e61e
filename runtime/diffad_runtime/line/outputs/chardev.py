"""Lines of a GPIO chip of the kernel, through libgpiod 2 and its Python package gpiod.

Knows that package. Does not know what is put out when.

All lines are one request: they change in one call, and nobody else can have them. The kernel turns active-low lines
round. What a line does when the request is gone, also by SIGKILL, is up to the chip's driver (docs/outputs.md).
"""

from collections.abc import Mapping
from typing import Any

from diffad_runtime.errors import InputError, MissingExtraError
from diffad_runtime.line.outputs.lines import Lines
from diffad_runtime.line.outputs.settings import Lines as Wired
from diffad_runtime.line.outputs.settings import Signal


class ChardevLines(Lines):
    """Lines of a character device.

    Args:
        chip: path of the device.
        wired: the signals, by offset or name.
    """

    def __init__(self, chip: str, wired: Wired) -> None:
        self._chip = chip
        self._wired = dict(wired.items())
        self._request: Any = None
        self._values: tuple[Any, Any] = (None, None)

    def open(self) -> None:
        try:
            import gpiod  # noqa: PLC0415  only where lines are wanted
        except ImportError as error:
            raise MissingExtraError("gpiod", extra="line", purpose="driving lines of a GPIO chip") from error
        if not hasattr(gpiod, "request_lines"):
            raise InputError(
                f"the package gpiod is {getattr(gpiod, '__version__', 'of libgpiod 1')}, expected 2 or newer",
                mend="Run: pip install 'gpiod>=2'; that of Debian 12 and JetPack 6 (python3-libgpiod) is older",
            )
        line = gpiod.line
        self._values = (line.Value.INACTIVE, line.Value.ACTIVE)
        config: dict[Any, Any] = {
            one.line: gpiod.LineSettings(
                direction=line.Direction.OUTPUT, active_low=one.active_low, output_value=line.Value.INACTIVE
            )
            for one in self._wired.values()
        }
        try:
            self._request = gpiod.request_lines(self._chip, config=config, consumer="diffad-edge")
        except (OSError, ValueError) as error:
            names = ", ".join(str(one.line) for one in self._wired.values())
            raise InputError(
                f"cannot have the lines {names} of {self._chip}: {getattr(error, 'strerror', None) or error}",
                mend="Look with gpioinfo who has them; check [outputs.lines], and who may open the device",
            ) from error

    def set(self, levels: Mapping[Signal, bool]) -> None:
        if self._request is None:
            raise OSError("the lines are not open")
        self._request.set_values({self._wired[signal].line: self._values[on] for signal, on in levels.items()})

    def close(self) -> None:
        request, self._request = self._request, None
        if request is not None:
            request.release()
