"""PNG files with any chunk wrong and all checksums right, and other formats under the same name.

Knows chunks. Does not know what a picture is for.
"""

import random
import struct
import zlib

MAGIC = b"\x89PNG\r\n\x1a\n"
_SIDES = (0, 1, 2, 31, 1000, 8000, 65535, 1 << 20, (1 << 20) + 1, 1 << 24, (1 << 31) - 1, 1 << 31, (1 << 32) - 1)


def chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """(kind, body) of a whole file."""
    found, at = [], len(MAGIC)
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        found.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    return found


def join(parts: list[tuple[bytes, bytes]]) -> bytes:
    """A file with right lengths and checksums."""
    body = (struct.pack(">I", len(b)) + kind + b + struct.pack(">I", zlib.crc32(kind + b)) for kind, b in parts)
    return MAGIC + b"".join(body)


def header(width: int, height: int, depth: int = 8, colour: int = 2, interlace: int = 0) -> tuple[bytes, bytes]:
    """IHDR."""
    sides = struct.pack(">2I", width & 0xFFFFFFFF, height & 0xFFFFFFFF)
    return b"IHDR", sides + bytes([depth, colour, 0, 0, interlace])


def plain(width: int, height: int, value: int = 128, channels: int = 3) -> bytes:
    """A whole picture of one value, grey or BGR."""
    rows = (b"\0" + bytes([value]) * channels * width) * height
    colour = {1: 0, 3: 2, 4: 6}[channels]
    return join([header(width, height, colour=colour), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")])


def mutate(rng: random.Random, data: bytes) -> bytes:
    """One to three changes."""
    parts = chunks(data)
    for _ in range(rng.choice((1, 1, 2, 3))):
        kind = rng.randrange(8)
        if kind <= 1:
            parts[0] = _other_header(rng, parts[0][1])
        elif kind == 2:  # what decoders may pass over
            parts.insert(1, (rng.choice((b"tEXt", b"eXIf", b"acTL", b"prVt")), rng.randbytes(rng.randrange(60))))
        elif kind == 3 and len(parts) > 1:
            at = rng.randrange(len(parts))
            del parts[at]
        elif kind == 4:
            parts.insert(rng.randrange(len(parts) + 1), _extra(rng))
        elif kind == 5:
            at = next((i for i, (name, _) in enumerate(parts) if name == b"IDAT"), 0)
            parts[at] = (parts[at][0], _other_data(rng, parts[at][1]))
        elif kind == 6:
            rng.shuffle(parts)
        else:
            parts += parts[rng.randrange(len(parts)) :][:2]
        if not parts:
            break
    whole = join(parts)
    if rng.random() < 0.15:
        return whole[: rng.randrange(len(whole))]
    return rng.choice(FOREIGN) if rng.random() < 0.05 else whole


def _other_header(rng: random.Random, body: bytes) -> tuple[bytes, bytes]:
    width, height = struct.unpack(">2I", body[:8].ljust(8, b"\0"))
    if rng.random() < 0.6:
        width = rng.choice(_SIDES)
    if rng.random() < 0.4:
        height = rng.choice(_SIDES)
    depth, colour = rng.choice((1, 2, 4, 8, 8, 8, 16, 0, 255)), rng.choice((0, 2, 2, 3, 4, 6, 7))
    return header(width, height, depth, colour, rng.choice((0, 0, 1, 2)))


def _extra(rng: random.Random) -> tuple[bytes, bytes]:
    """A chunk that some decoder acts on."""
    bomb = zlib.compress(bytes(rng.choice((100, 1 << 20))), 9)
    return rng.choice(
        (
            (b"acTL", struct.pack(">2I", rng.choice((1, 2, 1 << 30, (1 << 32) - 1)), 0)),
            (b"fcTL", struct.pack(">5I2H2B", 0, rng.choice(_SIDES), rng.choice(_SIDES), 0, 0, 1, 0, 2, 1)),
            (b"fdAT", struct.pack(">I", 1) + zlib.compress(bytes(99))),
            (b"PLTE", rng.randbytes(rng.choice((0, 3, 768, 771)))),
            (b"tRNS", rng.randbytes(rng.choice((0, 2, 6, 300)))),
            (b"zTXt", b"k\0\0" + bomb),
            (b"iCCP", b"k\0\0" + bomb),
            (b"iTXt", b"k\0\1\0\0\0" + bomb),
            (b"eXIf", b"MM\0*" + rng.randbytes(40)),
            (b"gAMA", struct.pack(">I", rng.choice((0, 1, (1 << 32) - 1)))),
            (b"cHRM", bytes(32)),
            (b"ABCD", b"unknown and critical"),
            (b"IHDR", header(1 << 15, 1 << 15)[1]),
            (b"IDAT", bomb),
            (b"IEND", b"more"),
        )
    )


def _other_data(rng: random.Random, body: bytes) -> bytes:
    return rng.choice(
        (
            body[: len(body) // 2],
            b"",
            zlib.compress(b""),
            zlib.compress(rng.randbytes(5000)),
            zlib.compress(bytes(2 << 20), 9),
            zlib.compress(b"\x09" * 5000),  # a row filter that there is not
            body + b"more",
            rng.randbytes(len(body)),
        )
    )


FOREIGN = (
    b"GIF89a" + struct.pack("<2H", 65535, 65535) + bytes(40),
    b"BM" + struct.pack("<3I", 1 << 30, 0, 54) + struct.pack("<I2i2H6I", 40, 1 << 20, 1 << 20, 1, 24, 0, 0, 0, 0, 0, 0),
    b"BM" + struct.pack("<3I", 1 << 30, 0, 54) + struct.pack("<I2i2H6I", 40, 30000, -30000, 1, 1, 0, 0, 0, 0, 2, 0),
    b"P6 30000 30000 255\n" + bytes(50),
    b"P3 9999999999 1 255\n1 2 3",
    b"\xff\xd8\xff\xe0\0\x10JFIF\0" + bytes(9)
    + b"\xff\xc0\0\x11\x08\xff\xff\xff\xff\x03\x01\x22\0\x02\x11\1\x03\x11\1\xff\xd9",
    b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8L" + struct.pack("<I", 10) + b"\x2f" + b"\xff" * 9,
    b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", 3) + struct.pack("<2HII", 256, 4, 1, 60000)
    + struct.pack("<2HII", 257, 4, 1, 60000) + struct.pack("<2HII", 258, 3, 1, 8) + bytes(4),
    b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 40000 +X 40000\n" + bytes(40),
    b"v/1\x01" + bytes(60),
    b"",
    b"not a picture",
)  # fmt: skip
"""Heads of other formats that claim to be large."""
