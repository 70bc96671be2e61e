"""The table [outputs] of line.toml.

Knows names, types and limits. Opens nothing.

    [outputs]
    backend = "gpiod"               or "jetson" (Jetson.GPIO, BOARD pins), or "file" (a folder in place of wires)
    chip = "/dev/gpiochip0"
    pulse_ms = 50                   "latched": until the next verdict
    gap_ms = 10
    [outputs.lines]
    ok = { line = 17 }
    ng = { line = 27, active_low = true }
    ready = { line = "PIN_22" }     gpiod also knows lines by name
    heartbeat = { line = 23 }
"""

from enum import Enum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator
from typing_extensions import Self

from diffad_runtime.line.settings import Strict


class Signal(str, Enum):
    """What a line says. OK, NG and ERROR are verdicts; ERROR raises NG too. READY and HEARTBEAT are the station's."""

    OK = "ok"
    NG = "ng"
    ERROR = "error"
    READY = "ready"
    HEARTBEAT = "heartbeat"


Offset = Annotated[int, Field(ge=0, le=4095)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=31)]


class LineAt(Strict):
    """One line.

    Attributes:
        line: its offset or name (gpiod), its BOARD pin (jetson); not needed for files, which are named by the signal.
        active_low: the wire is low where the signal is on.
    """

    line: Offset | Name | None = None
    active_low: bool = False


class Lines(Strict):
    """Which signals have a line; the others are not put out."""

    ok: LineAt | None = None
    ng: LineAt | None = None
    error: LineAt | None = None
    ready: LineAt | None = None
    heartbeat: LineAt | None = None

    def items(self) -> tuple[tuple[Signal, LineAt], ...]:
        """Those that have one."""
        found = [(signal, getattr(self, signal.value)) for signal in Signal]
        return tuple((signal, line) for signal, line in found if line is not None)


class OutputsSettings(Strict):
    """Settings of the digital outputs.

    Attributes:
        backend: what drives the lines.
        chip: of gpiod.
        folder: of files; made where it is not there.
        pulse_ms: how long a verdict stands; "latched": until the next one.
        gap_ms: two verdicts are never closer than this: an edge is low for so long before it, and a pulse that is cut
            short by the next verdict was high for so long.
        lines: see above; at least one.
    """

    backend: Literal["gpiod", "jetson", "file"]
    chip: Annotated[str, StringConstraints(min_length=1, max_length=200)] = "/dev/gpiochip0"
    folder: Path | None = None
    pulse_ms: Annotated[float, Field(ge=1, le=60_000)] | Literal["latched"] = 50.0
    gap_ms: Annotated[float, Field(ge=1, le=10_000)] = 10.0
    lines: Lines

    @model_validator(mode="after")
    def _fits(self) -> Self:
        wired = self.lines.items()
        if not wired:
            raise ValueError("no line in [outputs.lines], expected at least one of ok, ng, error, ready, heartbeat")
        if self.backend == "file":
            if self.folder is None:
                raise ValueError('backend "file" needs a folder')
            return self
        numbers = [line.line for _, line in wired]
        for (signal, _), number in zip(wired, numbers, strict=True):
            if number is None or (self.backend == "jetson" and not isinstance(number, int)):
                raise ValueError(f"lines.{signal.value} needs a line, as in {{ line = 17 }}, got {number!r}")
        if len(set(numbers)) < len(numbers):
            raise ValueError(f"a line can carry one signal, got {numbers}")
        return self
