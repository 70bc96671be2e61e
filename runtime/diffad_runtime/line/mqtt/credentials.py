"""What must be read before a broker lets us in: password and certificates.

Knows files, the environment, and how each fault is told. Does not know the wire. Never shows a password.
"""

import logging
import os
import ssl
import stat
from pathlib import Path

from diffad_runtime.errors import InputError
from diffad_runtime.health.logs import event
from diffad_runtime.line.mqtt.settings import MqttSettings, TlsSettings

_LOG = logging.getLogger(__name__)
_MOST_BYTES = 4096


def password_of(settings: MqttSettings) -> str | None:
    """The password; None where there is none.

    Raises:
        InputError: the file or the variable is not there, or is empty.
    """
    if settings.password_env is not None:
        password = os.environ.get(settings.password_env, "")
        if not password:
            raise InputError(
                f"the environment variable {settings.password_env} is not set, expected the password for MQTT",
                mend="Set it for this service, or name a password_file",
            )
        return password
    if settings.password_file is None:
        return None
    data = _read(settings.password_file, "the password file")
    try:
        lines = data.decode().splitlines()
    except UnicodeDecodeError:
        lines = []
    if not lines or not lines[0]:
        raise InputError(
            f"the password file {settings.password_file} has no password in its first line",
            mend="Write the password there as plain text, on one line",
        )
    return lines[0]


def tls_of(settings: TlsSettings) -> ssl.SSLContext:
    """What to trust and what to show, TLS 1.2 or newer; the broker's name and certificate are always checked.

    Raises:
        InputError: a file is missing or is not what it should be.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # this one checks the name and the certificate
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.sslsocket_class = _ClosingSocket
    if settings.ca is None:
        context.load_default_certs()
    else:
        _read(settings.ca, "the CA file")
        try:
            context.load_verify_locations(settings.ca)
        except (ssl.SSLError, OSError) as error:
            raise InputError(
                f"the CA file {settings.ca} holds no certificate that can be read: {_words(error)}",
                mend="Give the PEM file of whoever signed the broker's certificate",
            ) from None
    if settings.certificate is not None and settings.key is not None:
        _read(settings.certificate, "the client certificate")
        _read(settings.key, "the client key")
        try:
            # Without a callback OpenSSL would ask for a pass phrase at the terminal, and a service has none.
            context.load_cert_chain(settings.certificate, settings.key, password=lambda: b"")
        except (ssl.SSLError, OSError) as error:
            raise InputError(
                f"{settings.certificate} and {settings.key} are no certificate and its key: {_words(error)}",
                mend="Give two PEM files that belong together, the key without a pass phrase",
            ) from None
    return context


def warn_of_weakness(settings: MqttSettings) -> None:
    """Log what works and should not stay so."""
    if settings.tls is None and settings.password:
        event(
            _LOG,
            logging.WARNING,
            "mqtt_clear_password",
            f"the password for {settings.where} goes over the network in clear; add [mqtt.tls]",
        )
    secrets = [settings.password_file, settings.tls.key if settings.tls is not None else None]
    for path in (path for path in secrets if path is not None):
        try:
            mode = path.stat().st_mode
        except OSError:
            continue
        if mode & (stat.S_IROTH | stat.S_IWOTH):
            event(
                _LOG,
                logging.WARNING,
                "mqtt_open_secret",
                f"everybody on this machine may read or change {path}; run: chmod o-rwx {path}",
            )


class _ClosingSocket(ssl.SSLSocket):
    """Closed where the handshake fails: paho leaves that to the garbage collector, at every attempt."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise


def _read(path: Path, what: str) -> bytes:
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited on for ever
            raise InputError(f"{what} {path} is no regular file", mend="Check the path")
        with path.open("rb") as file:
            return file.read(_MOST_BYTES)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot read {what} {path}: {reason}", mend="Check the path and its permissions") from None


def _words(error: OSError) -> str:
    reason = getattr(error, "reason", None)
    return reason.replace("_", " ").lower() if reason else str(error.strerror or error)
