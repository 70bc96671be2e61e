"""What systemd wants to hear from a service of Type=notify, by datagram to the socket that it names.

Knows sd_notify(3): the messages, the two variables of the environment, abstract sockets. Does not know what a run is.
Without systemd nothing happens. Nothing here raises or waits: whether systemd hears it must not matter to the line.
"""

import os
import socket
import time
from collections.abc import Mapping

from typing_extensions import Self

_MOST_BYTES = 2048  # of a message; a status line is for people


class Notifier:
    """Sends messages; one socket, any thread.

    Args:
        address: a path, or "@name" for an abstract socket; "" sends nothing.

    Every method says whether the message was handed to systemd.
    """

    def __init__(self, address: str) -> None:
        self.address = address

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Self:
        """As systemd set $NOTIFY_SOCKET; one that sends nothing where it did not, or set another kind of socket."""
        address = (os.environ if environment is None else environment).get("NOTIFY_SOCKET", "")
        return cls(address if address[:1] in ("/", "@") else "")

    def ready(self, status: str = "") -> bool:
        """The service has started, or has loaded its settings again."""
        return self._send("READY=1", status)

    def status(self, text: str) -> bool:
        """One line for `systemctl status`."""
        return self._send("", text)

    def watchdog(self) -> bool:
        """Still well: systemd waits for another WatchdogSec=."""
        return self._send("WATCHDOG=1")

    def stopping(self, status: str = "") -> bool:
        """The service ends in order."""
        return self._send("STOPPING=1", status)

    def reloading(self) -> bool:
        """Settings are being loaded again; `ready` has to follow."""
        return self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def extend_start(self, seconds: float) -> bool:
        """The start takes longer: systemd waits that long from now on at least, whatever TimeoutStartSec= says."""
        return self._send(f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")

    def _send(self, message: str, status: str = "") -> bool:
        if not self.address:
            return False
        # A line end within would begin another message.
        parts = [message, f"STATUS={' '.join(status.split())}" if status else ""]
        body = "\n".join(part for part in parts if part).encode()[:_MOST_BYTES]
        name = "\0" + self.address[1:] if self.address.startswith("@") else self.address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sending:
                sending.setblocking(False)
                return sending.sendto(body, name) == len(body)
        except (OSError, ValueError):
            return False


def watchdog_interval_s(environment: Mapping[str, str] | None = None) -> float | None:
    """How long systemd waits for a sign of life from this process, seconds; None where it does not watch it."""
    variables = os.environ if environment is None else environment
    try:
        microseconds = int(variables.get("WATCHDOG_USEC", ""))
        watched = int(variables.get("WATCHDOG_PID", str(os.getpid())))
    except ValueError:
        return None
    return microseconds / 1e6 if microseconds > 0 and watched == os.getpid() else None
