"""The table [modbus] of line.toml.

Knows names, types and limits. Opens nothing.

    [modbus]
    host = "0.0.0.0"                where to listen; 127.0.0.1 unless told otherwise: the protocol has no password
    writers = ["10.0.7.0/24"]       who may write: trigger, acknowledge, choose recipes; all where it is empty
    ack_timeout_s = 5.0             an outcome that nobody acknowledges is given up
    plc_watchdog_s = 2.0            the PLC's heartbeat must move so often
"""

from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from diffad_runtime.line.settings import Strict


class ModbusSettings(Strict):
    """Settings of the Modbus TCP server.

    Attributes:
        host, port: where it listens; "0.0.0.0" or "::" for all addresses of this machine. 502 is the standard's port,
            and needs a right that services do not have by themselves (docs/modbus.md). 0: the system chooses.
        unit_id: that it answers to, beside 0 and 255, by which clients mean whoever is at the address; "any": to all.
        writers: networks or addresses whose clients may write; empty: all may. All may read.
        word_order: of values with two registers. "high-first": the register at the lower address has the high word.
        ack_timeout_s, gap_ms, plc_watchdog_s: as in line/handshake.py.
        results: "own": outcomes of parts that were triggered here; "all": also those of other channels.
        clients: connected at once; one more sends away who never asked for anything, or who has been silent
            for longest, if it is 5 s; otherwise it is sent away itself.
    """

    host: Annotated[str, StringConstraints(min_length=1, max_length=253)] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 502
    unit_id: Annotated[int, Field(ge=1, le=247)] | Literal["any"] = 1
    writers: tuple[IPv4Network | IPv6Network, ...] = ()
    word_order: Literal["high-first", "low-first"] = "high-first"
    ack_timeout_s: Annotated[float, Field(ge=0.05, le=3600)] = 5.0
    gap_ms: Annotated[float, Field(ge=0, le=10_000)] = 0.0
    plc_watchdog_s: Annotated[float, Field(ge=0.1, le=3600)] | None = None
    results: Literal["own", "all"] = "own"
    clients: Annotated[int, Field(ge=1, le=64)] = 8
