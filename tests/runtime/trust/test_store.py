"""A folder of keys is taken as it is or not at all, and says why a bundle is not trusted."""

import json
import os
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from diffad_runtime.bundle import Bundle, open_bundle, write_signed
from diffad_runtime.errors import BundleError, InputError
from diffad_runtime.trust import KeyPair, Policy, TrustStore, sign_bundle

BundleOf = Callable[[int], Path]


def _signed(path: Path, pair: KeyPair, noon: datetime, days: int | None = None) -> Bundle:
    expires = None if days is None else noon + timedelta(days=days)
    sign_bundle(path, pair.private, now=noon, expires=expires)
    return open_bundle(path)


def _refused(store: TrustStore, bundle: Bundle, now: datetime) -> str:
    with pytest.raises(BundleError, match="is not trusted") as caught:
        store.check(bundle, now)
    assert str(bundle.path) in str(caught.value)
    assert caught.value.mend
    return str(caught.value)


def test_says_why(bundle_of: BundleOf, pair: KeyPair, stranger: KeyPair, trusted: Path, noon: datetime) -> None:
    store = TrustStore(trusted)
    path = bundle_of(1)
    assert "unsigned" in _refused(store, open_bundle(path), noon)
    assert f"key {stranger.key_id} signed it" in _refused(store, _signed(path, stranger, noon), noon)
    good = _signed(path, pair, noon, days=2)
    assert store.check(good, noon).text() == f"signed by line.pub ({pair.key_id}), expires 2026-11-29T12:00:00Z"
    assert "expired" in _refused(store, good, noon + timedelta(days=2))
    told = _refused(store, good, datetime(1970, 1, 1, 0, 1, tzinfo=timezone.utc))
    assert "clock cannot tell" in told
    assert "Set this device's clock" in told
    assert store.check(_signed(path, pair, noon), datetime(1970, 1, 1, tzinfo=timezone.utc)).expires == ""


def test_a_signature_that_belongs_to_another_version(
    bundle_of: BundleOf, pair: KeyPair, trusted: Path, noon: datetime, tmp_path: Path
) -> None:
    borrowed = _signed(bundle_of(9), pair, noon).signature
    forged = write_signed(tmp_path / "forged.diffad", open_bundle(bundle_of(1)), borrowed)
    assert "not the one of key" in _refused(TrustStore(trusted), open_bundle(forged), noon)
    garbage = write_signed(tmp_path / "garbage.diffad", open_bundle(bundle_of(1)), b"s" * 64)
    assert "not a signature" in _refused(TrustStore(trusted), open_bundle(garbage), noon)


def test_a_key_taken_away_is_not_trusted_any_more(
    bundle_of: BundleOf, pair: KeyPair, trusted: Path, noon: datetime
) -> None:
    store, bundle = TrustStore(trusted), _signed(bundle_of(1), pair, noon)
    assert store.check(bundle, noon).checked
    (trusted / "line.pub").unlink()
    assert "no key at all" in _refused(store, bundle, noon)


@pytest.mark.parametrize("name", ["junk.pub", "note.txt", "line.pem", "private.pub", "folder.pub"])
def test_junk_is_named(name: str, trusted: Path, pair: KeyPair, bundle_of: BundleOf, noon: datetime) -> None:
    bundle = _signed(bundle_of(1), pair, noon)
    if name == "folder.pub":
        (trusted / name).mkdir()
    else:
        (trusted / name).write_bytes(pair.private.read_bytes() if name == "private.pub" else b"junk")
    with pytest.raises(InputError) as caught:
        TrustStore(trusted).check(bundle, noon)
    assert str(trusted / name) in str(caught.value)


def test_hidden_files_are_left_alone(trusted: Path, pair: KeyPair) -> None:
    (trusted / ".gitkeep").write_text("")
    (trusted / "again.pub").write_bytes(pair.public.read_bytes())
    assert list(TrustStore(trusted).keys()) == [pair.key_id]
    assert [key.name for key in TrustStore(trusted).listed()] == ["again.pub"]


def test_what_others_may_write_to(trusted: Path, bundle_of: BundleOf, pair: KeyPair, noon: datetime) -> None:
    bundle, store = _signed(bundle_of(1), pair, noon), TrustStore(trusted)
    for path, mode in ((trusted / "line.pub", 0o666), (trusted, 0o777), (trusted, 0o775), (trusted.parent, 0o777)):
        before = path.stat().st_mode
        path.chmod(mode)
        with pytest.raises(InputError, match="not safe") as caught:
            store.check(bundle, noon)
        assert path.name in str(caught.value)
        path.chmod(before)
    assert store.check(bundle, noon).checked
    trusted.parent.chmod(0o1777)  # as /tmp is
    assert store.check(bundle, noon).checked


def test_a_link_in_the_folder(trusted: Path, stranger: KeyPair) -> None:
    (trusted / "other.pub").symlink_to(stranger.public)
    with pytest.raises(InputError, match=r"other\.pub is a link"):
        TrustStore(trusted).keys()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_somebody_else(trusted: Path) -> None:
    os.chown(trusted / "line.pub", 12345, -1)
    with pytest.raises(InputError, match="another user"):
        TrustStore(trusted).keys()


def test_folders_that_there_are_not(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder of trusted keys"):
        TrustStore(tmp_path / "none")
    with pytest.raises(InputError, match="no folder of trusted keys was named"):
        Policy(required=True)


def test_too_old_for_this_device(bundle_of: BundleOf, pair: KeyPair, trusted: Path, noon: datetime) -> None:
    digest = "0" * 64
    versions = trusted / "versions.json"
    versions.write_text(
        json.dumps({"schema_version": 1, "models": {"tiny": {"floor": 3, "highest": 5, "digest": digest}}})
    )
    store = TrustStore(trusted)
    assert store.check(_signed(bundle_of(3), pair, noon), noon).checked
    assert "older than this device goes back to, version 3" in _refused(store, _signed(bundle_of(2), pair, noon), noon)
    versions.chmod(0o666)
    with pytest.raises(InputError, match="not safe"):
        store.check_age(open_bundle(bundle_of(3)))
    versions.chmod(0o644)
    versions.write_text("{}")
    with pytest.raises(InputError, match=r"versions\.json is damaged"):
        store.check_age(open_bundle(bundle_of(3)))
    assert versions.read_text() == "{}"


@pytest.mark.parametrize(
    ("required", "keys", "kind", "expected"),
    [
        (True, True, "unsigned", "unsigned"),
        (True, True, "stranger", "not trusted here"),
        (True, True, "garbage", "not a signature"),
        (True, True, "good", None),
        (True, False, "good", "no key at all"),
        (True, False, "unsigned", "unsigned"),
        (False, True, "unsigned", None),
        (False, True, "stranger", "not trusted here"),
        (False, True, "garbage", "not a signature"),
        (False, True, "expired", "expired"),
        (False, True, "good", None),
        (False, False, "good", None),
        (False, False, "stranger", None),
        (False, False, "garbage", None),
        (False, False, "unsigned", None),
        (False, None, "garbage", None),
        (False, None, "unsigned", None),
    ],
)
def test_policy(
    required: bool,
    keys: bool | None,
    kind: str,
    expected: str | None,
    bundle_of: BundleOf,
    pair: KeyPair,
    stranger: KeyPair,
    trusted: Path,
    noon: datetime,
) -> None:
    path = bundle_of(1)
    if kind == "garbage":
        write_signed(path, open_bundle(path), b"s" * 64)
    elif kind != "unsigned":
        _signed(path, stranger if kind == "stranger" else pair, noon, days=1 if kind == "expired" else None)
    if not keys:
        (trusted / "line.pub").unlink()
    policy = Policy(required, None if keys is None else TrustStore(trusted))
    now = noon + timedelta(days=1)
    if expected is not None:
        with pytest.raises(BundleError, match=expected):
            policy.check(open_bundle(path), now)
        return
    found = policy.check(open_bundle(path), now)
    assert found.signed == (kind != "unsigned")
    assert found.checked == (bool(keys) and kind == "good")
    if kind == "stranger":
        assert (found.key_id, found.checked) == (stranger.key_id, False)
        assert "not checked" in found.text()
