"""manifest.sig: two lines that say who signed a manifest, when, and for how long.

Knows the form, what the signature is made over, and whether it is right at a given time. Does not know files, nor which
keys are trusted.

    {"schema_version": 1, "algorithm": "ed25519", "key_id": "...", "signed": "2026-11-27T08:00:00Z", "expires": null}
    base64 of 64 bytes

The signature is made over a fixed word, the header's own bytes and the manifest's, so that neither the expiry can be
changed, nor a signature for something else be taken for one of a bundle. The manifest names size and SHA-256 of every
other member, so all of the file is covered. One signature has exactly one spelling: whatever differs is refused.
"""

import base64
import binascii
import json
import re
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from diffad_runtime.bundle.strictjson import one_line, parse_object
from diffad_runtime.errors import BundleError, InputError
from diffad_runtime.trust.keys import KEY_ID, PrivateKey, PublicKey

DOMAIN: Final = b"diffad-edge bundle signature 1\n"
CLOCK_SLACK: Final = timedelta(hours=24)
"""A device may be so far behind the machine that signed: clocks differ, and some run on local time."""
_STAMP = "%Y-%m-%dT%H:%M:%SZ"
_STAMP_PATTERN = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$"
_BYTES = 64
_SIGN_AGAIN = "Sign the bundle again with 'diffad-edge sign'"


class _Header(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    schema_version: Literal[1] = 1
    algorithm: Literal["ed25519"] = "ed25519"
    key_id: str = Field(pattern=f"^{KEY_ID}$")
    signed: str = Field(pattern=_STAMP_PATTERN)
    expires: str | None = Field(pattern=_STAMP_PATTERN)

    def raw(self) -> bytes:
        return json.dumps(self.model_dump()).encode("ascii")


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature as it stands in a bundle; nobody has looked yet whether it is right.

    Attributes:
        key_id: of the key that made it, so it says.
        signed: UTC, when.
        expires: UTC, from when on it is void; None: never.
    """

    key_id: str
    signed: datetime
    expires: datetime | None
    _header: bytes
    _value: bytes

    def fault(self, key: PublicKey, manifest: bytes, now: datetime) -> str:
        """Why it must not be trusted, in a few words; "" where it may.

        Args:
            key: whose id is `key_id`.
            manifest: bytes of manifest.json.
            now: UTC.
        """
        if not key.signed(_message(self._header, manifest), self._value):
            return f"the signature is not the one of key {self.key_id} over this manifest"
        if self.expires is None:
            return ""  # then the clock has no say
        if now >= self.expires:
            return f"the signature expired at {stamp(self.expires)}, it is {stamp(now)}"
        if now + CLOCK_SLACK < self.signed:
            return (
                f"the signature expires, and this device's clock cannot tell when: it says {stamp(now)}, which is "
                f"before the signing at {stamp(self.signed)}"
            )
        return ""


def make_signature(key: PrivateKey, manifest: bytes, signed: datetime, expires: datetime | None = None) -> bytes:
    """The bytes of manifest.sig.

    Args:
        key: signs.
        manifest: bytes of manifest.json.
        signed: now, with a time zone; rounded down to a second.
        expires: with a time zone, later than `signed`; None: never.

    Raises:
        InputError: expires is not later, or a time has no zone.
    """
    if signed.tzinfo is None or (expires is not None and expires.tzinfo is None):
        raise InputError("the times of a signature need a time zone", mend="Give UTC, as in 2027-01-31T00:00:00Z")
    if expires is not None and expires <= signed:
        raise InputError(
            f"the signature would expire at {stamp(expires)}, before it is made at {stamp(signed)}",
            mend="Give a later time",
        )
    header = _Header(
        key_id=key.public.key_id, signed=stamp(signed), expires=None if expires is None else stamp(expires)
    ).raw()
    return header + b"\n" + base64.b64encode(key.sign(_message(header, manifest))) + b"\n"


def parse_signature(raw: bytes) -> Signature:
    """Read manifest.sig, strictly. Needs no package.

    Raises:
        BundleError: anything but the one spelling of a signature.
    """
    lines = raw.split(b"\n")
    if len(lines) != 3 or lines[2]:
        raise _malformed("expected a header and a signature, a line each")
    header_raw, text = lines[0], lines[1]
    try:
        header = _Header.model_validate(parse_object(header_raw, "manifest.sig"))
        signed, expires = _time(header.signed), None if header.expires is None else _time(header.expires)
    except ValidationError as error:
        raise _malformed(one_line(error)) from error
    except ValueError as error:
        raise _malformed(str(error)) from error
    if header.raw() != header_raw:
        raise _malformed("its header is written in another way than 'diffad-edge sign' does")
    try:
        value = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise _malformed("its second line is not base64") from error
    if len(value) != _BYTES or base64.b64encode(value) != text:
        raise _malformed(f"its second line is not the base64 of {_BYTES} bytes")
    return Signature(header.key_id, signed, expires, header_raw, value)


def stamp(time: datetime) -> str:
    """UTC to the second, as in 2026-11-27T08:00:00Z."""
    return time.astimezone(timezone.utc).strftime(_STAMP)


def parse_time(text: str) -> datetime:
    """A time that a person gave: 2027-01-31, or 2027-01-31T08:00:00Z.

    Raises:
        InputError: neither.
    """
    try:
        return _time(f"{text}T00:00:00Z" if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text) else text)
    except ValueError as error:
        raise InputError(
            f"{text[:40]!r} is not a time", mend="Write it as 2027-01-31 or as 2027-01-31T08:00:00Z, in UTC"
        ) from error


def _time(text: str) -> datetime:
    if not re.fullmatch(_STAMP_PATTERN, text):
        raise ValueError(f"time {text!r} is not written as in 2026-11-27T08:00:00Z")
    return datetime.strptime(text, _STAMP).replace(tzinfo=timezone.utc)


def _message(header: bytes, manifest: bytes) -> bytes:
    # A header has no line break in it, so no two pairs of header and manifest give the same message.
    return DOMAIN + header + b"\n" + manifest


def _malformed(why: str) -> BundleError:
    return BundleError(f"manifest.sig is not a signature: {why}", mend=_SIGN_AGAIN)
