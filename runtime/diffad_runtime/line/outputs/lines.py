"""What every kind of output line promises.

Knows the three calls. Does not know what is put out when (pattern.py), nor threads: one at a time calls (adapter.py).
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping

from diffad_runtime.line.outputs.settings import OutputsSettings, Signal


class Lines(ABC):
    """Output lines of one kind. Making it touches nothing."""

    @abstractmethod
    def open(self) -> None:
        """Take the lines, all off, without a moment in which one is on. Again after `close`.

        Raises:
            InputError: they cannot be had: not there, taken by another program, no permission.
            MissingExtraError: its package is not installed; InputError where no extra brings it.
        """

    @abstractmethod
    def set(self, levels: Mapping[Signal, bool]) -> None:
        """Drive these lines; others stay. Where the hardware cannot do it in one go, in the order given.

        Raises:
            OSError: the hardware refused.
        """

    @abstractmethod
    def close(self) -> None:
        """Give the lines back. Twice is harmless; raises nothing."""


def make_lines(settings: OutputsSettings) -> Lines:
    """Of the kind that the settings ask for."""
    # Each kind is imported only where it is used: its package may not be there.
    if settings.backend == "gpiod":
        from diffad_runtime.line.outputs.chardev import ChardevLines  # noqa: PLC0415

        return ChardevLines(settings.chip, settings.lines)
    if settings.backend == "jetson":
        from diffad_runtime.line.outputs.jetsonpins import JetsonPins  # noqa: PLC0415

        return JetsonPins(settings.lines)
    from diffad_runtime.line.outputs.files import FileLines  # noqa: PLC0415

    assert settings.folder is not None  # so say the settings
    return FileLines(settings.folder, settings.lines)
