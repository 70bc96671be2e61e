"""A bundle's container, packed with any record wrong and all others right.

Knows the zip records, as runtime/diffad_runtime/bundle/container.py writes them. Does not know what is inside.
"""

import hashlib
import random
import stat
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bundlefuzz import jsontree
from bundlefuzz.octets import NUMBERS

_LOCAL, _CENTRAL, _END = struct.Struct("<4s5H3I2H"), struct.Struct("<4s6H3I5H2I"), struct.Struct("<4s4H2IH")
_REGULAR = (stat.S_IFREG | 0o644) << 16
_LOCAL_FIELDS = ("magic", "version", "flags", "method", "time", "date", "crc", "packed", "size", "name", "extra")
_CENTRAL_FIELDS = (
    "magic", "made_by", "version", "flags", "method", "time", "date", "crc", "packed", "size", "name", "extra",
    "comment", "disk", "internal", "attributes", "offset",
)  # fmt: skip
_END_FIELDS = ("magic", "disk", "first_disk", "here", "count", "size", "start", "comment")


@dataclass(slots=True)
class Parts:
    """A bundle taken apart.

    Attributes:
        manifest: its fields, `members` among them; `sealed` makes these agree with the bodies.
        members: bodies by name.
        raw_manifest: written in place of `manifest`, as it is.
        signature: of manifest.sig; None for none.
    """

    manifest: dict[str, Any]
    members: dict[str, bytes]
    raw_manifest: bytes | None = None
    signature: bytes | None = None

    def sealed(self) -> bytes:
        """The file: names, sizes, hashes and checksums agree, so that what is wrong lies deeper."""
        return pack(self.entries())

    def entries(self) -> list[tuple[bytes, bytes]]:
        """Names and bodies, in the canonical order."""
        raw = self.raw_manifest
        if raw is None:
            raw = jsontree.write(jsontree.tree(self.manifest | {"members": described(self.members)}))
        first = [(b"manifest.json", raw)]
        if self.signature is not None:
            first.append((b"manifest.sig", self.signature))
        return first + [(name.encode("utf-8", "surrogatepass"), self.members[name]) for name in sorted(self.members)]


def described(members: dict[str, bytes]) -> dict[str, dict[str, Any]]:
    """The manifest's `members`."""
    return {
        name: {"sha256": hashlib.sha256(body).hexdigest(), "size": len(body)} for name, body in sorted(members.items())
    }


def pack(
    entries: Sequence[tuple[bytes, bytes]],
    wrong: dict[tuple[str, int], dict[str, int]] | None = None,
    tail: bytes = b"",
    gap: bytes = b"",
) -> bytes:
    """A container.

    Args:
        wrong: (record, index) -> fields and what stands in them; records are "local", "central", "end".
        tail: after the end.
        gap: before the directory.
    """
    wrong = wrong or {}
    out, directory = [], []
    offset = 0
    for index, (name, body) in enumerate(entries):
        both = {
            "version": 20, "flags": 0, "method": 0, "time": 0, "date": 0x21, "crc": zlib.crc32(body),
            "packed": len(body), "size": len(body), "name": len(name), "extra": 0,
        }  # fmt: skip
        local = _record(_LOCAL, _LOCAL_FIELDS, b"PK\x03\x04", both | wrong.get(("local", index), {}))
        more = {
            "made_by": 3 << 8 | 20,
            "comment": 0,
            "disk": 0,
            "internal": 0,
            "attributes": _REGULAR,
            "offset": offset,
        }
        directory.append(
            _record(_CENTRAL, _CENTRAL_FIELDS, b"PK\x01\x02", both | more | wrong.get(("central", index), {})) + name
        )
        out += [local + name, body]
        offset += len(local) + len(name) + len(body)
    records = b"".join(directory)
    end = {
        "disk": 0, "first_disk": 0, "here": len(entries), "count": len(entries), "size": len(records),
        "start": offset + len(gap), "comment": 0,
    }  # fmt: skip
    last = _record(_END, _END_FIELDS, b"PK\x05\x06", end | wrong.get(("end", 0), {}))
    return b"".join([*out, gap, records, last, tail])


def mutate(rng: random.Random, parts: Parts) -> bytes:
    """A container with one or two records wrong, or with members that are not where or what they should be."""
    entries = parts.entries()
    kind = rng.randrange(10)
    if kind <= 4:
        wrong: dict[tuple[str, int], dict[str, int]] = {}
        for _ in range(rng.choice((1, 1, 2))):
            record = rng.choice(("local", "central", "end"))
            names = {
                "local": _LOCAL_FIELDS, "central": _CENTRAL_FIELDS, "end": _END_FIELDS,
            }[record]  # fmt: skip
            place = 0 if record == "end" else rng.randrange(len(entries))
            field_ = rng.choice(names[1:])
            wrong.setdefault((record, place), {})[field_] = rng.choice((*NUMBERS, 8, 20, 0xA1FF0000, len(entries) + 1))
        return pack(entries, wrong)
    at = rng.randrange(len(entries))
    name, body = entries[at]
    if kind == 5:
        entries[at] = (rng.choice(NAMES), body)
    elif kind == 6:
        entries.insert(rng.randrange(len(entries) + 1), (rng.choice((name, *NAMES)), body))
    elif kind == 7:
        rng.shuffle(entries)
    elif kind == 8:
        del entries[at]
    else:
        extra = rng.randbytes(rng.choice((1, 22, 400)))
        return pack(entries, tail=extra) if rng.random() < 0.5 else pack(entries, gap=extra)
    return pack(entries)


NAMES = (
    b"../x", b"/etc/passwd", b"a/../../x", b"..", b".", b"a/.", b"a/b/c", b"", b"x" * 121, b"a\x00b", "é".encode(),
    b"C:\\x", b"a\\b", b"a b", b"-rf", b".hidden", b"golden/", b"/", b"manifest.json", b"MANIFEST.JSON",
    b"manifest.sig",
    b"parity.json", b"golden/99.png", b"golden/99.f16", b"golden/.png", b"\xff\xfe", "\u202egnp.x".encode(), b"a\nb",
)  # fmt: skip


def _record(form: struct.Struct, names: Sequence[str], magic: bytes, values: dict[str, int]) -> bytes:
    widths = {"H": 0xFFFF, "I": 0xFFFFFFFF}
    # "<4s5H3I2H" -> a letter for each field after the magic
    letters = "".join(letter * int(count or 1) for count, letter in _pieces(form.format.removeprefix("<4s")))
    numbers = [values[name] & widths[letter] for name, letter in zip(names[1:], letters, strict=True)]
    return form.pack(magic, *numbers)


def _pieces(text: str) -> list[tuple[str, str]]:
    found, count = [], ""
    for letter in text:
        if letter.isdigit():
            count += letter
        else:
            found.append((count, letter))
            count = ""
    return found
