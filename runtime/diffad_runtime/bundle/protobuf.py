"""The wire format of protobuf, read strictly: what our eyes see is what any other reader of these bytes sees.

Knows keys, lengths and numbers. Does not know any message. Other readers differ where bytes are odd: some keep 32 bits
of a key of five bytes, so a field could go by one number here and by another there. Odd forms are refused.
"""

from collections.abc import Iterator
from typing import Final

from diffad_runtime.errors import BundleError

VARINT: Final = 0
FIXED64: Final = 1
BYTES: Final = 2
FIXED32: Final = 5
MOST_FIELDS: Final = 1_000_000
"""In one file, those inside messages counted. A graph of ours has a few thousand; so many take 1.7 s on an x86 core."""

_MOST_KEY = (1 << 32) - 1
_MOST_BYTES = (1 << 31) - 1
_MEND = "Export the bundle again with 'diffad-edge export'"


class Wire:
    """Reads one file.

    Args:
        name: of the bundle member, for messages.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._left = MOST_FIELDS

    def fields(self, view: memoryview) -> Iterator[tuple[int, int, int, memoryview]]:
        """(number, wire type, value, payload) of a message's fields in order.

        The value of a number is itself, 0 elsewhere; the payload of a number is empty.

        Raises:
            BundleError: not protobuf, or more fields than any graph needs.
        """
        at, end = 0, len(view)
        nothing = view[:0]
        while at < end:
            self._left -= 1
            if self._left < 0:
                raise BundleError(f"member {self.name!r} has more than {MOST_FIELDS} fields", mend=_MEND)
            start = at
            key, at = self.varint(view, at)
            number, wire = key >> 3, key & 7
            if number == 0 or key > _MOST_KEY or (at - start > 1 and view[at - 1] == 0):
                raise self.malformed(start)
            if wire == VARINT:
                value, at = self.varint(view, at)
                yield number, wire, value, nothing
                continue
            if wire == BYTES:
                length, at = self.varint(view, at)
            elif wire == FIXED64:
                length = 8
            elif wire == FIXED32:
                length = 4
            else:  # groups (3, 4) are not in onnx.proto3; 6 and 7 do not exist
                raise self.malformed(start)
            if length > end - at or length > _MOST_BYTES:
                raise self.malformed(at)
            yield number, wire, 0, view[at : at + length]
            at += length

    def malformed(self, at: int) -> BundleError:
        """What to raise."""
        return BundleError(
            f"member {self.name!r} is not an ONNX model: malformed near byte {at} of a message", mend=_MEND
        )

    def varint(self, view: memoryview, at: int) -> tuple[int, int]:
        """(the number, where it ends)."""
        value = 0
        for shift in range(0, 70, 7):
            if at >= len(view):
                break
            byte = view[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if value >> 64:
                    break
                return value, at
        raise self.malformed(at)


def signed(value: int) -> int:
    """A varint of 64 bits as int64."""
    return value - (1 << 64) if value >> 63 else value
