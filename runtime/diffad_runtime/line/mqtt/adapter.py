"""The station at a broker: listens for triggers, sends every verdict once it is known and until the broker has it.

Knows connections that come and go, for ever, and how it ends. One connection is wire.py's, what is said in which turn
outbox.py's, what is kept meanwhile spool.py's, what a message means inbox.py's.
docs/mqtt.md is for whoever is at the other end.
"""

import logging
import random
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from diffad_runtime.errors import InputError
from diffad_runtime.health.logs import event
from diffad_runtime.line.base import Adapter, Desk
from diffad_runtime.line.job import AdapterStatus, LineState, Outcome
from diffad_runtime.line.mqtt.credentials import password_of, tls_of, warn_of_weakness
from diffad_runtime.line.mqtt.faults import LinkError
from diffad_runtime.line.mqtt.inbox import Inbox
from diffad_runtime.line.mqtt.messages import absent_message
from diffad_runtime.line.mqtt.outbox import Outbox
from diffad_runtime.line.mqtt.settings import MqttSettings
from diffad_runtime.line.mqtt.spool import Spool
from diffad_runtime.line.mqtt.topics import client_id_of, topics_of
from diffad_runtime.line.mqtt.wire import Wire, paho
from diffad_runtime.line.settings import Address
from diffad_runtime.sources.backoff import backoff

_LOG = logging.getLogger(__name__)

JITTER: Final = 0.5
SETTLED_S: Final = 10.0
"""A connection that held for less counts as another failure: two clients of one name would else take turns for ever."""
_BRIEF = 3  # connections in a row that did not settle: somebody ends them
_IDLE_S = 1.0
_MOST_EARLY = 256
_DRAIN_S, _LEAVE_S, _STORE_S = 0.7, 0.3, 0.6  # of close: last results, goodbye, disk; within 2 s in all


@dataclass(frozen=True, slots=True)
class _Run:
    """What a start made, for the thread and for whoever asks."""

    spool: Spool
    inbox: Inbox
    outbox: Outbox
    will: tuple[str, bytes]
    thread: threading.Thread


class MqttAdapter(Adapter):
    """One station at one broker.

    Args:
        settings: the [mqtt] table.
        address: of the station.
        rng: for the jitter of reconnecting.
        wall: seconds since 1970.
    """

    name = "mqtt"

    def __init__(
        self,
        settings: MqttSettings,
        address: Address,
        *,
        rng: random.Random | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._settings, self._address, self._wall = settings, address, wall
        self._rng = rng or random.Random()
        self._topics = topics_of(settings.prefix, address)
        self._id = settings.client_id or client_id_of(settings.prefix, address)
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._run: _Run | None = None
        self._wakes: tuple[socket.socket, socket.socket] | None = None
        self._early: deque[Outcome] = deque(maxlen=_MOST_EARLY)  # shown before the start
        self._state: LineState | None = None
        self._connected = False
        self._connected_at: float | None = None
        self._faults = self._connections = 0
        self._last_error = ""

    def start(self, desk: Desk) -> None:
        """As Adapter.start. A broker that is not there, or does not let us in, is tried again and again.

        Raises:
            InputError: a file of the settings is missing or none, or the spool folder cannot be used.
            MissingExtraError: paho-mqtt is not installed.
        """
        paho()
        password_of(self._settings)
        if self._settings.tls is not None:
            tls_of(self._settings.tls)
        warn_of_weakness(self._settings)
        state = desk.state()
        with self._lock:
            if self._closing.is_set() or self._run is not None:
                return
            self._state = self._state or state
            self._run = self._made(desk, state.run_id)
            self._run.thread.start()
        while self._early:
            self.show(self._early.popleft())

    def show(self, outcome: Outcome) -> None:
        """As Adapter.show: into the spool, in memory. The wire and the disk are other threads' work."""
        if self._run is None:
            self._early.append(outcome)
        else:
            self._run.outbox.put(outcome)

    def state(self, state: LineState) -> None:
        """As Adapter.state."""
        self._state = state
        if self._run is not None:
            self._run.outbox.tell(state)
            self._wake()

    def status(self) -> AdapterStatus:
        """As Adapter.status. `details`: `connections` made; triggers and recipes `taken` and `refused`; `retained` ones
        passed over; answers `dropped`; results `unstored`, that wait and are not on the disk."""
        run = self._run
        if run is None:
            return AdapterStatus(self.name, connected=False, waiting=len(self._early))
        spool, inbox = run.spool.status(), run.inbox
        with self._lock:
            return AdapterStatus(
                name=self.name,
                connected=self._connected,
                sent=run.outbox.sent,
                waiting=spool.waiting,
                lost=spool.lost,
                faults=self._faults + spool.faults,
                last_error="; ".join(filter(None, (self._last_error, spool.last_error))),
                details={
                    "connections": self._connections,
                    "taken": inbox.taken,
                    "refused": inbox.refused,
                    "retained": inbox.retained,
                    "dropped": run.outbox.dropped,
                    "unstored": spool.unstored,
                },
            )

    def close(self) -> None:
        """As Adapter.close: sends what can be sent in 0.7 s, leaves "stopped" behind; the rest waits on the disk."""
        self._closing.set()
        with self._lock:
            run = self._run
        if run is None:
            return
        self._wake()
        if run.thread is not threading.current_thread():
            # One that still waits for a connection is left behind; it ends within connect_s and touches nothing.
            run.thread.join(_DRAIN_S + _LEAVE_S + 0.1)
        run.spool.close(_STORE_S)

    def _made(self, desk: Desk, run_id: str) -> _Run:
        settings = self._settings
        if settings.spool is None:
            text = "results that the broker does not have are kept in memory alone; name a folder as spool in [mqtt]"
            event(_LOG, logging.WARNING, "mqtt_no_spool", text)
        self._wakes = socket.socketpair()
        for end in self._wakes:
            end.setblocking(False)
        try:
            spool = Spool(
                settings.spool,
                most=settings.spool_messages,
                most_bytes=int(settings.spool_mb * 1e6),
                ready=self._wake,
                wall=self._wall,
            )
        except InputError:
            self._end_wakes()
            raise
        outbox = Outbox(
            spool,
            desk,
            self.name,
            self._topics,
            self._address,
            run_id,
            failed=self._failed,
            pause_s=settings.backoff_cap_s,
        )
        inbox = Inbox(desk, self.name, self._topics, run_id, stale_s=settings.stale_s, wall=self._wall)
        will = (self._topics.state, absent_message("offline", self._address, run_id))
        return _Run(spool, inbox, outbox, will, threading.Thread(target=self._work, name="mqtt", daemon=True))

    def _work(self) -> None:
        run, failures, brief = self._run, 0, 0
        assert run is not None
        while not self._closing.is_set():
            self._connected_at = None
            fault = ""
            try:
                self._connection(run)
            except (LinkError, InputError) as error:
                fault = str(error)
            except Exception as error:  # of paho, over bytes that are none of MQTT's: the line must go on
                fault = f"{type(error).__name__}: {error}"
            held_s = time.monotonic() - self._connected_at if self._connected_at is not None else 0.0
            failures = 1 if held_s > SETTLED_S else failures + 1
            brief = brief + 1 if 0 < held_s <= SETTLED_S else 0
            if fault:  # not every broker says that it threw us out for another one
                self._failed(f"{fault}; does another client have our name {self._id!r}?" if brief >= _BRIEF else fault)
            with self._lock:
                self._connected = False
            run.outbox.forget_connection()
            first_s, cap_s = self._settings.backoff_s, self._settings.backoff_cap_s
            self._closing.wait(backoff(failures, first_s=first_s, cap_s=cap_s, jitter=JITTER, rng=self._rng))
        self._end_wakes()

    def _connection(self, run: _Run) -> None:
        """From the first packet to the last, or until the adapter is closed."""
        assert self._wakes is not None
        with Wire(self._settings, self._id, run.will, self._wakes[0]) as wire:
            wire.connect()
            if self._closing.is_set():  # meanwhile: close has gone on without us
                wire.goodbye()
                return
            for refusal in wire.subscribe([self._topics.trigger, self._topics.recipe]):
                self._failed(refusal)
            self._arrived(run)
            until: float | None = None
            while True:
                now = time.monotonic()
                if self._closing.is_set():
                    until = until or now + _DRAIN_S
                    if now >= until or not run.outbox.busy:
                        run.outbox.leave(wire, _LEAVE_S)
                        return
                run.outbox.pump(wire)
                held = run.outbox.held_for(now)
                messages, answers = wire.step(0.05 if until is not None else min(_IDLE_S, held or _IDLE_S))
                run.outbox.flushed(wire)
                for answer in answers:
                    run.outbox.answered(answer)
                for message in messages:
                    reply = run.inbox.take(message)
                    if reply is not None:
                        run.outbox.reply(reply)

    def _arrived(self, run: _Run) -> None:
        if self._state is not None:  # now that we listen, whoever sees it may trigger
            run.outbox.tell(self._state)
        with self._lock:
            self._connected = True
            self._connections += 1
        self._connected_at = time.monotonic()
        event(_LOG, logging.INFO, "mqtt_connected", f"connected to {self._settings.where} as {self._id}")

    def _failed(self, text: str) -> None:
        """Count a fault, and log it where it is news."""
        text = " ".join(text.split())
        with self._lock:
            news = self._connected or text != self._last_error
            self._faults += 1
            self._last_error = text
        if news:
            event(_LOG, logging.WARNING, "mqtt_fault", text)

    def _wake(self) -> None:
        wakes = self._wakes
        if wakes is not None:
            with suppress(OSError):  # full: it is awake; closed: it has ended
                wakes[1].send(b"\0")

    def _end_wakes(self) -> None:
        for end in self._wakes or ():
            end.close()
