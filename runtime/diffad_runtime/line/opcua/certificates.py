"""Our own certificate: read, or made once.

Knows X.509 as OPC 10000-6, clause 6.2.2, wants it of an application, and where key and certificate lie. Does not know
who may come in (trusted.py). Imported only when used: needs cryptography, which asyncua brings.
"""

import ipaddress
import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from diffad_runtime.atomic import replacing
from diffad_runtime.errors import InputError

CERTIFICATE: Final = "own.der"
KEY: Final = "own.key.pem"
_BITS: Final = 2048
_SMALLEST, _LARGEST = 2048, 4096  # of Basic256Sha256, OPC 10000-7


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate with its key.

    Attributes:
        certificate: as read.
        key: RSA, as read.
        application_uri: in the certificate.
        made: just now, so that no client can know it yet.
    """

    certificate: x509.Certificate
    key: RSAPrivateKey
    application_uri: str
    made: bool

    @property
    def thumbprint(self) -> str:
        """SHA-1 of the certificate in hex, as clients show it to whoever has to trust it."""
        return thumbprint(self.certificate)

    def fault(self, now: datetime) -> str:
        """Why clients will refuse it now; "" where they will not."""
        if now > self.certificate.not_valid_after_utc:
            return (
                f"the OPC UA certificate of this station is valid until {self.certificate.not_valid_after_utc:%F} only"
            )
        if now < self.certificate.not_valid_before_utc:
            return f"the OPC UA certificate of this station is valid from {self.certificate.not_valid_before_utc:%F} on"
        return ""


def thumbprint(certificate: x509.Certificate) -> str:
    """SHA-1 of a certificate in hex, as OPC UA knows certificates by."""
    return certificate.fingerprint(hashes.SHA1()).hex()


def own_identity(folder: Path, application_uri: str, name: str, host: str, days: int) -> Identity:
    """Read the station's certificate and key, or make both where neither is there.

    Args:
        folder: where both lie.
        application_uri: that the certificate must have.
        name: common name of a new certificate.
        host: that the server listens at; with the machine's name, for a new certificate.
        days: that a new certificate is valid.

    Raises:
        InputError: files that cannot be read or written, that do not belong together, a key that is too short for
            Basic256Sha256, or a certificate with another application URI.
    """
    certificate_path, key_path = folder / CERTIFICATE, folder / KEY
    there = [path for path in (certificate_path, key_path) if path.exists()]
    if len(there) == 1:
        missing = key_path if there[0] == certificate_path else certificate_path
        raise InputError(
            f"{there[0]} is there, but {missing.name} is not",
            mend=f"Put {missing.name} beside it, or remove it and let both be made anew; clients must then trust anew",
        )
    if not there:
        key, certificate = _make(application_uri, name, host, days)
        _write_key(key_path, key)
        with replacing(certificate_path) as temporary:
            temporary.write_bytes(certificate.public_bytes(serialization.Encoding.DER))
        return Identity(certificate, key, application_uri, True)
    certificate, key = _read(certificate_path, key_path)
    uris = _uris(certificate)
    if application_uri not in uris:
        raise InputError(
            f"{certificate_path} is for the application {uris[0] if uris else 'of no name'},"
            f" expected {application_uri}",
            mend="Set application_uri to what it says, or remove both files and let them be made anew",
        )
    return Identity(certificate, key, application_uri, False)


def load_certificate(path: Path) -> x509.Certificate:
    """Read a certificate, DER or PEM.

    Raises:
        InputError: it cannot be read, or is none.
    """
    try:
        data = path.read_bytes()
        return (
            x509.load_pem_x509_certificate(data) if data.startswith(b"-----") else x509.load_der_x509_certificate(data)
        )
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}", mend="Check the file") from error
    except ValueError as error:
        raise InputError(f"{path} is no certificate", mend="Give X.509 in DER or PEM") from error


def _read(certificate_path: Path, key_path: Path) -> tuple[x509.Certificate, RSAPrivateKey]:
    certificate = load_certificate(certificate_path)
    try:
        key = serialization.load_pem_private_key(key_path.read_bytes(), password=None)
    except OSError as error:
        raise InputError(f"cannot read {key_path}: {error.strerror or error}", mend="Check its owner") from error
    except (ValueError, TypeError) as error:  # TypeError: it has a passphrase
        raise InputError(f"{key_path} is no key", mend="Give an RSA key in PEM, without a passphrase") from error
    if not isinstance(key, RSAPrivateKey) or not _SMALLEST <= key.key_size <= _LARGEST:
        raise InputError(
            f"{key_path} is no RSA key of {_SMALLEST} to {_LARGEST} bits", mend="Basic256Sha256 needs one; make it anew"
        )
    if certificate.public_key() != key.public_key():
        raise InputError(f"{key_path} is not the key of {certificate_path.name}", mend="Put the one that belongs to it")
    return certificate, key


def _uris(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return []
    return [str(uri) for uri in names.get_values_for_type(x509.UniformResourceIdentifier)]


def _make(uri: str, name: str, host: str, days: int) -> tuple[RSAPrivateKey, x509.Certificate]:
    key = generate_private_key(public_exponent=65537, key_size=_BITS)
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, name[:64]),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "diffad-edge"),
        ]
    )
    # A Jetson without a battery may believe that it is some time ago; from an hour before, clocks may differ.
    now = datetime.now(timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri), *_hosts(host)]), False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_USAGE, critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return key, certificate


# keyCertSign: OPC 10000-6 wants it of certificates that sign themselves.
_USAGE: Final = x509.KeyUsage(
    digital_signature=True,
    content_commitment=True,
    key_encipherment=True,
    data_encipherment=True,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)


def _hosts(host: str) -> list[x509.GeneralName]:
    """Names and addresses by which clients may call this machine."""
    found: list[x509.GeneralName] = []
    for name in dict.fromkeys((socket.gethostname(), host)):
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            with suppress(ValueError):  # a name that is not ASCII
                found.append(x509.DNSName(name))
        else:
            if not address.is_unspecified:
                found.append(x509.IPAddress(address))
    return found


def _write_key(path: Path, key: RSAPrivateKey) -> None:
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    with replacing(path) as temporary:
        # 0600 from the first byte on: never for a moment a key that others can read.
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(pem)
