"""What comes in, put to the desk, and what is answered. Knows both languages; does not know the wire.

Nothing that comes in can do harm: what is wrong is refused in words, and counted.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from diffad_runtime.errors import InputError
from diffad_runtime.health.logs import event
from diffad_runtime.line.base import Desk
from diffad_runtime.line.job import Request
from diffad_runtime.line.mqtt.messages import (
    Refusal,
    Why,
    ack_message,
    prepared_message,
    read_preparation,
    read_trigger,
    refused_message,
)
from diffad_runtime.line.mqtt.topics import Topics
from diffad_runtime.line.mqtt.wire import Message

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Reply:
    """What is to be published: a topic and bytes."""

    topic: str
    payload: bytes


class Inbox:
    """Triggers and recipes of one run. Called from one thread.

    Args:
        desk: takes them.
        channel: as the desk knows the adapter.
        topics: of the station.
        run_id: of this run.
        stale_s: a message that says it is older is refused.
        wall: seconds since 1970.

    Attributes:
        taken, refused: messages that were followed, and that were not.
        retained: messages that the broker had kept from before; they are passed over.
    """

    def __init__(
        self,
        desk: Desk,
        channel: str,
        topics: Topics,
        run_id: str,
        *,
        stale_s: float,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._desk, self._channel, self._topics, self._run_id = desk, channel, topics, run_id
        self._stale_s, self._wall = stale_s, wall
        self.taken = self.refused = self.retained = 0

    def take(self, message: Message) -> Reply | None:
        """Follow a message; the reply to it, None where there is none.

        A retained one is a trigger of some earlier part: following it would judge a part that is not there, and to
        refuse it would confuse whoever once had an answer to it.
        """
        if message.retained:
            self.retained += 1
            text = f"passed over a retained message on {message.topic}; triggers and recipes must not be retained"
            event(_LOG, logging.WARNING, "mqtt_retained", text)
            return None
        kind = "trigger" if message.topic == self._topics.trigger else "recipe"
        answer = self._trigger(message.payload) if kind == "trigger" else self._recipe(message.payload)
        if isinstance(answer, Refusal):
            self.refused += 1
            return Reply(self._topics.refused, refused_message(kind, answer, message.payload, self._run_id))
        self.taken += 1
        return Reply(self._topics.ack, answer)

    def _trigger(self, payload: bytes) -> bytes | Refusal:
        said = read_trigger(payload, now_ms=1e3 * self._wall(), stale_s=self._stale_s)
        if isinstance(said, Refusal):
            return said
        request = Request(self._channel, said.job_id, said.part_id, said.recipe, said.deadline_ms)
        try:
            return ack_message(self._desk.trigger(request), self._run_id)
        except InputError as error:
            return Refusal(Why.REFUSED, str(error), said.job_id)
        except Exception as error:
            return _ours("trigger", error, said.job_id)

    def _recipe(self, payload: bytes) -> bytes | Refusal:
        said = read_preparation(payload, now_ms=1e3 * self._wall(), stale_s=self._stale_s)
        if isinstance(said, Refusal):
            return said
        try:
            self._desk.prepare(said.recipe)
        except InputError as error:
            return Refusal(Why.REFUSED, str(error))
        except Exception as error:
            return _ours("recipe", error)
        return prepared_message(said.recipe, self._run_id)


def _ours(what: str, error: Exception, job_id: str = "") -> Refusal:
    """A fault of the station must not end the connection that the line hangs on."""
    text = f"the station failed on a {what}: {type(error).__name__}: {error}"
    event(_LOG, logging.ERROR, "mqtt_desk", text)
    return Refusal(Why.INTERNAL, text, job_id)
