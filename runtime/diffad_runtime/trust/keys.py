"""Ed25519 keys: made once on the workstation, read where a bundle is signed or checked.

Knows PEM files (PKCS8 with or without a passphrase, SubjectPublicKeyInfo) and key ids. Does not know signatures, nor
which keys are trusted.
"""

import hashlib
import os
import stat
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from diffad_runtime.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

PUBLIC_SUFFIX: Final = ".pub"
KEY_ID = r"[0-9a-f]{16}"
_MOST_BYTES = 4096
_MOST_PASSPHRASE = 1023  # of bytes that OpenSSL takes


@dataclass(frozen=True, slots=True)
class KeyPair:
    """What `make_key` made: files of both halves, and the id of the pair."""

    private: Path
    public: Path
    key_id: str


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key to check with.

    Attributes:
        key_id: first 16 hex digits of the SHA-256 of the 32 raw bytes.
        path: where it was read.
    """

    key_id: str
    path: Path
    _key: "Ed25519PublicKey" = field(repr=False)

    def signed(self, message: bytes, signature: bytes) -> bool:
        """Whether the signature (64 bytes) is this key's over the message."""
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415  there, as this key is

        try:
            self._key.verify(signature, message)
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """A key to sign with; `public` checks what it signs."""

    public: PublicKey
    _key: "Ed25519PrivateKey" = field(repr=False)

    def sign(self, message: bytes) -> bytes:
        """64 bytes; the same message gives the same ones."""
        return self._key.sign(message)


def make_key(path: str | Path, passphrase: str | None = None) -> KeyPair:
    """Make a pair of keys: PEM, the private half as PKCS8 with mode 0600. Nothing is ever overwritten.

    Args:
        path: of the private half, as in line.key; the public one lies beside it, line.pub.
        passphrase: encrypts the private half; None: it lies there as it is, and its mode is all that guards it.

    Raises:
        MissingExtraError: cryptography is not installed.
        InputError: one of both files is there already, the passphrase is empty or too long, or the disk refused.
    """
    need_cryptography("making a key")
    from cryptography.hazmat.primitives import serialization as pem  # noqa: PLC0415  an optional package
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415

    path = Path(path)
    public = path.with_name(path.stem + PUBLIC_SUFFIX) if path.name else path
    if not path.name or path.suffix == PUBLIC_SUFFIX:
        raise InputError(f"{path} cannot be a private key's name", mend="Name it as in line.key; line.pub is beside it")
    for taken in (path, public):
        if os.path.lexists(taken):
            raise InputError(f"{taken} is there already, and a key is never overwritten", mend="Choose another name")
    made = Ed25519PrivateKey.generate()
    secret = _passphrase(passphrase)
    encryption = pem.NoEncryption() if secret is None else pem.BestAvailableEncryption(secret)
    private_bytes = made.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.PKCS8, encryption)
    public_bytes = made.public_key().public_bytes(pem.Encoding.PEM, pem.PublicFormat.SubjectPublicKeyInfo)
    _write_new(path, private_bytes, 0o600)
    try:
        _write_new(public, public_bytes, 0o644)
    except InputError:
        path.unlink(missing_ok=True)  # a private half alone would only be in the way
        raise
    return KeyPair(path, public, _key_id(made.public_key()))


def read_private(path: str | Path, passphrase: str | None = None) -> PrivateKey:
    """Read a private half.

    Raises:
        MissingExtraError: cryptography is not installed.
        InputError: no Ed25519 private key in PEM, others may read it, or the passphrase is missing or wrong.
    """
    need_cryptography("signing")
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415
    from cryptography.hazmat.primitives import serialization as pem  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415

    path = Path(path)
    data = _read(path)
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise InputError(
            f"others may read or write the private key {path} (mode {mode:04o}, expected 0600)",
            mend=f"Run: chmod 600 {path}, and make another key if others were there",
        )
    try:
        key = pem.load_pem_private_key(data, _passphrase(passphrase))
    except TypeError as error:  # the library's word for a passphrase too few or too many
        raise InputError(
            f"the private key {path} is {'not ' if passphrase is not None else ''}encrypted",
            mend="Leave the passphrase out" if passphrase is not None else "Give its passphrase",
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        what = "or the passphrase is wrong" if passphrase is not None else "as 'diffad-edge keygen' makes one"
        raise InputError(f"{path} is not a private key in PEM, {what}", mend="Name the right file") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise InputError(f"the private key {path} is of another kind than Ed25519", mend="Run: diffad-edge keygen")
    return PrivateKey(PublicKey(_key_id(key.public_key()), path, key.public_key()), key)


def read_public(path: str | Path) -> PublicKey:
    """Read a public half.

    Raises:
        MissingExtraError: cryptography is not installed.
        InputError: no Ed25519 public key in PEM; a private one is named as such.
    """
    need_cryptography("checking a signature")
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415
    from cryptography.hazmat.primitives import serialization as pem  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415

    path = Path(path)
    data = _read(path)
    if b"PRIVATE KEY" in data:
        raise InputError(
            f"{path} is a private key, which belongs on no device",
            mend="Put the .pub file there, and make another pair if this one was seen by others",
        )
    try:
        key = pem.load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InputError(
            f"{path} is not a public key in PEM", mend="Put the .pub file there that 'diffad-edge keygen' made"
        ) from error
    if not isinstance(key, Ed25519PublicKey):
        raise InputError(f"the public key {path} is of another kind than Ed25519", mend="Run: diffad-edge keygen")
    return PublicKey(_key_id(key), path, key)


def need_cryptography(purpose: str) -> None:
    """Say what is missing before any work is done.

    Raises:
        MissingExtraError: cryptography is not installed.
    """
    try:
        import cryptography.hazmat.primitives.asymmetric.ed25519  # noqa: F401, PLC0415
    except ImportError as error:
        raise MissingExtraError("cryptography", extra="trust", purpose=purpose) from error


def _key_id(key: "Ed25519PublicKey") -> str:
    from cryptography.hazmat.primitives import serialization as pem  # noqa: PLC0415

    return hashlib.sha256(key.public_bytes(pem.Encoding.Raw, pem.PublicFormat.Raw)).hexdigest()[:16]


def _passphrase(given: str | None) -> bytes | None:
    if given is None:
        return None
    secret = given.encode()
    if not 1 <= len(secret) <= _MOST_PASSPHRASE:
        raise InputError(
            f"a passphrase has 1 to {_MOST_PASSPHRASE} bytes, this one has {len(secret)}", mend="Choose another"
        )
    return secret


def _read(path: Path) -> bytes:
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited on for ever
            raise InputError(f"the key {path} is no regular file", mend="Check the path")
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot read the key {path}: {reason}", mend="Check the path and its permissions") from error
    if len(data) > _MOST_BYTES:
        raise InputError(f"{path} has more than {_MOST_BYTES} bytes and is no key", mend="Name the right file")
    return data


def _write_new(path: Path, data: bytes, mode: int) -> None:
    """Whole or not at all, and only where nothing is: a link to a new name fails where the name is taken."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        opened = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(opened, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)
    except FileExistsError as error:
        raise InputError(f"{path} is there already, and a key is never overwritten", mend="Choose another") from error
    except OSError as error:
        raise InputError(
            f"cannot write {path}: {error.strerror or error}",
            mend="Check the folder, its permissions and free space; a disk without hard links (FAT) will not do",
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
