"""Who may come in by a password: a file of names and hashes.

Knows scrypt (RFC 7914) and the file. Does not know sessions.

    # a line for each: NAME:scrypt:N:R:P:SALT:HASH, hex
    press-3:scrypt:16384:8:1:5f...:9c...

`python -m diffad_runtime.line.opcua.users FILE NAME` asks for a password and writes or replaces the line.
"""

import argparse
import getpass
import hashlib
import hmac
import os
import re
import secrets
import stat
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from diffad_runtime.atomic import replacing
from diffad_runtime.errors import InputError

_NAME: Final = re.compile(r"^[A-Za-z0-9_.@-]{1,64}$")
_N, _R, _P = 1 << 14, 8, 1
_MOST_N: Final = 1 << 17
_MOST_PASSWORD: Final = 200
_MOST_BYTES: Final = 256 * 1024
_TRIES, _WITHIN_S = 5, 10.0


@dataclass(frozen=True, slots=True)
class Secret:
    """A salted hash of a password."""

    n: int
    r: int
    p: int
    salt: bytes
    digest: bytes

    def fits(self, password: str) -> bool:
        """Whether it is of that password; takes some 50 ms, on purpose."""
        found = _scrypt(password, self.salt, self.n, self.r, self.p, len(self.digest))
        return hmac.compare_digest(found, self.digest)


class Users:
    """Names and hashes, as they were when the file was read.

    More than five wrong passwords within ten seconds: all are refused unseen until that time is over, since each costs
    the station as much as it costs whoever guesses.

    Args:
        secrets_: by name.
        clock: seconds.
    """

    def __init__(self, secrets_: dict[str, Secret], clock: Callable[[], float] = time.monotonic) -> None:
        self._secrets, self._clock = dict(secrets_), clock
        self._wrong: list[float] = []

    def __len__(self) -> int:
        return len(self._secrets)

    def admit(self, name: str, password: str) -> bool:
        """Whether that user may come in with that password."""
        now = self._clock()
        self._wrong = [at for at in self._wrong if now - at < _WITHIN_S]
        if len(self._wrong) >= _TRIES or len(password) > _MOST_PASSWORD:
            return False
        # A name that is not there takes as long as one that is.
        if self._secrets.get(name, _NOBODY).fits(password) and name in self._secrets:
            return True
        self._wrong.append(now)
        return False


def read_users(path: Path, clock: Callable[[], float] = time.monotonic) -> Users:
    """Read a file of users.

    Args:
        path: of the file.
        clock: seconds, for those who guess.

    Raises:
        InputError: it cannot be read, others may write it, or a line is not as it should be.
    """
    try:
        if path.stat().st_mode & stat.S_IWOTH:
            raise InputError(f"{path} can be written by everybody", mend=f"Run: chmod 600 {path}")
        if path.stat().st_size > _MOST_BYTES:
            raise InputError(f"{path} is larger than {_MOST_BYTES} bytes", mend="Give a file of users")
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the users {path}: {error}", mend="Check the path and its owner") from error
    found: dict[str, Secret] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, rest = line.strip().partition(":")
        secret = _parse(rest)
        if secret is None or not _NAME.match(name) or name in found:
            raise InputError(
                f"{path}, line {number}, is not NAME:scrypt:N:R:P:SALT:HASH with a new name",
                mend=f"Write it with: python -m diffad_runtime.line.opcua.users {path} NAME",
            )
        found[name] = secret
    if not found:
        raise InputError(f"{path} holds no user", mend=f"Run: python -m diffad_runtime.line.opcua.users {path} NAME")
    return Users(found, clock)


def write_user(path: Path, name: str, password: str) -> None:
    """Add a user to a file, or give one another password. The file is made with mode 0600.

    Raises:
        InputError: a name or password that cannot be one, or a file that cannot be read or written.
    """
    if not _NAME.match(name):
        raise InputError(f"{name!r} is no user name", mend="Use 1 to 64 letters, digits and _ . @ -")
    if not 8 <= len(password) <= _MOST_PASSWORD:
        raise InputError(f"a password of {len(password)} characters", mend=f"Use 8 to {_MOST_PASSWORD}")
    kept = []
    if path.exists():
        read_users(path)
        kept = [line for line in path.read_text(encoding="utf-8").splitlines() if line.partition(":")[0] != name]
    salt = secrets.token_bytes(16)
    digest = _scrypt(password, salt, _N, _R, _P, 32)
    kept.append(f"{name}:scrypt:{_N}:{_R}:{_P}:{salt.hex()}:{digest.hex()}")
    with replacing(path) as temporary:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write("\n".join(kept) + "\n")


def _scrypt(password: str, salt: bytes, n: int, r: int, p: int, size: int) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=n, r=r, p=p, maxmem=256 * n * r, dklen=size)


def _parse(text: str) -> Secret | None:
    kind, *rest = text.split(":")
    if kind != "scrypt" or len(rest) != 5:
        return None
    try:
        n, r, p = (int(one) for one in rest[:3])
        salt, digest = bytes.fromhex(rest[3]), bytes.fromhex(rest[4])
    except ValueError:
        return None
    # Costs that would stop a station for seconds, or that hide nothing, are no costs.
    if not (1 << 10 <= n <= _MOST_N and n & (n - 1) == 0 and 1 <= r <= 16 and 1 <= p <= 4):
        return None
    return Secret(n, r, p, salt, digest) if len(salt) >= 8 and 16 <= len(digest) <= 64 else None


_NOBODY: Final = Secret(_N, _R, _P, b"nobody-has-this-salt", bytes(32))


def main() -> int:
    """Ask for a password and write the user's line."""
    parser = argparse.ArgumentParser(prog="python -m diffad_runtime.line.opcua.users", description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("name")
    given = parser.parse_args()
    try:
        password = getpass.getpass() if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
        write_user(given.file, given.name, password)
    except InputError as error:
        print(f"Error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
