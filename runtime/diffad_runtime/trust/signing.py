"""A bundle with its signature put in: the one file, written again whole.

Knows the order of steps. Does not know the form of a signature (signature.py), nor how a bundle is written.
"""

from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from diffad_runtime.bundle.container import MANIFEST
from diffad_runtime.bundle.reader import open_bundle
from diffad_runtime.bundle.writer import write_signed
from diffad_runtime.trust.keys import read_private
from diffad_runtime.trust.signature import make_signature, parse_signature, stamp


@dataclass(frozen=True, slots=True)
class Signed:
    """A bundle that was signed.

    Attributes:
        path: where it lies now.
        key_id: of the key that signed.
        signed: UTC, as in 2026-11-27T08:00:00Z.
        expires: UTC; "": never.
        digest: SHA-256 of manifest.json, as before.
        model_id, version: of the manifest.
        replaced: whether another signature made way.
    """

    path: Path
    key_id: str
    signed: str
    expires: str
    digest: str
    model_id: str
    version: int
    replaced: bool


def sign_bundle(
    path: str | Path,
    key: str | Path,
    *,
    out: str | Path | None = None,
    passphrase: str | None = None,
    expires: datetime | None = None,
    now: datetime | None = None,
) -> Signed:
    """Verify a bundle, sign its manifest, and write it again under its name, whole or not at all.

    Args:
        path: NAME.diffad.
        key: private key in PEM, as make_key makes it.
        out: where to; None: in its own place.
        passphrase: of the key.
        expires: from when on the signature is void, with a time zone; None: never. It cannot be taken back: parts are
            not judged any more after it, once the device starts again.
        now: when it is signed; None: now.

    Raises:
        MissingExtraError: cryptography is not installed.
        BundleError: the bundle must not be trusted.
        InputError: the key cannot be used, `expires` is no later time, or the disk refused.
    """
    private = read_private(key, passphrase)
    bundle = open_bundle(path)
    raw = make_signature(private, bytes(bundle.whole()[MANIFEST]), now or datetime.now(timezone.utc), expires)
    made = parse_signature(raw)
    written = write_signed(path if out is None else out, bundle, raw)
    return Signed(
        path=written,
        key_id=private.public.key_id,
        signed=stamp(made.signed),
        expires="" if made.expires is None else stamp(made.expires),
        digest=bundle.digest,
        model_id=bundle.manifest.model_id,
        version=bundle.manifest.version,
        replaced=bundle.signature is not None,
    )
