"""Which clients may come in: a folder of certificates, and one of those that knocked.

Knows files and thumbprints. Does not know sessions or users. Imported only when used: needs cryptography.

    trusted/     certificates of clients, DER or PEM, by any name; a file put here counts from the next knock on
    rejected/    certificates that were refused, by thumbprint; move one to trusted/ to let its client in
"""

import logging
from datetime import datetime, timezone
from enum import Enum
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from diffad_runtime.atomic import replacing
from diffad_runtime.errors import InputError
from diffad_runtime.health.logs import event
from diffad_runtime.line.opcua.certificates import load_certificate, thumbprint

_log = logging.getLogger(__name__)
_SUFFIXES: Final = (".der", ".cer", ".crt", ".pem")
_MOST_REJECTED: Final = 50
_MOST_TRUSTED: Final = 1000
_MOST_BYTES: Final = 16 * 1024


class Answer(Enum):
    """To a certificate. TRUSTED: in the folder, and valid now. UNKNOWN: not there. OUTDATED: there, but not valid now.
    SPOILT: no certificate at all."""

    TRUSTED = "trusted"
    UNKNOWN = "unknown"
    OUTDATED = "outdated"
    SPOILT = "spoilt"


class Trusted:
    """The two folders.

    A certificate is trusted where the very same bytes lie in trusted/; there are no chains and no authorities, so
    that a list of files is the whole truth. Used from one thread.

    Args:
        folder: holds trusted/ and rejected/, both made here.

    Raises:
        InputError: the folders cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self._trusted, self._rejected = folder / "trusted", folder / "rejected"
        self._seen: tuple[tuple[str, int, int], ...] = ()
        self._known: dict[bytes, x509.Certificate] = {}
        for path in (self._trusted, self._rejected):
            try:
                path.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise InputError(
                    f"cannot make {path}: {error.strerror or error}", mend="Give a folder that the station may write to"
                ) from error
        self._look()

    def __len__(self) -> int:
        self._look()
        return len(self._known)

    def ask(self, der: bytes | None) -> Answer:
        """May a client with this certificate come in? One that is unknown goes to rejected/.

        Args:
            der: as it came over the wire; the client's own certificate, nothing behind it.
        """
        self._look()
        known = self._known.get(der or b"")
        if known is not None:
            now = datetime.now(timezone.utc)
            return Answer.TRUSTED if known.not_valid_before_utc <= now <= known.not_valid_after_utc else Answer.OUTDATED
        try:
            certificate = x509.load_der_x509_certificate(der or b"")
        except ValueError:
            return Answer.SPOILT
        self._reject(certificate)
        return Answer.UNKNOWN

    def _look(self) -> None:
        """Read the folder where it has changed."""
        try:
            files = sorted(path for path in self._trusted.iterdir() if path.suffix.lower() in _SUFFIXES)
            stats = [(path.name, path.stat().st_mtime_ns, path.stat().st_size) for path in files[:_MOST_TRUSTED]]
        except OSError as error:
            event(_log, logging.ERROR, "opcua_trusted", f"cannot read {self._trusted}: {error}")
            return
        if tuple(stats) == self._seen:
            return
        self._seen, self._known = tuple(stats), {}
        for name, _, size in stats:
            if size > _MOST_BYTES:
                event(_log, logging.WARNING, "opcua_trusted", f"{self._trusted / name} is no certificate: too large")
                continue
            try:
                certificate = load_certificate(self._trusted / name)
            except InputError as error:
                event(_log, logging.WARNING, "opcua_trusted", str(error))
                continue
            self._known[certificate.public_bytes(serialization.Encoding.DER)] = certificate

    def _reject(self, certificate: x509.Certificate) -> None:
        name = thumbprint(certificate)
        event(
            _log,
            logging.WARNING,
            "opcua_rejected",
            f"an OPC UA client with the unknown certificate {name} was refused; to let it in, move "
            f"{self._rejected / name}.der to {self._trusted}",
            thumbprint=name,
        )
        path = self._rejected / f"{name}.der"
        der = certificate.public_bytes(serialization.Encoding.DER)
        if path.exists() or len(der) > _MOST_BYTES:
            return
        try:
            with replacing(path) as temporary:
                temporary.write_bytes(der)
            # Whoever knocks with a new certificate each time must not fill the disk.
            old = sorted(self._rejected.glob("*.der"), key=lambda one: one.stat().st_mtime_ns)
            for surplus in old[:-_MOST_REJECTED]:
                surplus.unlink(missing_ok=True)
        except (InputError, OSError) as error:
            event(_log, logging.WARNING, "opcua_rejected_full", f"cannot keep a rejected certificate: {error}")
