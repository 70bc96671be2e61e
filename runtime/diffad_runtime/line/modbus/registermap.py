"""What lies at which address: the map that a PLC is programmed against. docs/modbus.md shows it, and a test compares.

Knows addresses, names, and how values become registers. Does not know what the values are, nor the protocol.

Addresses are those on the wire, from 0. Where a PLC's manual counts from 1, or writes 40001 and 30001, add that. A
meaning never moves within one MAP_VERSION; new fields take reserved places.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

MAP_VERSION: Final = 1

Kind = Literal["u16", "u32", "f32", "text"]
WordOrder = Literal["high-first", "low-first"]

NO_RECIPE: Final = 0xFFFF
"""In place of a recipe's index: there is none."""


@dataclass(frozen=True, slots=True)
class Field:
    """A place in the block that is read.

    Attributes:
        at: its first address.
        name: for the table, and for whoever fills it.
        kind: u16 one register, u32 and f32 (IEEE 754) two, text as many as `size`: two bytes each, the first one in the
            high byte, UTF-8, filled up with 0.
        size: registers.
    """

    at: int
    name: str
    kind: Kind = "u16"
    size: int = 1

    @property
    def addresses(self) -> str:
        """As in "22-23"."""
        return str(self.at) if self.size == 1 else f"{self.at}-{self.at + self.size - 1}"


READ: Final = (
    Field(0, "status"),
    Field(1, "heartbeat"),
    Field(2, "phase"),
    Field(3, "recipe"),
    Field(4, "request_error"),
    Field(5, "requests_refused"),
    Field(6, "trigger_taken"),
    Field(7, "open"),
    Field(8, "waiting"),
    Field(9, "acks_lost"),
    Field(10, "triggers_early"),
    Field(11, "map_version"),
    Field(12, "beat_ms"),
    Field(16, "result_number"),
    Field(17, "verdict"),
    Field(18, "code"),
    Field(19, "reject"),
    Field(20, "result_trigger"),
    Field(21, "result_recipe"),
    Field(22, "job", "u32", 2),
    Field(24, "score", "f32", 2),
    Field(26, "threshold", "f32", 2),
    Field(28, "defects"),
    Field(29, "latency_ms"),
    Field(30, "result_part", "text", 16),
    Field(48, "count_ok", "u32", 2),
    Field(50, "count_ng", "u32", 2),
    Field(52, "count_error", "u32", 2),
    Field(54, "duplicates", "u32", 2),
    Field(56, "last_job", "u32", 2),
    Field(58, "model_version", "u32", 2),
    Field(60, "model_id", "text", 16),
    Field(76, "station", "text", 16),
    Field(92, "bundle_digest", "text", 8),
    Field(100, "run_id", "text", 8),
)
"""Input registers, and holding registers MIRROR further up. One request fetches them all, from one moment."""

READ_SIZE: Final = 108
MIRROR: Final = 100

STATUS_BITS: Final = (
    "trigger_ready",
    "results_ready",
    "ok",
    "ng",
    "error",
    "reject",
    "heartbeat",
    "ready",
    "fault",
    "request_refused",
    "plc_silent",
)
"""Discrete inputs from 0; the same as bits of `status`, bit 0 first."""

BITS_SIZE: Final = 16

COIL_TRIGGER: Final = 0
COIL_ACK: Final = 1
COILS_SIZE: Final = 8

CONTROL: Final = 0
"""Holding register: bit COIL_TRIGGER and bit COIL_ACK are the two coils, for PLCs that only write registers."""
TRIGGER_NUMBER: Final = 1
ACK_NUMBER: Final = 2
RECIPE: Final = 3
PLC_HEARTBEAT: Final = 4
PART_ID: Final = 8
PART_ID_SIZE: Final = 16
WRITE_SIZE: Final = 24

WRITTEN: Final = {
    "0": "control",
    "1": "trigger_number",
    "2": "ack_number",
    "3": "recipe_wanted",
    "4": "plc_heartbeat",
    "8-23": "part_id",
}
"""Holding registers that are written, for the document."""

VERDICTS: Final = {"OK": 1, "NG": 2, "ERROR": 3}
PHASES: Final = {"starting": 0, "ready": 1, "fault": 2, "stopped": 3}


def registers(values: Mapping[str, int | float | str], order: WordOrder) -> tuple[int, ...]:
    """The block that is read.

    Args:
        values: by the fields' names; what is missing reads 0. Counters of one register go on at 0 after 65535, and
            text that is too long ends at a whole character.
        order: of the words of u32 and f32.
    """
    block = [0] * READ_SIZE
    for field in READ:
        if (value := values.get(field.name)) is not None:
            block[field.at : field.at + field.size] = _encoded(field, value, order)
    return tuple(block)


def _encoded(field: Field, value: int | float | str, order: WordOrder) -> list[int]:
    if field.kind == "u16":
        return [int(value) & 0xFFFF]
    if field.kind == "text":
        return text_registers(str(value), field.size)
    data = _float32(float(value)) if field.kind == "f32" else struct.pack(">I", int(value) & 0xFFFFFFFF)
    words = list(struct.unpack(">2H", data))
    return words if order == "high-first" else words[::-1]


def _float32(value: float) -> bytes:
    try:
        return struct.pack(">f", value)
    except OverflowError:  # finite, but beyond what 32 bits hold
        return struct.pack(">f", float("inf") if value > 0 else float("-inf"))


def text_registers(text: str, size: int) -> list[int]:
    """UTF-8, at most 2 * size bytes, the first byte of a pair in the high byte; the rest is 0."""
    data = text.encode("utf-8", "replace")[: 2 * size].decode("utf-8", "ignore").encode()
    return list(struct.unpack(f">{size}H", data.ljust(2 * size, b"\0")))


def text_of(values: list[int]) -> str:
    """What a PLC wrote: up to the first 0, without spaces around it, and with "?" for whatever cannot be printed."""
    data = struct.pack(f">{len(values)}H", *values).split(b"\0", 1)[0]
    text = data.decode("utf-8", "replace").strip()
    return "".join(letter if letter.isprintable() and letter != "\ufffd" else "?" for letter in text)
