"""Signing changes manifest.sig and nothing else; what stops it leaves the file as it was."""

import zipfile
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from diffad_runtime.bundle import open_bundle, write_signed
from diffad_runtime.bundle.container import pack
from diffad_runtime.errors import BundleError, InputError
from diffad_runtime.trust import KeyPair, TrustStore, sign_bundle

BundleOf = Callable[[int], Path]


def _members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist()}


def test_signs_in_place(bundle_of: BundleOf, pair: KeyPair, trusted: Path, noon: datetime) -> None:
    path = bundle_of(3)
    before = _members(path)
    digest = open_bundle(path).digest
    done = sign_bundle(path, pair.private, now=noon, expires=noon + timedelta(days=1))
    after = _members(path)
    signature = after.pop("manifest.sig")
    assert after == before
    assert list(_members(path))[:2] == ["manifest.json", "manifest.sig"]
    assert len(signature) <= 4096
    assert (done.path, done.key_id, done.digest, done.version) == (path, pair.key_id, digest, 3)
    assert (done.signed, done.expires, done.replaced) == ("2026-11-27T12:00:00Z", "2026-11-28T12:00:00Z", False)
    assert open_bundle(path).digest == digest
    found = TrustStore(trusted).check(open_bundle(path), noon)
    assert (found.checked, found.key_id, found.key_name) == (True, pair.key_id, "line.pub")
    assert [entry.name for entry in path.parent.glob("*.diffad*")] == ["v3.diffad"]


def test_signing_again_replaces(
    bundle_of: BundleOf, pair: KeyPair, stranger: KeyPair, trusted: Path, noon: datetime
) -> None:
    path = bundle_of(1)
    unsigned = path.read_bytes()
    sign_bundle(path, stranger.private, now=noon)
    with pytest.raises(BundleError, match="is not trusted here"):
        TrustStore(trusted).check(open_bundle(path), noon)
    assert sign_bundle(path, pair.private, now=noon).replaced
    assert TrustStore(trusted).check(open_bundle(path), noon).checked
    write_signed(path, open_bundle(path), None)
    assert path.read_bytes() == unsigned


def test_elsewhere(bundle_of: BundleOf, pair: KeyPair, tmp_path: Path) -> None:
    path = bundle_of(1)
    before = path.read_bytes()
    done = sign_bundle(path, pair.private, out=tmp_path / "deep" / "signed.diffad")
    assert done.path == tmp_path / "deep" / "signed.diffad"
    assert open_bundle(done.path).signature is not None
    assert path.read_bytes() == before


def test_a_manifest_is_not_written_anew(bundle_of: BundleOf, pair: KeyPair) -> None:
    """An older release wrote fewer fields, and in another order."""
    path = bundle_of(1)
    members = _members(path)
    other = members["manifest.json"].replace(b"\n  ", b"\n    ")
    path.write_bytes(b"".join(pack({**members, "manifest.json": other})))
    sign_bundle(path, pair.private)
    assert _members(path)["manifest.json"] == other


def test_what_stops_it_changes_nothing(bundle_of: BundleOf, pair: KeyPair, tmp_path: Path, noon: datetime) -> None:
    path = bundle_of(1)
    before = path.read_bytes()
    with pytest.raises(InputError, match="before it is made"):
        sign_bundle(path, pair.private, now=noon, expires=noon - timedelta(days=1))
    with pytest.raises(InputError, match="cannot read the key"):
        sign_bundle(path, tmp_path / "none.key")
    with pytest.raises(InputError, match="cannot write"):
        sign_bundle(path, pair.private, out=path / "below" / "x.diffad")
    assert path.read_bytes() == before
    path.write_bytes(before[:-10])
    with pytest.raises(BundleError, match="truncated"):
        sign_bundle(path, pair.private)
    assert path.read_bytes() == before[:-10]
