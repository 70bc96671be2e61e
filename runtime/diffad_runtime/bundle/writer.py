"""Writes a bundle: the same manifest and members give the same bytes, and nothing unverified ever gets the name.

Knows the order of steps. Does not know the container's form (container.py) nor the checks (reader.py).
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from diffad_runtime.atomic import replacing
from diffad_runtime.bundle.container import MANIFEST, SIGNATURE, pack
from diffad_runtime.bundle.reader import Bundle, verify_bundle
from diffad_runtime.errors import BundleError
from diffad_runtime.manifest import Manifest, Member


def describe_members(members: Mapping[str, bytes]) -> dict[str, Member]:
    """SHA-256 and size of each member, sorted by name: the manifest's `members`."""
    return {
        name: Member(sha256=hashlib.sha256(body).hexdigest(), size=len(body)) for name, body in sorted(members.items())
    }


def manifest_bytes(manifest: Manifest) -> bytes:
    """The bytes of manifest.json, which a signature is made over.

    Raises:
        BundleError: provenance holds NaN, infinity or what is not JSON.
    """
    try:
        # pydantic would turn NaN into null and a path into text without a word.
        json.dumps(manifest.provenance, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise BundleError(
            f"the manifest's provenance cannot be written as JSON: {error}", mend="Pass plain finite JSON values"
        ) from error
    return json.dumps(manifest.model_dump(mode="json"), indent=2, allow_nan=False).encode("ascii") + b"\n"


def write_bundle(
    path: str | Path, manifest: Manifest, members: Mapping[str, bytes], *, signature: bytes | None = None
) -> Path:
    """Write a bundle under a temporary name, open it as a reader would, then give it its name.

    Args:
        path: NAME.diffad; missing folders are made, an older file of that name is replaced.
        manifest: with `members=describe_members(members)`.
        members: bytes by name, without the manifest and the signature.
        signature: over `manifest_bytes(manifest)`, or None.

    Returns:
        The path.

    Raises:
        BundleError: the result would be refused by `open_bundle`, as where manifest and members disagree.
        InputError: the disk refused.
    """
    path = Path(path)
    if reserved := {MANIFEST, SIGNATURE} & set(members):
        raise BundleError(f"{sorted(reserved)} cannot be a member", mend="Pass the manifest and signature as arguments")
    whole: dict[str, bytes | memoryview] = {MANIFEST: manifest_bytes(manifest), **members}
    if signature is not None:
        whole[SIGNATURE] = signature
    _write(path, whole)
    return path


def write_signed(path: str | Path, bundle: Bundle, signature: bytes | None) -> Path:
    """Write a bundle again with another signature, or with none; all other bytes stay, so its digest does too.

    The manifest is not made anew: one that an older release wrote would get fields that it did not have.

    Args:
        path: may be the bundle's own.
        bundle: opened.
        signature: bytes of manifest.sig; None leaves it out.

    Raises:
        BundleError: the signature is too long.
        InputError: the disk refused.
    """
    path = Path(path)
    whole: dict[str, bytes | memoryview] = {**bundle.whole()}
    whole.pop(SIGNATURE, None)
    if signature is not None:
        whole[SIGNATURE] = signature
    _write(path, whole)
    return path


def _write(path: Path, whole: Mapping[str, bytes | memoryview]) -> None:
    with replacing(path) as temporary:
        with temporary.open("wb") as file:
            for chunk in pack(whole):
                file.write(chunk)
        verify_bundle(temporary.read_bytes(), path)
