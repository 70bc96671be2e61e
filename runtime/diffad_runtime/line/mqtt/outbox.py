"""What goes out over a connection, and in which turn: the state, then answers and results one by one.

Knows what is on its way, what the broker made of it, and when the desk must be told. Does not know when there is a
connection (adapter.py), nor where results wait (spool.py).
"""

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from diffad_runtime.line.base import Desk
from diffad_runtime.line.job import LineState, Outcome
from diffad_runtime.line.mqtt.inbox import Reply
from diffad_runtime.line.mqtt.messages import absent_message, result_message, state_message
from diffad_runtime.line.mqtt.spool import Spool
from diffad_runtime.line.mqtt.topics import Topics
from diffad_runtime.line.mqtt.wire import Answer, Wire
from diffad_runtime.line.settings import Address

_NO_MASK = np.zeros((0, 0), np.uint8)
_NO_MAP = np.zeros((0, 0), np.float32)
_KEPT_FREE = 4  # of the window: a slow broker still hears state and answers at once
_MOST_REPLIES = 256
_REMEMBERED = 4096  # jobs, as many as the desk does
_MOST_UNSIGNALLED = 1024


class Outbox:
    """Of one run. `put` and `tell` from any thread, all else from the one that drives the wire.

    Args:
        spool: where results wait.
        desk: is told of results that are on the wire.
        channel: as the desk knows the adapter.
        topics, address, run_id: of this station and run.
        failed: takes a line for each fault.
        pause_s: a result that the broker refuses is sent again after it.

    Attributes:
        sent: results that the broker has.
        dropped: answers that were given up, as more were due than any sender waits for.
    """

    def __init__(
        self,
        spool: Spool,
        desk: Desk,
        channel: str,
        topics: Topics,
        address: Address,
        run_id: str,
        *,
        failed: Callable[[str], None],
        pause_s: float,
    ) -> None:
        self._spool, self._desk, self._channel = spool, desk, channel
        self._topics, self._address, self._run_id = topics, address, run_id
        self._failed, self._pause_s = failed, pause_s
        self.sent = self.dropped = 0
        self._lock = threading.Lock()  # guards what `put` and `tell` touch
        self._unsignalled: OrderedDict[int, Outcome] = OrderedDict()
        self._jobs: OrderedDict[int, None] = OrderedDict()
        self._state: LineState | None = None
        self._replies: deque[Reply] = deque()
        self._flights: dict[int, int] = {}  # number on the wire -> number of the result
        self._unflushed: list[int] = []
        self._hold_until = 0.0
        self._refused = False  # the last result that was answered

    def put(self, outcome: Outcome) -> None:
        """A verdict; waits for nothing."""
        # What waits must not hold pictures.
        light = replace(outcome, result=replace(outcome.result, mask=_NO_MASK, anomaly_map=_NO_MAP))
        repeat = self._is_repeat(outcome.job.number)

        def make(seq: int) -> bytes:
            with self._lock:
                self._unsignalled[seq] = light
                if len(self._unsignalled) > _MOST_UNSIGNALLED:
                    self._unsignalled.popitem(last=False)
            return result_message(light, seq=seq, run_id=self._run_id, repeat=repeat)

        self._spool.put(make)

    def tell(self, state: LineState) -> None:
        """The station now. Only the newest is sent."""
        with self._lock:
            self._state = state

    def reply(self, reply: Reply) -> None:
        """An answer to a message; the oldest gives way where there are too many."""
        if len(self._replies) >= _MOST_REPLIES:
            self._replies.popleft()
            self.dropped += 1
        self._replies.append(reply)

    @property
    def busy(self) -> bool:
        """Whether something waits or is on its way."""
        return bool(self._replies or self._flights or self._spool.status().waiting)

    def held_for(self, now: float) -> float:
        """Seconds until results may be sent again, 0 where they may."""
        return max(0.0, self._hold_until - now)

    def pump(self, wire: Wire) -> None:
        """Send what there is, as far as the broker's window allows.

        Raises:
            LinkError: the connection is gone.
        """
        more = True
        while more and wire.room > 0:
            state = self._due_state()
            if state is not None:
                wire.publish(self._topics.state, state, retain=True)
            elif self._replies:
                reply = self._replies.popleft()
                wire.publish(reply.topic, reply.payload)
                self._send_result(wire)
            else:
                more = self._send_result(wire)

    def flushed(self, wire: Wire) -> None:
        """Tell the desk of results that are on the wire now."""
        if not self._unflushed or not wire.flushed:
            return
        with self._lock:
            outcomes = [self._unsignalled.pop(seq, None) for seq in self._unflushed]
        self._unflushed.clear()
        for outcome in outcomes:
            if outcome is not None:  # not of an earlier run, nor sent before
                try:
                    self._desk.signalled(outcome, self._channel)
                except Exception as error:  # whoever counts there must not cost a connection
                    self._failed(f"signalled: {type(error).__name__}: {error}")

    def answered(self, answer: Answer) -> None:
        """What the broker made of a message."""
        seq = self._flights.pop(answer.number, None)
        if answer.refusal:
            self._failed(f"the broker refuses a message of ours: {answer.refusal}")
        if seq is None:
            return
        if not answer.refusal or answer.hopeless:
            self._refused = False
            self._spool.done(seq, lost=answer.hopeless)
            self.sent += not answer.hopeless
        else:  # not allowed, or too much for it: again later
            self._refused = True
            self._flights.clear()
            self._spool.rewind()
            self._hold_until = time.monotonic() + self._pause_s

    def leave(self, wire: Wire, limit_s: float) -> None:
        """Say that we go and that it was meant, and give the broker time to hear it.

        Raises:
            LinkError: the connection is gone.
        """
        until = time.monotonic() + limit_s
        if wire.room > 0:
            stopped = absent_message("stopped", self._address, self._run_id)
            last = wire.publish(self._topics.state, stopped, retain=True)
            while (left := until - time.monotonic()) > 0:
                answers = wire.step(left)[1]
                for answer in answers:
                    self.answered(answer)
                if any(answer.number == last for answer in answers):
                    break
            wire.goodbye()

    def forget_connection(self) -> None:
        """The connection is gone: what was on its way is sent again over the next one."""
        self._replies.clear()  # whoever asked knows that we were gone
        self._flights.clear()
        self._unflushed.clear()
        self._hold_until = 0.0
        self._spool.rewind()

    def _send_result(self, wire: Wire) -> bool:
        # Many at once are in order as long as all are taken; where one was not, the next goes alone.
        most = 1 if self._refused else max(1, wire.window - _KEPT_FREE)
        if wire.room <= 0 or len(self._flights) >= most or time.monotonic() < self._hold_until:
            return False
        entry = self._spool.take()
        if entry is None:
            return False
        self._flights[wire.publish(self._topics.result, entry.payload)] = entry.seq
        self._unflushed.append(entry.seq)
        self.flushed(wire)
        return True

    def _due_state(self) -> bytes | None:
        with self._lock:
            state, self._state = self._state, None
        if state is None:
            return None
        spool = self._spool.status()
        return state_message(state, self._address, waiting=spool.waiting, lost=spool.lost)

    def _is_repeat(self, number: int) -> bool:
        with self._lock:
            repeat = number in self._jobs
            self._jobs[number] = None
            if len(self._jobs) > _REMEMBERED:
                self._jobs.popitem(last=False)
            return repeat
