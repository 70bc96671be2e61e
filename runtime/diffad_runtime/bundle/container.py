"""The outer form of a bundle: an uncompressed zip in one canonical form.

Knows the zip records (APPNOTE 6.3.10, sections 4.3.7, 4.3.12, 4.3.16). Does not know what a manifest says.

A list of members has exactly one serialisation here: fixed order, dates, attributes and versions, no extra fields, no
comments, no gaps. `unpack` refuses whatever differs from it, so no byte of a file is free to change, and none can hide.
"""

import re
import stat
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping

from diffad_runtime.errors import BundleError

MANIFEST = "manifest.json"
SIGNATURE = "manifest.sig"
MAX_BUNDLE_BYTES = 1 << 30
MAX_MEMBERS = 512

_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_LOCAL_MAGIC, _CENTRAL_MAGIC, _END_MAGIC = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
_VERSION = 20
_MADE_BY_UNIX = (3 << 8) | _VERSION
_DATE_1980_01_01 = 0x21
_REGULAR_FILE = (stat.S_IFREG | 0o644) << 16
_NAME = re.compile(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)?")
_COPY_AGAIN = "Copy the file again from where it was exported, or export it again"
_EXPORT_AGAIN = "Export it again with 'diffad-edge export'; other zip tools cannot make a bundle"


def check_name(name: str) -> None:
    """A member's name is a file, or a file in one folder, in plain ASCII.

    Raises:
        BundleError: absolute, "..", too long, or other characters.
    """
    if len(name) > 120 or not _NAME.fullmatch(name) or any(part in {".", ".."} for part in name.split("/")):
        raise BundleError(f"a member of the bundle has the forbidden name {name[:120]!r}", mend=_EXPORT_AGAIN)


def pack(members: Mapping[str, bytes | memoryview]) -> Iterator[bytes | memoryview]:
    """The canonical file as a row of chunks; bodies are handed through, not copied.

    Raises:
        BundleError: a forbidden name, too many members, or too large.
    """
    names = _ordered(members)
    if len(names) > MAX_MEMBERS:
        raise BundleError(f"a bundle holds at most {MAX_MEMBERS} members, got {len(names)}", mend="Leave some out")
    directory: list[bytes] = []
    offset = 0
    for name in names:
        check_name(name)
        body = members[name]
        if offset + len(body) > MAX_BUNDLE_BYTES:
            raise BundleError(f"a bundle is at most {MAX_BUNDLE_BYTES} bytes", mend="Export fewer variants")
        raw_name, checksum = name.encode("ascii"), zlib.crc32(body)
        common = (_VERSION, 0, 0, 0, _DATE_1980_01_01, checksum, len(body), len(body), len(raw_name), 0)
        header = _LOCAL.pack(_LOCAL_MAGIC, *common) + raw_name
        directory.append(
            _CENTRAL.pack(_CENTRAL_MAGIC, _MADE_BY_UNIX, *common, 0, 0, 0, _REGULAR_FILE, offset) + raw_name
        )
        yield header
        yield body
        offset += len(header) + len(body)
    records = b"".join(directory)
    yield records
    yield _END.pack(_END_MAGIC, 0, 0, len(names), len(names), len(records), offset, 0)


def unpack(data: bytes) -> dict[str, memoryview]:
    """Members by name, as views into `data`. Every length is checked against the file before it is used.

    Raises:
        BundleError: whatever is not byte for byte what `pack` makes of these members.
    """
    count, start = _end_record(data)
    view = memoryview(data)
    members: dict[str, memoryview] = {}
    at, expected_offset = start, 0
    for _ in range(count):
        if at + _CENTRAL.size > len(data) - _END.size:
            raise BundleError("the bundle's directory is damaged: it ends too early", mend=_COPY_AGAIN)
        record = _CENTRAL.unpack_from(data, at)
        magic, flags, method, packed, size = record[0], record[3], record[4], record[8], record[9]
        name_length, attributes, offset = record[10], record[15], record[16]
        raw_name = data[at + _CENTRAL.size : at + _CENTRAL.size + name_length]
        if magic != _CENTRAL_MAGIC or not raw_name.isascii() or len(raw_name) != name_length:
            raise BundleError("the bundle's directory is damaged", mend=_COPY_AGAIN)
        name = raw_name.decode("ascii")
        check_name(name)
        if name in members:
            raise BundleError(f"the bundle holds {name!r} twice", mend=_EXPORT_AGAIN)
        if method != 0 or packed != size:
            raise BundleError(
                f"member {name!r} of the bundle is compressed, expected it stored as it is", mend=_EXPORT_AGAIN
            )
        if flags & 1:
            raise BundleError(f"member {name!r} of the bundle is encrypted", mend=_EXPORT_AGAIN)
        if stat.S_ISLNK(attributes >> 16):
            raise BundleError(f"member {name!r} of the bundle is a link, expected a file", mend=_EXPORT_AGAIN)
        body = offset + _LOCAL.size + name_length
        if offset != expected_offset or body + size > start:
            raise BundleError(
                f"member {name!r} of the bundle does not lie where the directory says: expected byte "
                f"{expected_offset}, got byte {offset} with {size} bytes of {start}",
                mend=_COPY_AGAIN,
            )
        members[name] = view[body : body + size]
        expected_offset = body + size
        at += _CENTRAL.size + name_length
    _check_canonical(view, members)
    return members


def _ordered(names: Iterable[str]) -> list[str]:
    """Manifest first, so that a reader finds it at once; then its signature; the rest by name."""
    first = {MANIFEST: 0, SIGNATURE: 1}
    return sorted(names, key=lambda name: (first.get(name, 2), name))


def _end_record(data: bytes) -> tuple[int, int]:
    """Number of members and start of the directory."""
    if not data:
        raise BundleError("the bundle is empty (zero bytes)", mend=_COPY_AGAIN)
    if not data.startswith(_LOCAL_MAGIC):
        raise BundleError(
            f"this is not a bundle: it begins with {data[:4]!r}, expected {_LOCAL_MAGIC!r}",
            mend="Give a .diffad file made by 'diffad-edge export'",
        )
    if len(data) < _END.size or data[-_END.size :][:4] != _END_MAGIC:
        found = data.rfind(_END_MAGIC)
        if found >= 0 and found + _END.size <= len(data):
            extra = len(data) - found - _END.size
            raise BundleError(f"the bundle has {extra} foreign bytes after its end", mend=_COPY_AGAIN)
        raise BundleError(f"the bundle is truncated: no end record in its {len(data)} bytes", mend=_COPY_AGAIN)
    _, disk, first_disk, here, count, size, start, comment = _END.unpack_from(data, len(data) - _END.size)
    if disk or first_disk or here != count or comment:
        raise BundleError("the bundle's end record is damaged", mend=_COPY_AGAIN)
    if start + size != len(data) - _END.size:
        raise BundleError(
            f"the bundle is truncated or has foreign bytes in it: its directory of {size} bytes should start at "
            f"byte {start} of {len(data)} and end {_END.size} bytes before the end",
            mend=_COPY_AGAIN,
        )
    if not 1 <= count <= MAX_MEMBERS:
        raise BundleError(f"the bundle holds {count} members, expected 1 to {MAX_MEMBERS}", mend=_EXPORT_AGAIN)
    return count, start


def _check_canonical(view: memoryview, members: Mapping[str, memoryview]) -> None:
    at = 0
    for chunk in pack(members):
        # A body is a view into these very bytes: only its place could differ, and that shows in the headers around it.
        if isinstance(chunk, bytes) and view[at : at + len(chunk)] != chunk:
            raise BundleError(
                f"the bundle is damaged near byte {at} of {len(view)}: a checksum or a header does not agree",
                mend=_COPY_AGAIN,
            )
        at += len(chunk)
    if at != len(view):
        raise BundleError(f"the bundle has {len(view) - at} foreign bytes in it", mend=_COPY_AGAIN)
