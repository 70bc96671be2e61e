"""pymodbus: requests out of bytes, answers into bytes. The only file that knows that package.

Knows function codes and which exception says what. Does not know sockets, nor what lies at an address (bank.py).

Of pymodbus only the messages are used: each function's request, with its checks, and the answer that it makes of a data
store. These are asked for values and never wait, so that one call answers one request, with nothing in between. Its
server is not used: see server.py. Tried with pymodbus 3.15.0 and 3.16.1; 3.12.1 lets some wrong lengths pass, and
before 3.12 `datastore_update` has another name.
"""

import struct
from collections.abc import Callable, Coroutine
from typing import Any, Final

from pymodbus.constants import ExcCodes
from pymodbus.exceptions import ModbusException
from pymodbus.pdu.bit_message import (
    ReadCoilsRequest,
    ReadDiscreteInputsRequest,
    WriteMultipleCoilsRequest,
    WriteSingleCoilRequest,
)
from pymodbus.pdu.pdu import ModbusPDU
from pymodbus.pdu.register_message import (
    MaskWriteRegisterRequest,
    ReadHoldingRegistersRequest,
    ReadInputRegistersRequest,
    ReadWriteMultipleRegistersRequest,
    WriteMultipleRegistersRequest,
    WriteSingleRegisterRequest,
)

from diffad_runtime.line.modbus.bank import Bank, Written

_REQUESTS: Final[dict[int, type[ModbusPDU]]] = {
    1: ReadCoilsRequest,
    2: ReadDiscreteInputsRequest,
    3: ReadHoldingRegistersRequest,
    4: ReadInputRegistersRequest,
    5: WriteSingleCoilRequest,
    6: WriteSingleRegisterRequest,
    15: WriteMultipleCoilsRequest,
    16: WriteMultipleRegistersRequest,
    22: MaskWriteRegisterRequest,
    23: ReadWriteMultipleRegistersRequest,
}
WRITES: Final = frozenset({5, 6, 15, 16, 22, 23})
_LENGTHS: Final = {1: 5, 2: 5, 3: 5, 4: 5, 5: 5, 6: 5, 22: 7}
_TABLES: Final = {1: "c", 2: "d", 3: "h", 4: "i", 6: "h", 16: "h", 22: "h", 23: "h", 5: "c", 15: "c"}
_COIL_VALUES: Final = (b"\x00\x00", b"\xff\x00")


def answered(request: bytes, bank: Bank, may_write: bool, written: Callable[[Written], None]) -> bytes:
    """The answer to one request, both without their header.

    Args:
        request: function code and data, at least one byte.
        bank: read and written.
        may_write: this client may.
        written: told what a write said, after it is done and before the answer is made.

    Returns:
        an answer, or an exception: 1 the function is not there, or not for this client; 2 an address is not there, or
        not to be written; 3 a value or length that the function does not allow.
    """
    function = request[0]
    if function not in _REQUESTS or (function in WRITES and not may_write):
        return refusal(function, int(ExcCodes.ILLEGAL_FUNCTION))
    if len(request) != _LENGTHS.get(function, len(request)) or (function == 5 and request[3:5] not in _COIL_VALUES):
        return refusal(function, int(ExcCodes.ILLEGAL_VALUE))
    asked = _REQUESTS[function]()
    try:
        asked.decode(request[1:])
    except (ValueError, IndexError, struct.error, ModbusException):  # too short, or a count that is not allowed
        return refusal(function, int(ExcCodes.ILLEGAL_VALUE))
    # pymodbus would write first, and only then see that there is nothing to read.
    both = asked if isinstance(asked, ReadWriteMultipleRegistersRequest) else None
    if both is not None and bank.read_registers("h", both.read_address, both.read_count) is None:
        return refusal(function, int(ExcCodes.ILLEGAL_ADDRESS))
    answer = _done(asked.datastore_update(_Store(bank, written), 0))  # type: ignore[arg-type]
    return bytes([answer.function_code]) + answer.encode()


def refusal(function: int, code: int) -> bytes:
    """An exception's answer."""
    return bytes([function & 0x7F | 0x80, code])


NOT_HERE: Final = int(ExcCodes.GATEWAY_NO_RESPONSE)
"""Exception: no such unit behind this address."""
FAILED: Final = int(ExcCodes.DEVICE_FAILURE)
"""Exception: a fault in this program."""


class _Store:
    """What pymodbus asks for values, in the words of its own data stores."""

    def __init__(self, bank: Bank, written: Callable[[Written], None]) -> None:
        self._bank, self._written = bank, written

    async def async_getValues(  # noqa: N802  its name
        self, _: int, function: int, address: int, count: int = 1
    ) -> list[int] | list[bool] | ExcCodes:
        table = _TABLES[function]
        values: list[int] | list[bool] | None
        if table in "cd":
            values = self._bank.read_bits(table, address, count)
        else:
            values = self._bank.read_registers(table, address, count)
        return ExcCodes.ILLEGAL_ADDRESS if values is None else values

    async def async_setValues(  # noqa: N802  its name
        self, _: int, function: int, address: int, values: list[int] | list[bool]
    ) -> ExcCodes | None:
        if _TABLES[function] == "c":
            said = self._bank.write_coils(address, [bool(value) for value in values])
        else:
            said = self._bank.write_registers(address, [int(value) for value in values])
        if said is None:
            return ExcCodes.ILLEGAL_ADDRESS
        self._written(said)
        return None


def _done(answering: Coroutine[Any, Any, ModbusPDU]) -> ModbusPDU:
    """Run it to its end, which is not far: a store that never waits makes an answer that never waits."""
    try:
        answering.send(None)
    except StopIteration as end:
        answer: ModbusPDU = end.value
        return answer
    answering.close()
    raise RuntimeError("pymodbus waited for something while it made an answer")
