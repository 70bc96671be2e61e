"""Pins of a Jetson's 40-pin header, through NVIDIA's Jetson.GPIO, by the numbers printed on the board.

Knows that package. Does not know what is put out when.

It sets one pin after the other: ERROR changes before NG and OK, so that whoever waits for an edge of NG finds ERROR as
it belongs to it. It knows no active-low pins: levels are turned round here.
"""

import importlib
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from diffad_runtime.errors import InputError
from diffad_runtime.line.outputs.lines import Lines
from diffad_runtime.line.outputs.settings import Lines as Wired
from diffad_runtime.line.outputs.settings import Signal


class JetsonPins(Lines):
    """Pins of the header.

    Args:
        wired: the signals, by BOARD number.
    """

    def __init__(self, wired: Wired) -> None:
        self._wired = dict(wired.items())
        self._gpio: Any = None

    def open(self) -> None:
        pins = [one.line for one in self._wired.values()]
        try:
            gpio = importlib.import_module("Jetson.GPIO")
            gpio.setmode(gpio.BOARD)
            gpio.setup(pins, gpio.OUT, initial=[int(one.active_low) for one in self._wired.values()])
        except ImportError as error:
            raise InputError(  # no extra brings it: elsewhere than on a Jetson it does not even import
                "driving the pins of a Jetson needs the package 'Jetson.GPIO', which is not installed",
                mend="Run: pip install Jetson.GPIO",
            ) from error
        except Exception as error:  # it raises bare Exception where the board is not one that it knows
            raise InputError(
                f"cannot have the pins {', '.join(map(str, pins))}: {error}",
                mend="This needs a Jetson, rights to its /dev/gpiochip0, and pins that nobody else has",
            ) from error
        self._gpio = gpio

    def set(self, levels: Mapping[Signal, bool]) -> None:
        if self._gpio is None:
            raise OSError("the pins are not open")
        pins = [self._wired[signal].line for signal in levels]
        values = [int(on != self._wired[signal].active_low) for signal, on in levels.items()]
        try:
            self._gpio.output(pins, values)
        except OSError:
            raise
        except Exception as error:  # another part of the program has changed the pins
            raise OSError(f"the pins could not be set: {error}") from error

    def close(self) -> None:
        gpio, self._gpio = self._gpio, None
        if gpio is not None:
            with suppress(Exception):
                gpio.cleanup([one.line for one in self._wired.values()])
