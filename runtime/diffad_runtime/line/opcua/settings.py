"""The table [opcua] of line.toml.

Knows names, limits and defaults. Opens nothing: whether a port is free or a file is there is found out at the start.

    [opcua]
    endpoint = "opc.tcp://0.0.0.0:4840"
    folder = "/var/lib/diffad/opcua"        own certificate and key, trusted and rejected clients
    users = "/etc/diffad/opcua-users"       name and hash of each who may come in; without it by certificate only
"""

from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, StringConstraints, field_validator

from diffad_runtime.line.settings import Strict

SCHEME = "opc.tcp"
PORT = 4840

Uri = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9+.-]*:[!-~]{1,250}$")]


class OpcUaSettings(Strict):
    """How the station is found and who may come in.

    Attributes:
        endpoint: opc.tcp://HOST:PORT; HOST is the address to listen at, 0.0.0.0 for all; port 0: one that is free.
        folder: of certificates: own.der and own.key.pem are made at the first start, trusted/ holds the certificates
            of clients that may come in, rejected/ those that knocked.
        users: file of user names and hashes (users.py); None: nobody comes in by a password.
        anonymous: clients need no user; their certificate must be trusted nevertheless.
        unencrypted: whoever reaches the port may come in, read and trigger, in clear text and without a certificate.
            For a bench; with it, anonymous.
        application_uri: of the certificate; "": urn:diffad-edge:SITE:LINE:STATION.
        sessions: clients at one time.
        subscriptions: of all clients together.
        items: monitored in one subscription.
        session_timeout_s: a client that is silent for so long is gone.
        results: kept for GetResultById and GetResultListFiltered.
        certificate_days: that a newly made certificate is valid.
    """

    endpoint: str = f"{SCHEME}://0.0.0.0:{PORT}"
    folder: Path = Path("opcua")
    users: Path | None = None
    anonymous: bool = False
    unencrypted: bool = False
    application_uri: Uri | None = None
    sessions: int = Field(default=10, ge=1, le=100)
    subscriptions: int = Field(default=40, ge=1, le=1000)
    items: int = Field(default=500, ge=1, le=10_000)
    session_timeout_s: float = Field(default=60.0, ge=1.0, le=3600.0)
    results: int = Field(default=200, ge=1, le=10_000)
    certificate_days: int = Field(default=3650, ge=1, le=36_500)

    @field_validator("endpoint")
    @classmethod
    def _endpoint(cls, value: str) -> str:
        try:
            parts = urlsplit(value)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise ValueError(f"{value!r} is no endpoint ({error}), expected {SCHEME}://HOST:PORT") from None
        if parts.scheme != SCHEME or not host or parts.username or parts.query or parts.fragment:
            raise ValueError(f"{value!r} is no endpoint, expected {SCHEME}://HOST:PORT")
        return value if port is not None else value.replace(parts.netloc, f"{parts.netloc}:{PORT}", 1)

    @property
    def host(self) -> str:
        """The address to listen at."""
        return urlsplit(self.endpoint).hostname or "0.0.0.0"

    @property
    def port(self) -> int:
        """The port to listen at, 0 for one that is free."""
        port = urlsplit(self.endpoint).port
        return PORT if port is None else port

    def warnings(self) -> tuple[str, ...]:
        """What these settings leave open, one line each, for status and log."""
        found = []
        if self.unencrypted:
            found.append("OPC UA without encryption: whoever reaches the port may read and trigger")
        if self.anonymous or self.unencrypted:
            found.append("OPC UA without users: every program with access may trigger")
        return tuple(found)
