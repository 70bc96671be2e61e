"""How large a picture says it is, read from its head before anything is decoded.

Knows where PNG, JPEG, BMP, TIFF and WebP keep their sizes. Does not know pixels.

A few bytes can unfold to gigabytes. OpenCV stops at 2^30 pixels only, which are 8 GiB in 16 bit with alpha, and takes
whatever it knows, whatever the file is called: formats that nobody asked for are not among those here.
"""

import re
import struct
from typing import Final

MOST_PIXELS: Final = 1 << 28
"""268 million: a line of 16,384 pixels scanned 16,384 times."""

_JPEG_SIZES: Final = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})  # SOF0 to SOF15; DHT, JPG and DAC are none
# In JPEG scan data 0xff is followed by 0 or a restart marker; anything else opens the next segment.
JPEG_MARKER: Final = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])", re.DOTALL)
_TIFF_WIDTH, _TIFF_HEIGHT = 256, 257
_TIFF_NUMBERS: Final = {3: "H", 4: "I", 16: "Q"}  # SHORT, LONG, LONG8


def image_size(data: bytes) -> tuple[int, int] | None:
    """(width, height) that the head of a file claims; None where it is none of these formats, or too damaged to say."""
    try:
        if data.startswith(b"\x89PNG\r\n\x1a\n"):
            return _two(">2I", data, 16)
        if data.startswith(b"\xff\xd8\xff"):
            return _jpeg(data)
        if data.startswith(b"BM"):
            width, height = _two("<2H" if data[14] == 12 else "<2i", data, 18)
            return abs(width), abs(height)  # a negative height: top row first
        if data[:4] in {b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"}:
            return _tiff(data)
        if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
            return _webp(data)
    except (IndexError, OverflowError, struct.error):  # a place beyond the file, or beyond any
        pass
    return None


def _two(form: str, data: bytes, at: int) -> tuple[int, int]:
    first, second = struct.unpack_from(form, data, at)
    return first, second


def _jpeg(data: bytes) -> tuple[int, int] | None:
    """The largest of all that are told: which one a decoder goes by is its own business."""
    at, most = 2, None
    while (found := JPEG_MARKER.search(data, at)) is not None:
        at = found.end()
        if found[1][0] in _JPEG_SIZES:
            height, width = _two(">2H", data, at + 3)
            if most is None or width * height > most[0] * most[1]:
                most = width, height
        at += max(2, int.from_bytes(data[at : at + 2], "big"))
    return most


def _tiff(data: bytes) -> tuple[int, int] | None:
    """Of the first page."""
    order = "<" if data.startswith(b"II") else ">"
    big = data[2:3] == b"+" or data[3:4] == b"+"
    (at,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
    (count,) = struct.unpack_from(order + ("Q" if big else "H"), data, at)
    at += 8 if big else 2
    sides: dict[int, int] = {}
    for _ in range(min(count, 4096)):
        tag, kind = _two(order + "2H", data, at)
        if tag in {_TIFF_WIDTH, _TIFF_HEIGHT} and kind in _TIFF_NUMBERS:
            (sides[tag],) = struct.unpack_from(order + _TIFF_NUMBERS[kind], data, at + (12 if big else 8))
        at += 20 if big else 12
    return (sides[_TIFF_WIDTH], sides[_TIFF_HEIGHT]) if len(sides) == 2 else None


def _webp(data: bytes) -> tuple[int, int] | None:
    if data[12:16] == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if data[12:16] == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = _two("<2H", data, 26)
    return width & 0x3FFF, height & 0x3FFF
