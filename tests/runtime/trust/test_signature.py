"""A signature has one spelling, covers its own header, and every single bit of it and of the manifest counts."""

import base64
import json
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffad_runtime.errors import BundleError, InputError
from diffad_runtime.trust import KeyPair
from diffad_runtime.trust.keys import read_private, read_public
from diffad_runtime.trust.signature import CLOCK_SLACK, DOMAIN, make_signature, parse_signature, parse_time, stamp

MANIFEST = b'{"model_id": "tiny"}\n'
SIGNED = datetime(2026, 11, 27, 12, tzinfo=timezone.utc)
FIELDS = {
    "schema_version": 1,
    "algorithm": "ed25519",
    "key_id": "0123456789abcdef",
    "signed": "2026-11-27T12:00:00Z",
    "expires": None,
}


def _raw(pair: KeyPair, expires: datetime | None = None) -> bytes:
    return make_signature(read_private(pair.private), MANIFEST, SIGNED, expires)


def _fault(raw: bytes, pair: KeyPair, manifest: bytes = MANIFEST, now: datetime = SIGNED) -> str:
    return parse_signature(raw).fault(read_public(pair.public), manifest, now)


def test_there_and_back(pair: KeyPair) -> None:
    expires = SIGNED + timedelta(days=30)
    raw = _raw(pair, expires)
    found = parse_signature(raw)
    assert (found.key_id, found.signed, found.expires) == (pair.key_id, SIGNED, expires)
    assert _fault(raw, pair) == ""
    assert raw == _raw(pair, expires)  # Ed25519 takes no random numbers
    header, value = raw.splitlines()
    assert json.loads(header) == {**FIELDS, "key_id": pair.key_id, "expires": "2026-12-27T12:00:00Z"}
    # Held against the form that docs/models.md gives, so that others can check one.
    key = read_public(pair.public)
    assert key.signed(DOMAIN + header + b"\n" + MANIFEST, base64.b64decode(value))
    assert DOMAIN == b"diffad-edge bundle signature 1\n"


def test_every_bit_counts(pair: KeyPair) -> None:
    raw = _raw(pair, SIGNED + timedelta(days=30))
    for at in range(len(raw)):
        for bit in range(8):
            changed = bytearray(raw)
            changed[at] ^= 1 << bit
            try:
                fault = _fault(bytes(changed), pair)
            except BundleError:
                continue
            assert fault, (at, bit)
    for at in range(len(MANIFEST)):
        changed = bytearray(MANIFEST)
        changed[at] ^= 1
        assert "not the one of key" in _fault(raw, pair, bytes(changed))


def test_another_key_with_the_same_id_is_no_use(pair: KeyPair, stranger: KeyPair) -> None:
    header, _ = _raw(pair).splitlines()
    forged = read_private(stranger.private).sign(DOMAIN + header + b"\n" + MANIFEST)
    assert "not the one of key" in _fault(header + b"\n" + base64.b64encode(forged) + b"\n", pair)


def test_a_signature_of_something_else_is_no_use(pair: KeyPair) -> None:
    header, _ = _raw(pair).splitlines()
    other = read_private(pair.private).sign(header + b"\n" + MANIFEST)  # without the word in front
    assert "not the one of key" in _fault(header + b"\n" + base64.b64encode(other) + b"\n", pair)


def test_time(pair: KeyPair) -> None:
    expires = SIGNED + timedelta(days=30)
    raw = _raw(pair, expires)
    second = timedelta(seconds=1)
    assert _fault(raw, pair, now=expires - second) == ""
    assert _fault(raw, pair, now=expires) == "the signature expired at 2026-12-27T12:00:00Z, it is 2026-12-27T12:00:00Z"
    assert _fault(raw, pair, now=SIGNED - CLOCK_SLACK) == ""
    told = _fault(raw, pair, now=datetime(1970, 1, 1, tzinfo=timezone.utc))
    assert "clock cannot tell" in told
    assert "1970-01-01T00:00:00Z" in told
    assert "clock cannot tell" in _fault(raw, pair, now=SIGNED - CLOCK_SLACK - second)
    # What never expires does not ask for the time.
    assert _fault(_raw(pair), pair, now=datetime(1970, 1, 1, tzinfo=timezone.utc)) == ""


def test_expiry_must_be_later(pair: KeyPair) -> None:
    key = read_private(pair.private)
    with pytest.raises(InputError, match="before it is made"):
        make_signature(key, MANIFEST, SIGNED, SIGNED)
    with pytest.raises(InputError, match="time zone"):
        make_signature(key, MANIFEST, SIGNED.replace(tzinfo=None))


def _spelled(value: bytes = b"\0" * 64, **changes: Any) -> bytes:
    fields = {name: field for name, field in {**FIELDS, **changes}.items() if field != "left out"}
    return json.dumps(fields).encode() + b"\n" + base64.b64encode(value) + b"\n"


def test_the_usual_spelling_is_read() -> None:
    assert parse_signature(_spelled()).key_id == "0123456789abcdef"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\n\n",
        b"junk",
        b"\xff\xfe\n\xff\n",
        _spelled()[:-1],
        _spelled() + b"\n",
        _spelled() + b" ",
        _spelled().replace(b"\n", b"\r\n"),
        _spelled(b"\0" * 63),
        _spelled(b"\0" * 65),
        _spelled().replace(b"AA==", b"AB=="),  # bits that base64 does not use
        _spelled().replace(b"AA==", b"A==="),
        _spelled().replace(b"AA==\n", b"AA== \n"),
        _spelled().replace(b": ", b":"),
        b" " + _spelled(),
        _spelled(more=1),
        _spelled(expires="left out"),
        _spelled(schema_version=2),
        _spelled(schema_version=True),
        _spelled(schema_version=1.0),
        _spelled(algorithm="none"),
        _spelled(algorithm="ED25519"),
        _spelled(key_id="0123456789ABCDEF"),
        _spelled(key_id="0123456789abcde"),
        _spelled(key_id="0123456789abcdef\n"),
        _spelled(signed="2026-11-27T12:00:00+00:00"),
        _spelled(signed="2026-13-27T12:00:00Z"),
        _spelled(signed="0000-00-00T00:00:00Z"),
        _spelled(signed=None),
        _spelled(expires=""),
        _spelled().replace(b'"expires": null', b'"expires": null, "expires": null'),
        b"[]\n" + base64.b64encode(b"\0" * 64) + b"\n",
        b"[" * 2000 + b"\n" + base64.b64encode(b"\0" * 64) + b"\n",
        _spelled().replace(b'"ed25519"', b'"\\u0065d25519"'),
    ],
)
def test_any_other_is_not(raw: bytes) -> None:
    with pytest.raises(BundleError, match=r"manifest\.sig") as caught:
        parse_signature(raw)
    assert "\n" not in str(caught.value)


@given(st.binary(max_size=300))
def test_no_garbage_gets_past(raw: bytes) -> None:
    with pytest.raises(BundleError):
        parse_signature(raw)


@given(st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 31)))
def test_times_there_and_back(time: datetime) -> None:
    time = time.replace(microsecond=0, tzinfo=timezone.utc)
    assert parse_time(stamp(time)) == time


def test_times_that_people_give() -> None:
    assert parse_time("2027-01-31") == datetime(2027, 1, 31, tzinfo=timezone.utc)
    for text in ("", "tomorrow", "2027-1-31", "2027-02-30", "2027-01-31T08:00:00", "2027-01-31T08:00:00Z "):
        with pytest.raises(InputError, match="is not a time"):
            parse_time(text)
