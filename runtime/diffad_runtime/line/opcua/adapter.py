"""The OPC UA server as an adapter: its thread, and what is handed over to it.

Knows threads and settings. Does not know OPC UA: the server lives on a loop of its own (server.py), and nothing of
asyncua is imported before it starts.
"""

import asyncio
import logging
import socket
import threading
from contextlib import suppress
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Final

from diffad_runtime.errors import InputError, MissingExtraError
from diffad_runtime.health.logs import event
from diffad_runtime.line.base import Adapter, Desk
from diffad_runtime.line.job import AdapterStatus, LineState, Outcome
from diffad_runtime.line.opcua.settings import OpcUaSettings
from diffad_runtime.line.settings import Address

if TYPE_CHECKING:
    from diffad_runtime.line.opcua.server import Life

_log = logging.getLogger(__name__)
_START_S: Final = 5.0
_CLOSE_S: Final = 1.5
_BACKLOG: Final = 32
_FOREIGN: Final = ("asyncua", "asyncuagds")


class OpcUaAdapter(Adapter):
    """A station as an OPC UA server, with the names of OPC 40100-1.

    Args:
        settings: the table [opcua].
        address: whose station it is.
    """

    name = "opcua"

    def __init__(self, settings: OpcUaSettings, address: Address | None = None) -> None:
        self._settings, self._address = settings, address or Address()
        self._lock = threading.Lock()
        self._life: Life | None = None
        self._thread: threading.Thread | None = None
        self._closed = False
        self._listening = threading.Event()
        self._done = threading.Event()
        self._failure: BaseException | None = None
        self._standing = ""  # what is wrong as long as the settings or the certificate are as they are
        self.port = 0
        self.thumbprint = ""

    def start(self, desk: Desk) -> None:
        """Bind the port, then serve on a thread. The address space takes a second or two to make; where it takes longer
        than five, this returns before it is done, and clients that come wait.

        Raises:
            InputError: the port is taken, or a certificate, key or file of users cannot be used.
            MissingExtraError: asyncua is not installed.
        """
        with self._lock:
            if self._closed or self._thread is not None:
                raise InputError("the OPC UA server was started or closed already", mend="Make another adapter")
            self._life = life = self._prepare(desk)
            self._thread = threading.Thread(target=self._work, args=(life,), name="opcua", daemon=True)
            self._thread.start()
        self._listening.wait(_START_S)
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise InputError(
                f"the OPC UA server did not start: {type(failure).__name__}: {failure}",
                mend="Check the table [opcua] of line.toml and the version of asyncua",
            ) from failure

    def show(self, outcome: Outcome) -> None:
        """Hand an outcome to the server."""
        if self._life is not None:
            self._life.tell(outcome)

    def state(self, state: LineState) -> None:
        """Hand the station's state to the server; only the newest waits."""
        if self._life is not None:
            self._life.show_state(state)

    def status(self) -> AdapterStatus:
        """How it is doing; peers are clients with a session."""
        life = self._life
        listening = self._listening.is_set() and not self._done.is_set()
        if life is None:
            return AdapterStatus(self.name, False, last_error=self._standing)
        return AdapterStatus(
            self.name,
            listening,
            peers=life.peers,
            sent=life.sent,
            waiting=life.waiting,
            lost=life.lost,
            faults=life.faults,
            last_error=life.last_error or self._standing,
        )

    def close(self) -> None:
        """Tell clients goodbye, end the thread, free the port. Where the address space is still being made, the thread
        ends by itself some seconds later; it listens no more."""
        with self._lock:
            self._closed = True
            life, thread = self._life, self._thread
        if life is None or thread is None:
            return
        life.stop()
        if thread is not threading.current_thread():
            thread.join(_CLOSE_S)
            if not self._listening.is_set():
                life.listening.close()

    def _prepare(self, desk: Desk) -> "Life":
        """All that can be wrong is found here, before there is a thread.

        Raises:
            InputError, MissingExtraError: see `start`.
        """
        try:
            from diffad_runtime.line.opcua import certificates, server, trusted, users  # noqa: PLC0415  an extra
        except ImportError as error:
            raise MissingExtraError(error.name or "asyncua", extra="line", purpose="the OPC UA server") from error
        settings, address = self._settings, self._address
        for name in _FOREIGN:  # a line for every message of every client; ours say what matters
            foreign = logging.getLogger(name)
            if foreign.level == logging.NOTSET:
                foreign.setLevel(logging.CRITICAL)
        uri = settings.application_uri or f"urn:diffad-edge:{address.site}:{address.line}:{address.station}"
        identity = certificates.own_identity(
            settings.folder, uri, f"diffad-edge {address.station}", settings.host, settings.certificate_days
        )
        friends = trusted.Trusted(settings.folder)
        known = users.read_users(settings.users) if settings.users is not None else None
        listening = _bind(settings)
        self.port, self.thumbprint = listening.getsockname()[1], identity.thumbprint
        for line in settings.warnings():
            event(_log, logging.WARNING, "opcua_open", line)
        self._standing = "; ".join(filter(None, (identity.fault(datetime.now(timezone.utc)), *settings.warnings())))
        event(
            _log,
            logging.INFO,
            "opcua_start",
            f"OPC UA at {settings.host}:{self.port}, certificate {identity.thumbprint}"
            + (f", made anew: clients must trust {settings.folder / certificates.CERTIFICATE}" if identity.made else "")
            + f"; {len(friends)} clients are trusted",
            port=self.port,
            thumbprint=identity.thumbprint,
        )
        return server.Life(settings, identity, friends, known, listening, desk, self.name, address.station)

    def _work(self, life: "Life") -> None:
        loop = asyncio.new_event_loop()
        try:
            loop.run_until_complete(life.live(self._listening.set))
        except Exception as error:
            if self._listening.is_set():
                life.faults, life.last_error = life.faults + 1, f"{type(error).__name__}: {error}"[:200]
                event(_log, logging.ERROR, "opcua_ended", f"the OPC UA server ended: {life.last_error}")
            else:
                self._failure = error
        finally:
            self._done.set()
            self._listening.set()
            life.listening.close()
            with suppress(Exception):
                _finish(loop)
            loop.close()


def _bind(settings: OpcUaSettings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise InputError(
            f"cannot listen at {settings.host}:{settings.port}: {error.strerror or error}",
            mend="Set endpoint to an address of this machine and a port that is free",
        ) from error


def _finish(loop: asyncio.AbstractEventLoop) -> None:
    """Leave nothing behind: tasks of connections that were cut short, generators, asyncua's threads."""
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    if left:
        loop.run_until_complete(asyncio.wait(left, timeout=0.5))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.run_until_complete(loop.shutdown_default_executor())
