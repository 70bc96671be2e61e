"""A folder in place of wires: a file for each line, for tests and for integrators who have no hardware yet.

Knows files. Does not know what is put out when.

FOLDER/ok holds "1" where the wire is high and "0" where it is low, as a voltmeter would see it: an active-low line that
is off reads 1. A reader never sees half a file. Levels are not worth a wait for the disk: nothing is synced.
"""

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from diffad_runtime.errors import InputError
from diffad_runtime.line.outputs.lines import Lines
from diffad_runtime.line.outputs.settings import Lines as Wired
from diffad_runtime.line.outputs.settings import Signal


class FileLines(Lines):
    """Lines as files.

    Args:
        folder: made where it is not there.
        wired: the signals, and which are active low.
    """

    def __init__(self, folder: Path, wired: Wired) -> None:
        self._folder = folder
        self._active_low = {signal: line.active_low for signal, line in wired.items()}

    def open(self) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self.set(dict.fromkeys(self._active_low, False))
        except OSError as error:
            raise InputError(
                f"cannot write output lines to {self._folder}: {error.strerror or error}",
                mend="Check the folder of [outputs] and its permissions",
            ) from error

    def set(self, levels: Mapping[Signal, bool]) -> None:
        for signal, on in levels.items():
            path = self._folder / signal.value
            temporary = path.with_name(f".{signal.value}.tmp")  # one process drives a line, as with a wire
            temporary.write_text(f"{int(on != self._active_low[signal])}\n", encoding="ascii")
            os.replace(temporary, path)  # noqa: PTH105  atomic, and says so

    def close(self) -> None:
        for signal in self._active_low:
            with suppress(OSError):
                (self._folder / f".{signal.value}.tmp").unlink(missing_ok=True)
