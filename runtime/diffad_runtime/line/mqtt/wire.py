"""One connection to a broker, from the first packet to the last, driven by one thread.

Knows paho-mqtt, and what a broker may say. Does not know stations, spools, nor when to try again.

A wire is used once. What is published here is remembered by nobody else: after a loss the spool sends it again, so
that its order and paho's never mix.
"""

import select
import socket
import time
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from typing_extensions import Self

from diffad_runtime.errors import MissingExtraError
from diffad_runtime.line.mqtt.credentials import password_of, tls_of
from diffad_runtime.line.mqtt.faults import Heard, LinkError, why_none
from diffad_runtime.line.mqtt.settings import MqttSettings

if TYPE_CHECKING:
    from paho.mqtt.client import Client

WINDOW: Final = 20
"""Messages on their way at once, where the broker allows so many; what paho keeps, too."""
_MOST_PACKET = 64 << 10  # of what the broker may send us; a trigger has at most 4 KiB
_DOUBTFUL = {0x95, 0x99, 0x90}  # packet too large, payload format, topic name: never better by sending again


@dataclass(frozen=True, slots=True)
class Message:
    """What came: `retained` where the broker had kept it from before we asked."""

    topic: str
    payload: bytes
    retained: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """The broker's to a published message: `refusal` "" where it took it; `hopeless`: it never will."""

    number: int
    refusal: str = ""
    hopeless: bool = False


def paho() -> Any:
    """The client module of paho-mqtt 2.

    Raises:
        MissingExtraError: it is not installed, or is too old.
    """
    try:
        from paho.mqtt import client  # noqa: PLC0415
        from paho.mqtt.enums import CallbackAPIVersion  # noqa: F401, PLC0415  not in version 1
    except ImportError:
        raise MissingExtraError("paho-mqtt", extra="line", purpose="MQTT") from None
    return client


class Wire:
    """A connection. All calls from one thread.

    Args:
        settings: of the broker.
        client_id: our name.
        will: topic and bytes that the broker publishes, retained, where we vanish.
        wake: a socket; whatever can be read from it ends a `step` early. Not closed.
    """

    def __init__(self, settings: MqttSettings, client_id: str, will: tuple[str, bytes], wake: socket.socket) -> None:
        self._settings, self._id, self._wake = settings, client_id, wake
        self._will = will
        self._client: Client | None = None
        self._messages: list[Message] = []
        self._answers: list[Answer] = []
        self._flying: OrderedDict[int, float] = OrderedDict()
        self._window, self._largest = WINDOW, 256 << 20
        self._welcome = False
        self._subscribed: list[Any] | None = None
        self._lost = ""
        self._heard = Heard()

    def connect(self) -> None:
        """Connect, greet, wait for the welcome.

        Raises:
            LinkError: it did not come about.
            InputError: a password or certificate cannot be read.
        """
        client = self._made()
        until = time.monotonic() + self._settings.connect_s
        try:
            if self._settings.protocol == "5":
                client.connect(
                    self._settings.host,
                    self._settings.broker_port,
                    self._settings.keepalive_s,
                    clean_start=True,
                    properties=_connect_properties(),
                )
            else:
                client.connect(self._settings.host, self._settings.broker_port, self._settings.keepalive_s)
        except (OSError, ValueError) as error:  # ValueError: a host name that cannot be one
            raise LinkError(why_none(error, self._settings)) from None
        self._client = client
        opened = client.socket()
        with suppress(OSError, AttributeError):
            # Without it the second small message waits for the acknowledgement of the first.
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # type: ignore[union-attr]
        while not self._welcome:
            if time.monotonic() > until:
                raise LinkError(f"{self._settings.where} took the connection and says nothing: is it a broker?")
            self._turn(until - time.monotonic())

    def subscribe(self, topics: list[str]) -> list[str]:
        """Listen, QoS 1; what the broker did not allow, one line each.

        Raises:
            LinkError: as `step`.
        """
        self._opened.subscribe([(topic, 1) for topic in topics])
        until = time.monotonic() + self._settings.answer_s
        while self._subscribed is None:
            if time.monotonic() > until:
                raise LinkError(f"{self._settings.where} did not answer within {self._settings.answer_s:g} s")
            self._turn(until - time.monotonic())
        return [
            f"the broker does not let us listen to {topic}: {code}"
            for topic, code in zip(topics, self._subscribed, strict=False)
            if code.is_failure
        ]

    @property
    def room(self) -> int:
        """Messages that may be published now."""
        return self._window - len(self._flying)

    @property
    def window(self) -> int:
        """Messages that may be on their way at once."""
        return self._window

    @property
    def flushed(self) -> bool:
        """Whether all that was published is with the kernel."""
        return self._client is not None and not self._client.want_write()

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> int:
        """Send a message, QoS 1. Only where there is `room`.

        Returns:
            Its number, which an Answer will have.

        Raises:
            LinkError: as `step`.
        """
        if len(payload) + len(topic) + 16 > self._largest:  # the broker would end the connection over it, every time
            number = -1 - len(self._answers)
            self._answers.append(Answer(number, f"the broker takes at most {self._largest} bytes", hopeless=True))
            return number
        info = self._opened.publish(topic, payload, qos=1, retain=retain)
        self._flying[info.mid] = time.monotonic()
        self._check()
        return info.mid

    def step(self, timeout_s: float) -> tuple[list[Message], list[Answer]]:
        """Wait for something to happen, and let it; what came.

        Raises:
            LinkError: the connection is gone, or something was not acknowledged in time.
        """
        self._turn(0 if self._messages or self._answers else timeout_s)
        messages, self._messages = self._messages, []
        answers, self._answers = self._answers, []
        return messages, answers

    def goodbye(self) -> None:
        """Say that we leave, so that the will is not published."""
        with suppress(LinkError):
            self._opened.disconnect()
            self._opened.loop_write()

    def close(self) -> None:
        """Drop the connection. Without `goodbye` the broker publishes the will. Twice is harmless."""
        client, self._client = self._client, None
        opened = client.socket() if client is not None else None
        if opened is not None:
            with suppress(OSError):
                opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def _opened(self) -> "Client":
        if self._client is None:
            raise LinkError("there is no connection")
        return self._client

    def _made(self) -> "Client":
        module, settings = paho(), self._settings
        newest = settings.protocol == "5"
        client: Client = module.Client(
            module.CallbackAPIVersion.VERSION2,
            client_id=self._id,
            clean_session=None if newest else True,
            protocol=module.MQTTv5 if newest else module.MQTTv311,
            reconnect_on_failure=False,
        )
        client.connect_timeout = settings.connect_s
        if settings.username is not None:
            client.username_pw_set(settings.username, password_of(settings))
        if settings.tls is not None:
            client.tls_set_context(tls_of(settings.tls))
        client.will_set(self._will[0], self._will[1], qos=1, retain=True)
        client.enable_logger(self._heard.logger)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        return client

    def _turn(self, timeout_s: float) -> None:
        client, opened = self._opened, self._opened.socket()
        if opened is not None:
            self._wait(opened, timeout_s, writing=client.want_write())
            client.loop_read()
            client.loop_write()
            client.loop_misc()
        self._check()

    def _wait(self, opened: Any, timeout_s: float, *, writing: bool) -> None:
        poll = select.poll()  # select() ends at the 1024th open file
        poll.register(opened.fileno(), select.POLLIN | (select.POLLOUT if writing else 0))
        poll.register(self._wake.fileno(), select.POLLIN)
        held = getattr(opened, "pending", int)()  # bytes that TLS has taken off the socket already
        ready = poll.poll(0 if held else max(0, round(1000 * timeout_s)))
        if any(number == self._wake.fileno() for number, _ in ready):
            with suppress(OSError):
                self._wake.recv(4096)

    def _check(self) -> None:
        if not self._lost and self._flying:
            oldest = next(iter(self._flying.values()))
            if time.monotonic() - oldest > self._settings.answer_s:
                self._lost = f"{self._settings.where} did not acknowledge within {self._settings.answer_s:g} s"
        if not self._lost and self._client is not None and self._client.socket() is None:
            self._lost = f"the connection to {self._settings.where} was lost"
        if self._lost:
            raise LinkError(self._lost)

    def _on_connect(self, _: Any, __: Any, ___: Any, reason: Any, properties: Any) -> None:
        where = self._settings.where
        if reason.is_failure:
            self._lost = f"{where} refuses us: {reason}; look at username, password and client id"
            return
        if getattr(properties, "MaximumQoS", 1) < 1:
            self._lost = f"{where} offers no QoS 1, without which results would be lost"
            return
        self._window = max(1, min(WINDOW, getattr(properties, "ReceiveMaximum", WINDOW)))
        self._largest = getattr(properties, "MaximumPacketSize", self._largest)
        self._welcome = True

    def _on_disconnect(self, _: Any, __: Any, flags: Any, reason: Any, ___: Any) -> None:
        if self._lost:
            return
        where = self._settings.where
        if flags.is_disconnect_packet_from_server:
            self._lost = f"{where} ended the connection: {reason}"
            if reason.value == 0x8E:
                self._lost += f"; another client has our name {self._id!r}: give one of them another address"
        elif not self._welcome:
            self._lost = f"{where} closed the connection before it let us in: is TLS or a client certificate expected?"
        else:
            self._lost = f"the connection to {where} was lost"
        if self._heard.last:
            self._lost += f" ({self._heard.last})"

    def _on_subscribe(self, _: Any, __: Any, ___: Any, reasons: Any, ____: Any) -> None:
        self._subscribed = list(reasons)

    def _on_publish(self, _: Any, __: Any, number: int, reason: Any, ___: Any) -> None:
        if self._flying.pop(number, None) is None:
            return
        failed = bool(reason.is_failure)
        self._answers.append(Answer(number, str(reason) if failed else "", failed and reason.value in _DOUBTFUL))

    def _on_message(self, _: Any, __: Any, message: Any) -> None:
        self._messages.append(Message(message.topic, bytes(message.payload), bool(message.retain)))


def _connect_properties() -> Any:
    from paho.mqtt.packettypes import PacketTypes  # noqa: PLC0415
    from paho.mqtt.properties import Properties  # noqa: PLC0415

    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = 0
    properties.MaximumPacketSize = _MOST_PACKET
    return properties
