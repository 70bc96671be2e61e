"""Bytes changed without knowing what they mean.

Knows which numbers and words break readers. Does not know any format.
"""

import random
import struct

NUMBERS = (
    0,
    1,
    2,
    7,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    1 << 40,
    (1 << 63) - 1,
    1 << 63,
)
"""Where signs, widths and limits change."""

WORDS = (
    b"\x00", b"\xff" * 8, b"\n", b"\r\n", b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06", b"IHDR", b"IDAT", b"IEND",
    b"acTL", b"../../etc/passwd", b"/etc/passwd", b"NaN", b"1e999", b"-Infinity", b"null", b"{}", b"[[[[",
    b'"\\ud800"', b"\xc3\x28", b"\xef\xbb\xbf", b"\x1b[2J", b"%s%n", b"ORTM", b"9" * 400,
)  # fmt: skip
"""Words of several formats."""


def mutate(rng: random.Random, data: bytes, other: bytes = b"") -> bytes:
    """One to four changes.

    Args:
        other: something to splice in pieces of; b"": `data` itself.
    """
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        data = _once(rng, data, other or data)
    return data


def _once(rng: random.Random, data: bytes, other: bytes) -> bytes:  # noqa: PLR0911
    kind = rng.randrange(9)
    at = rng.randrange(len(data) + 1)
    to = min(len(data), at + rng.choice((1, 2, 4, 16, 64, len(data))))
    if kind == 0 and data:  # flip
        at = rng.randrange(len(data))
        return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
    if kind == 1:  # cut off
        return data[:at]
    if kind == 2:  # leave out
        return data[:at] + data[to:]
    if kind == 3:  # put in
        return data[:at] + rng.choice((rng.choice(WORDS), rng.randbytes(rng.randrange(1, 9)))) + data[at:]
    if kind == 4:  # a number in place of what stands there
        width = rng.choice("BHIQ")
        packed = struct.pack(rng.choice("<>") + width, rng.choice(NUMBERS) & (1 << 8 * struct.calcsize(width)) - 1)
        return data[:at] + packed + data[at + len(packed) :]
    if kind == 5:  # a piece of another
        start = rng.randrange(len(other) + 1)
        return data[:at] + other[start : start + rng.randrange(64)] + data[to:]
    if kind == 6:  # again and again
        return data[:to] + data[at:to] * rng.choice((1, 2, 50)) + data[to:]
    if kind == 7:  # halves exchanged
        return data[at:] + data[:at]
    return data[:at] + bytes(to - at) + data[to:]  # zeros
