"""Opens a bundle: read once, verify everything, then hand out members.

Knows what must agree with what inside a bundle. Does not know engines, nor how a bundle is made (writer.py), nor any
key that could check the signature.
"""

import hashlib
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from diffad_runtime.bundle.container import MANIFEST, MAX_BUNDLE_BYTES, SIGNATURE, check_name, unpack
from diffad_runtime.bundle.golden import FOLDER as GOLDEN_FOLDER
from diffad_runtime.bundle.golden import GoldenFrame, check_golden_members, read_golden
from diffad_runtime.bundle.onnxlimits import check_limits
from diffad_runtime.bundle.onnxscan import check_onnx
from diffad_runtime.bundle.strictjson import one_line, parse_object
from diffad_runtime.errors import BundleError, InputError
from diffad_runtime.manifest import SCHEMA_VERSION, Manifest, Variant

_PARITY = "parity.json"
_MAX_SIGNATURE_BYTES = 4096
_EXPORT_AGAIN = "Export the bundle again with 'diffad-edge export'"


@dataclass(frozen=True, slots=True)
class Bundle:
    """A verified bundle, whole in memory: what is handed out is what was verified, whatever happens to the file.

    Attributes:
        path: where it was read.
        manifest: its contents, checked.
        digest: SHA-256 (hex) of the bytes of manifest.json; names this very bundle.
        size_bytes: of the file.
        signature: bytes of manifest.sig, NOT checked here; None where the bundle is unsigned.
    """

    path: Path
    manifest: Manifest
    digest: str
    size_bytes: int
    signature: bytes | None
    _members: Mapping[str, memoryview] = field(repr=False)

    def read(self, member: str) -> bytes:
        """Bytes of one member of the manifest.

        Raises:
            BundleError: no such member.
        """
        if member not in self.manifest.members:
            raise BundleError(
                f"the bundle has no member {member!r}, it has {', '.join(sorted(self.manifest.members))}",
                mend="Ask for one of these",
            )
        return bytes(self._members[member])

    def whole(self) -> dict[str, memoryview]:
        """All members as they lie in the file, manifest.json and manifest.sig among them: what a copy is made of."""
        return dict(self._members)

    def graphs(self, variant: str | None = None) -> tuple[bytes, bytes]:
        """Extractor and reconstructor of a variant (None: the default one), as serialised ONNX.

        Raises:
            InputError: no such variant.
        """
        chosen = self.variant(variant)
        return self.read(chosen.extractor), self.read(chosen.reconstructor)

    def variant(self, name: str | None = None) -> Variant:
        """A variant's facts (None: the default one's).

        Raises:
            InputError: no such variant.
        """
        name = self.manifest.default_variant if name is None else name
        if name not in self.manifest.variants:
            raise InputError(
                f"the bundle has no variant {name!r}, it has {', '.join(sorted(self.manifest.variants))}",
                mend="Name one of these",
            )
        return self.manifest.variants[name]

    def golden(self) -> list[GoldenFrame]:
        """Golden frames in the order of their names; [] where the bundle has none.

        Raises:
            BundleError: a picture that cannot be decoded.
        """
        return read_golden({name: self._members[name] for name in self.manifest.members})

    @property
    def has_golden(self) -> bool:
        """Whether there are golden frames; none is decoded to say so."""
        return any(name.startswith(GOLDEN_FOLDER) for name in self.manifest.members)

    def parity(self) -> dict[str, Any]:
        """parity.json: what was measured between torch and each variant; {} where the bundle has none."""
        return parse_object(self._members[_PARITY], _PARITY) if _PARITY in self._members else {}


def open_bundle(path: str | Path) -> Bundle:
    """Read a bundle and verify all of it before anything is handed out.

    Raises:
        BundleError: missing, truncated, damaged, of an unknown schema version, or unsafe in any way.
    """
    path = Path(path)
    return verify_bundle(_read_once(path), path)


def verify_bundle(data: bytes, path: Path) -> Bundle:
    """Verify the bytes of a whole bundle; `path` is for messages and for `Bundle.path`.

    Raises:
        BundleError: as `open_bundle`.
    """
    try:
        return _verified(path, data)
    except BundleError as error:
        raise BundleError(f"bundle {path}: {error.what}", mend=error.mend) from error


def _read_once(path: Path) -> bytes:
    """Not a memory map: a file changed later would change under a verified bundle."""
    try:
        # Looked at before it is opened: a pipe would block, a device could go on for ever.
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise BundleError(f"bundle {path} is a folder", mend="Give a .diffad file")
        if not stat.S_ISREG(status.st_mode):
            raise BundleError(f"bundle {path} is not a regular file", mend="Give a .diffad file")
        if status.st_size > MAX_BUNDLE_BYTES:
            raise BundleError(
                f"bundle {path} has {status.st_size} bytes, expected at most {MAX_BUNDLE_BYTES}",
                mend="Give a .diffad file made by 'diffad-edge export'",
            )
        with path.open("rb") as file:
            return file.read(status.st_size)  # no more: as much as is asked for is allocated
    except FileNotFoundError as error:
        raise BundleError(f"bundle {path} does not exist", mend="Check the path") from error
    except OSError as error:
        raise BundleError(
            f"bundle {path} cannot be read: {error.strerror or error}", mend="Check the path and its permissions"
        ) from error
    except MemoryError as error:
        raise BundleError(f"bundle {path} does not fit into memory", mend="Run it on a larger machine") from error
    except ValueError as error:  # a NUL in the path
        raise BundleError(f"bundle {str(path)!r} is not a usable path", mend="Check the path") from error


def _verified(path: Path, data: bytes) -> Bundle:
    members = unpack(data)
    manifest, digest = _manifest(members)
    _check_members(manifest, members)
    # Each once: any number of variants may share a graph.
    for graph in sorted({graph for one in manifest.variants.values() for graph in (one.extractor, one.reconstructor)}):
        check_onnx(members[graph], graph)
        check_limits(members[graph], graph, manifest.input_size)
    if _PARITY in members:
        parse_object(members[_PARITY], _PARITY)
    check_golden_members(members, manifest.input_size)
    signature = bytes(members[SIGNATURE]) if SIGNATURE in members else None
    return Bundle(path, manifest, digest, len(data), signature, members)


def _manifest(members: Mapping[str, memoryview]) -> tuple[Manifest, str]:
    if MANIFEST not in members:
        raise BundleError(f"no {MANIFEST} inside", mend="Give a .diffad file made by 'diffad-edge export'")
    raw = members[MANIFEST]
    version = parse_object(raw, MANIFEST).get("schema_version")
    if version != SCHEMA_VERSION or not isinstance(version, int) or isinstance(version, bool):
        raise BundleError(
            f"schema version {str(version)[:40]!r}, this release reads {SCHEMA_VERSION}",
            mend="Update diffad-edge on this device, or export the bundle with the same release",
        )
    try:
        manifest = Manifest.model_validate_json(bytes(raw), strict=True)
    except ValidationError as error:
        raise BundleError(f"{MANIFEST} is not valid: {one_line(error)}", mend=_EXPORT_AGAIN) from error
    return manifest, hashlib.sha256(raw).hexdigest()


def _check_members(manifest: Manifest, members: Mapping[str, memoryview]) -> None:
    for name in manifest.members:
        check_name(name)
    declared, present = set(manifest.members), set(members) - {MANIFEST, SIGNATURE}
    if missing := sorted(declared - present):
        raise BundleError(f"member {missing[0]!r} is missing ({len(missing)} in all)", mend=_EXPORT_AGAIN)
    if extra := sorted(present - declared):
        raise BundleError(f"member {extra[0]!r} is not in the manifest ({len(extra)} in all)", mend=_EXPORT_AGAIN)
    if len(members.get(SIGNATURE, b"")) > _MAX_SIGNATURE_BYTES:
        raise BundleError(f"{SIGNATURE} has more than {_MAX_SIGNATURE_BYTES} bytes", mend=_EXPORT_AGAIN)
    for name, member in manifest.members.items():
        if len(members[name]) != member.size:
            raise BundleError(
                f"member {name!r} has {len(members[name])} bytes, the manifest says {member.size}", mend=_EXPORT_AGAIN
            )
        digest = hashlib.sha256(members[name]).hexdigest()
        if digest != member.sha256:
            raise BundleError(
                f"member {name!r} has SHA-256 {digest[:12]}..., the manifest says {member.sha256[:12]}...",
                mend=_EXPORT_AGAIN,
            )
