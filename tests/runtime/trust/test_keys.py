"""A key is written once, for its owner alone; whatever is no such key is named in one line."""

import hashlib
import os
import stat
import subprocess
from pathlib import Path

import pytest

from diffad_runtime.errors import InputError
from diffad_runtime.trust import make_key
from diffad_runtime.trust.keys import read_private, read_public


def test_makes_both_halves(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization as pem
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    made = make_key(tmp_path / "deep" / "line.key")
    assert made.public == tmp_path / "deep" / "line.pub"
    assert stat.S_IMODE(made.private.stat().st_mode) == 0o600
    assert stat.S_IMODE(made.public.stat().st_mode) & 0o022 == 0
    key = pem.load_pem_public_key(made.public.read_bytes())
    assert isinstance(key, Ed25519PublicKey)
    raw = key.public_bytes(pem.Encoding.Raw, pem.PublicFormat.Raw)
    assert made.key_id == hashlib.sha256(raw).hexdigest()[:16]
    private, public = read_private(made.private), read_public(made.public)
    assert private.public.key_id == public.key_id == made.key_id
    assert public.signed(b"message", private.sign(b"message"))
    assert not public.signed(b"messagf", private.sign(b"message"))
    assert sorted(entry.name for entry in made.private.parent.iterdir()) == ["line.key", "line.pub"]


def test_openssl_reads_them(tmp_path: Path) -> None:
    made = make_key(tmp_path / "line.key", "word")
    try:
        told = subprocess.run(
            ["openssl", "pkey", "-in", made.private, "-passin", "pass:word", "-pubout"],
            capture_output=True,
            check=True,
        )
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    assert told.stdout == made.public.read_bytes()


@pytest.mark.parametrize("taken", ["line.key", "line.pub"])
def test_never_overwrites(tmp_path: Path, taken: str) -> None:
    (tmp_path / taken).write_text("precious")
    with pytest.raises(InputError, match="never overwritten"):
        make_key(tmp_path / "line.key")
    assert [(entry.name, entry.read_text()) for entry in tmp_path.iterdir()] == [(taken, "precious")]


def test_nor_what_comes_in_between(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "line.key").write_text("precious")
    monkeypatch.setattr(os.path, "lexists", lambda _: False)
    with pytest.raises(InputError, match="never overwritten"):
        make_key(tmp_path / "line.key")
    assert [(entry.name, entry.read_text()) for entry in tmp_path.iterdir()] == [("line.key", "precious")]


def test_a_dangling_link_is_taken_too(tmp_path: Path) -> None:
    (tmp_path / "line.pub").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="never overwritten"):
        make_key(tmp_path / "line.key")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("name", ["line.pub", ""])
def test_names_that_cannot_be(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="private key's name"):
        make_key(Path(name) if not name else tmp_path / name)


def test_passphrase(tmp_path: Path) -> None:
    made = make_key(tmp_path / "line.key", "correct horse")
    assert b"ENCRYPTED" in made.private.read_bytes()
    assert read_private(made.private, "correct horse").public.key_id == made.key_id
    with pytest.raises(InputError, match="is encrypted"):
        read_private(made.private)
    with pytest.raises(InputError, match="passphrase is wrong"):
        read_private(made.private, "wrong")
    with pytest.raises(InputError, match="1 to 1023 bytes"):
        make_key(tmp_path / "other.key", "")
    plain = make_key(tmp_path / "plain.key")
    with pytest.raises(InputError, match="is not encrypted"):
        read_private(plain.private, "word")


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o602])
def test_a_private_key_that_others_may_read(tmp_path: Path, mode: int) -> None:
    made = make_key(tmp_path / "line.key")
    made.private.chmod(mode)
    with pytest.raises(InputError, match=f"mode {mode:04o}"):
        read_private(made.private)


def _elliptic(private: bool) -> bytes:
    from cryptography.hazmat.primitives import serialization as pem
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    if private:
        return key.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.PKCS8, pem.NoEncryption())
    return key.public_key().public_bytes(pem.Encoding.PEM, pem.PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "not a public key in PEM"),
        (b"junk", "not a public key in PEM"),
        (b"\xff" * 100, "not a public key in PEM"),
        (b"x" * 5000, "more than 4096 bytes"),
        ("public", "another kind than Ed25519"),
        ("private", "is a private key, which belongs on no device"),
    ],
)
def test_what_is_no_public_key(tmp_path: Path, data: bytes | str, expected: str) -> None:
    (tmp_path / "x.pub").write_bytes(data if isinstance(data, bytes) else _elliptic(data == "private"))
    with pytest.raises(InputError, match=expected) as caught:
        read_public(tmp_path / "x.pub")
    assert str(tmp_path / "x.pub") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "expected"),
    [(b"junk", "not a private key"), ("private", "another kind"), ("public", "not a private key")],
)
def test_what_is_no_private_key(tmp_path: Path, data: bytes | str, expected: str) -> None:
    path = tmp_path / "x.key"
    path.write_bytes(data if isinstance(data, bytes) else _elliptic(data == "private"))
    path.chmod(0o600)
    with pytest.raises(InputError, match=expected):
        read_private(path)


def test_paths_that_hold_no_key(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read the key"):
        read_public(tmp_path / "none.pub")
    with pytest.raises(InputError, match="no regular file"):
        read_public(tmp_path)
