"""A Modbus TCP server beside a station: what a PLC writes becomes triggers, what the station says becomes registers.

Knows the desk, the handshake and the memory, and which of them may be touched by whom. Does not know the protocol
(server.py, wire.py), nor what lies where (registermap.py).

    server's thread   a request is read or written at once; a trigger reaches the desk before its write is answered
    a verdict's       `show` puts the outcome into the registers itself, and is done
    both              change the handshake under one lock, and call the desk only when it is free again
"""

import logging
import threading
import time
import uuid
from asyncio import TimerHandle
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace

from diffad_runtime.errors import DiffadError, InputError, MissingExtraError
from diffad_runtime.health.logs import event
from diffad_runtime.line import handshake as hands
from diffad_runtime.line.base import Adapter, Desk
from diffad_runtime.line.job import AdapterStatus, LineState, Outcome, Phase, Request
from diffad_runtime.line.modbus.bank import Bank, Written
from diffad_runtime.line.modbus.picture import Kept, Requests, picture
from diffad_runtime.line.modbus.registermap import NO_RECIPE
from diffad_runtime.line.modbus.server import Peer, Server
from diffad_runtime.line.modbus.settings import ModbusSettings
from diffad_runtime.line.settings import Address

_LOG = logging.getLogger(__name__)
_MOST_ASKED = 1024
"""Jobs whose trigger number is remembered; a desk has fewer of them open."""


class ModbusAdapter(Adapter):
    """Line signals by Modbus TCP.

    Args:
        settings: of [modbus].
        address: whose signals these are; the station's name is in the registers.
        clock: seconds, monotonic.

    Attributes:
        port: that it listens on, once started.
    """

    name = "modbus"

    def __init__(
        self, settings: ModbusSettings, address: Address | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.port = settings.port
        self._settings, self._station, self._clock = settings, (address or Address()).station, clock
        rules = hands.Rules(settings.ack_timeout_s, 1e-3 * settings.gap_ms, settings.plc_watchdog_s)
        # A PLC that was not restarted with us still writes the number that it acknowledged last: begin somewhere else.
        begin = uuid.uuid4().int % hands.NUMBERS
        self._handshake: hands.Handshake[Kept] = hands.Handshake(rules, number=begin, beat_at=clock())
        self._run = uuid.uuid4().hex[:8]
        self._lock = threading.Lock()
        self._bank, self._requests = Bank(), Requests()
        self._asked: OrderedDict[str, int] = OrderedDict()
        self._asked_ever = self._forbidden = 0
        self._recipe_written: int | None = None
        self._state: LineState | None = None
        self._desk: Desk | None = None
        self._server: Server | None = None
        self._timer: TimerHandle | None = None
        self._faults, self._last_error = 0, ""
        self._closed = False

    def start(self, desk: Desk) -> None:
        try:
            from diffad_runtime.line.modbus import wire  # noqa: PLC0415  pymodbus is an extra
        except ImportError as error:
            raise MissingExtraError("pymodbus", extra="line", purpose="Modbus TCP") from error
        settings = self._settings

        def answer(unit: int, request: bytes, peer: Peer) -> bytes:
            if settings.unit_id != "any" and unit not in (settings.unit_id, 0, 255):
                return wire.refusal(request[0], wire.NOT_HERE)
            may_write = self._may_write(peer)
            self._forbidden += request[0] in wire.WRITES and not may_write
            return wire.answered(request, self._bank, may_write, self._written)

        def failed(request: bytes) -> bytes:
            return wire.refusal(request[0], wire.FAILED)

        with self._lock:
            if self._closed or self._server is not None:
                raise InputError("a Modbus server is started once", mend="Make another ModbusAdapter")
            self._desk = desk
        self.state(desk.state())
        self._server = Server(settings.host, settings.port, settings.clients, answer, failed)
        self.port = self._server.port
        self._server.soon(self._tick)
        event(_LOG, logging.INFO, "modbus_listening", f"Modbus clients may come to {settings.host}:{self.port}")
        if self._closed:  # meanwhile, from another thread
            self._server.close()

    def show(self, outcome: Outcome) -> None:
        own = outcome.job.request.channel == self.name
        if self._desk is None or self._closed or not (own or self._settings.results == "all"):
            return
        recipe = self._recipe_index(outcome.result.recipe)
        with self._lock:
            trigger = self._asked.pop(outcome.job.job_id, 0)
            kept = Kept(outcome, trigger, recipe)
            step = hands.decided(self._handshake, kept, self._clock(), own=own)
            self._become(step)
        self._tell(step)
        if self._server is not None:
            self._server.soon(self._arm)

    def state(self, state: LineState) -> None:
        with self._lock:
            self._state = state
            self._become(hands.Step(hands.stationed(self._handshake, state.phase is Phase.READY)))

    def status(self) -> AdapterStatus:
        server = self._server
        with self._lock:
            now, counts = self._handshake, self._handshake.counts
            refused, faults, last_error = self._requests.refused, self._faults, self._last_error
        return AdapterStatus(
            name=self.name,
            connected=server is not None and server.alive,
            peers=server.clients if server else 0,
            sent=counts.shown,
            waiting=now.kept,
            lost=counts.lost + counts.overflowed,
            faults=faults + (server.failures if server else 0),
            last_error=last_error,
            details={
                "acknowledged": counts.acknowledged,
                "acks_lost": counts.lost,
                "overflowed": counts.overflowed,
                "triggers_early": counts.early,
                "triggers_repeated": counts.repeated,
                "requests_refused": refused,
                "writes_forbidden": self._forbidden,
                "plc_silent": float(now.silent),
                "malformed": server.malformed if server else 0,
            },
        )

    def close(self) -> None:
        with self._lock:
            self._closed = True
        if self._server is not None:
            self._server.close()

    def _may_write(self, peer: Peer) -> bool:
        writers = self._settings.writers
        return not writers or (peer is not None and any(peer in network for network in writers))

    def _written(self, said: Written) -> None:
        """On the server's thread: a request wrote something. Recipe first, trigger last, as in one request they belong
        together."""
        if said.recipe is not None:
            self._prepare(said.recipe)
        now, steps = self._clock(), []
        with self._lock:
            before = self._handshake
            if said.heartbeat is not None:
                self._handshake = hands.beaten(self._handshake, said.heartbeat, now)
            if said.ack is not None:
                self._handshake = hands.ack_level(self._handshake, said.ack, now).handshake
            if said.ack_number is not None:
                self._handshake = hands.ack_number(self._handshake, said.ack_number, now).handshake
            if said.trigger is not None:
                steps.append((hands.trigger_level(self._handshake, said.trigger), 0))
                self._handshake = steps[-1][0].handshake
            if said.trigger_number is not None:
                steps.append((hands.trigger_number(self._handshake, said.trigger_number), said.trigger_number))
                self._handshake = steps[-1][0].handshake
            back = before.silent and not self._handshake.silent
            if self._handshake is not before:
                self._draw()
        for step, number in steps:
            if step.job:
                self._ask(number, self._bank.part_id)
        self._arm()
        if back:
            event(_LOG, logging.INFO, "plc_back", "the PLC's heartbeat moves again")

    def _prepare(self, recipe: int) -> None:
        assert self._desk is not None
        refused, state = self._requests.recipe, self._state
        in_force = state is not None and state.recipe_index == recipe
        # A PLC may write all its registers in every cycle: the same again is nothing new.
        if recipe == self._recipe_written and (in_force or recipe in (refused, NO_RECIPE)):
            return
        self._recipe_written = recipe
        try:
            if recipe != NO_RECIPE:
                self._desk.prepare(recipe)
        except DiffadError as error:
            self._refuse(f"recipe {recipe} was refused: {error}", recipe=recipe)
        else:
            with self._lock:
                self._requests = replace(self._requests, recipe=None)
            self.state(self._desk.state())  # whoever reads back what he asked for should find it

    def _ask(self, number: int, part_id: str) -> None:
        assert self._desk is not None
        self._asked_ever += 1
        job_id = f"{self.name}-{self._run}-{self._asked_ever}"
        with self._lock:  # before the desk knows of it: the outcome may be there before `trigger` comes back
            self._asked[job_id] = number
            while len(self._asked) > _MOST_ASKED:
                self._asked.popitem(last=False)
        try:
            # Whoever asked for a recipe that there is not, and triggers all the same, must not be judged by another.
            self._desk.trigger(Request(self.name, job_id, part_id, self._requests.recipe))
        except DiffadError as error:
            with self._lock:
                self._asked.pop(job_id, None)
                self._handshake = hands.refused(self._handshake)
            self._refuse(f"a trigger was refused: {error}", trigger=True)
        else:
            if self._requests.trigger:
                with self._lock:
                    self._requests = replace(self._requests, trigger=False)
                    self._draw()

    def _refuse(self, text: str, *, recipe: int | None = None, trigger: bool | None = None) -> None:
        with self._lock:
            was = self._requests
            self._requests = Requests(
                was.recipe if recipe is None else recipe, was.trigger if trigger is None else trigger, was.refused + 1
            )
            self._last_error = text
            self._draw()
        event(_LOG, logging.WARNING, "modbus_request_refused", text)

    def _recipe_index(self, name: str) -> int:
        if not name or self._desk is None:
            return NO_RECIPE
        index = dict(self._desk.recipes()).get(name)
        return NO_RECIPE if index is None else index

    def _become(self, step: hands.Step[Kept]) -> None:
        self._handshake = step.handshake
        self._draw()

    def _draw(self) -> None:
        """Under the lock: the registers say what is so."""
        if self._state is not None:
            self._bank.image = picture(
                self._state, self._handshake, self._requests, self._station, self._settings.word_order
            )

    def _tell(self, step: hands.Step[Kept]) -> None:
        if step.raised is not None and self._desk is not None:
            self._desk.signalled(step.raised.outcome, self.name)
        if step.lost is not None:
            job = step.lost.outcome.job
            event(_LOG, logging.WARNING, "modbus_outcome_lost", f"nobody acknowledged {job.job_id}, part {job.part_id}")

    def _tick(self) -> None:
        """On the server's thread: what had to wait for its time."""
        with self._lock:
            before = self._handshake
            step = hands.ticked(before, self._clock())
            fell_silent = step.handshake.silent and not before.silent
            if fell_silent:
                self._faults += 1
                self._last_error = "the PLC's heartbeat stands still"
            if step.handshake is not before:
                self._become(step)
        if fell_silent:
            event(_LOG, logging.WARNING, "plc_silent", "the PLC's heartbeat stands still")
        self._tell(step)
        self._arm()

    def _arm(self) -> None:
        """On the server's thread: have `_tick` called when it is due."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        with self._lock:
            due = self._handshake.next_due
        if due is not None and self._server is not None and not self._closed:
            self._timer = self._server.later(due - self._clock(), self._tick)
