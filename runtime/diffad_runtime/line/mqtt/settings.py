"""The [mqtt] table of line.toml.

Knows names, types and limits. Opens nothing: files are looked at by credentials.py when the adapter starts.

    [mqtt]
    host = "broker.plant-1"
    username = "press-3"
    password_file = "/etc/diffad/mqtt.password"     or password_env = "MQTT_PASSWORD"
    spool = "/var/lib/diffad/mqtt"
    [mqtt.tls]
    ca = "/etc/diffad/plant-ca.pem"                 left out: what the system trusts
    certificate = "/etc/diffad/press-3.pem"         of this device, where the broker asks for one
    key = "/etc/diffad/press-3.key"
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, model_validator
from typing_extensions import Self

from diffad_runtime.line.settings import Strict

Host = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_:][A-Za-z0-9_.:-]{0,252}$")]
"""A name or an address. No scheme, no path: "broker.plant-1", not "mqtts://broker.plant-1"."""
Prefix = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,64}(/[A-Za-z0-9_.-]{1,64}){0,7}$")]
Text = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]{1,200}$")]

_NO_PASSWORD = "a password does not belong in this file: name password_file or password_env"


class TlsSettings(Strict):
    """How the broker is known, and how it knows this device. There is no way to trust just any certificate.

    Attributes:
        ca: PEM of whoever signed the broker's certificate; None: what the system trusts.
        certificate, key: PEM of this device, the key without a pass phrase.
    """

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    @model_validator(mode="after")
    def _pair(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key go together: name both or neither")
        return self


class MqttSettings(Strict):
    """One broker, and what is kept while it is away.

    Attributes:
        host, port: of the broker; port None: 8883 with TLS, 1883 without.
        tls: None: nothing is encrypted, nobody is known. For a network of machines only.
        username: None: none is given.
        password_file: its first line is the password. Read at each connection, so that it can be changed.
        password_env: name of an environment variable with the password.
        protocol: "5", or "3.1.1" for brokers that have no other (docs/mqtt.md says what is lost by it).
        keepalive_s: the broker takes us for dead after one and a half of it.
        answer_s: what the broker has not acknowledged by then means that the connection is dead.
        connect_s: for a connection to come about.
        prefix: first levels of every topic.
        client_id: None: made of prefix and address. Two clients of one name throw each other out.
        spool: folder for results that the broker does not have yet; None: memory, which a restart loses.
        spool_messages, spool_mb: most that is kept there; the oldest go first.
        stale_s: a trigger whose `sent_ms` is older is refused.
        backoff_s, backoff_cap_s: longest wait before the first and before any new attempt to connect.
    """

    host: Host
    port: int | None = Field(default=None, ge=1, le=65535)
    tls: TlsSettings | None = None
    username: Text | None = None
    password_file: Path | None = None
    password_env: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,99}$")] | None = None
    protocol: Literal["5", "3.1.1"] = "5"
    keepalive_s: int = Field(default=15, ge=2, le=3600)
    answer_s: float = Field(default=5.0, ge=0.5, le=120)
    connect_s: float = Field(default=5.0, ge=0.5, le=60)
    prefix: Prefix = "diffad"
    client_id: Text | None = None
    spool: Path | None = None
    spool_messages: int = Field(default=100_000, ge=1, le=10_000_000)
    spool_mb: float = Field(default=256.0, gt=0, le=65536)
    stale_s: float = Field(default=2.0, gt=0, le=3600)
    backoff_s: float = Field(default=0.5, gt=0, le=60)
    backoff_cap_s: float = Field(default=15.0, gt=0, le=600)

    @model_validator(mode="before")
    @classmethod
    def _no_password(cls, values: Any) -> Any:
        if isinstance(values, dict) and "password" in values:
            raise ValueError(_NO_PASSWORD)
        return values

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.password_file is not None and self.password_env is not None:
            raise ValueError("password_file and password_env: name one of them")
        if self.password and self.username is None:
            raise ValueError("a password needs a username")
        if self.backoff_cap_s < self.backoff_s:
            raise ValueError(f"backoff_cap_s is {self.backoff_cap_s}, expected backoff_s ({self.backoff_s}) or more")
        return self

    @property
    def password(self) -> bool:
        """Whether there is one."""
        return self.password_file is not None or self.password_env is not None

    @property
    def where(self) -> str:
        """The broker, for messages: "broker.plant-1:8883"."""
        return f"{self.host}:{self.broker_port}"

    @property
    def broker_port(self) -> int:
        """The port, also where none was given."""
        return self.port or (1883 if self.tls is None else 8883)
