"""What is sent in which turn, against a wire that only counts."""

from collections.abc import Iterator
from typing import Any

import pytest

from diffad_runtime.line.mqtt.inbox import Reply
from diffad_runtime.line.mqtt.outbox import Outbox
from diffad_runtime.line.mqtt.spool import Spool
from diffad_runtime.line.mqtt.topics import topics_of
from diffad_runtime.line.mqtt.wire import Answer
from diffad_runtime.line.settings import Address

TOPICS = topics_of("diffad", Address())


class CountingWire:
    """Takes everything and answers nothing by itself."""

    window = 20

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.flying: list[int] = []
        self.flushed = True

    @property
    def room(self) -> int:
        return self.window - len(self.flying)

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> int:
        assert self.room > 0, "more than the broker allows"
        assert retain == (topic == TOPICS.state)
        assert payload.startswith(b"{")
        self.sent.append(topic)
        self.flying.append(len(self.sent))
        return len(self.sent)

    def answer(self, outbox: Outbox, refusal: str = "") -> None:
        outbox.answered(Answer(self.flying.pop(0), refusal))


@pytest.fixture
def spool() -> Iterator[Spool]:
    one = Spool(None, most=1000, most_bytes=1 << 20)
    yield one
    one.close()


@pytest.fixture
def outbox(spool: Spool, desk: Any) -> Outbox:
    return Outbox(spool, desk, "mqtt", TOPICS, Address(), "run", failed=lambda _: None, pause_s=0.0)


def test_the_state_goes_first_then_answers_and_results_by_turns(outbox: Outbox, desk: Any) -> None:
    wire: Any = CountingWire()
    for number in range(1, 4):
        outbox.put(desk.own(number))
        outbox.reply(Reply(TOPICS.ack, b"{}"))
    outbox.tell(desk.state())
    outbox.pump(wire)
    assert wire.sent == [TOPICS.state, *[TOPICS.ack, TOPICS.result] * 3]


def test_results_leave_room_for_a_state(outbox: Outbox, desk: Any) -> None:
    wire: Any = CountingWire()
    for number in range(1, 101):
        outbox.put(desk.own(number))
    outbox.pump(wire)
    assert len(wire.sent) == 16
    outbox.tell(desk.state())
    outbox.pump(wire)
    assert wire.sent[16:] == [TOPICS.state]


def test_after_a_refusal_results_go_one_by_one_until_one_is_taken(outbox: Outbox, spool: Spool, desk: Any) -> None:
    wire: Any = CountingWire()
    for number in range(1, 101):
        outbox.put(desk.own(number))
    outbox.pump(wire)
    for _ in range(16):
        wire.answer(outbox, "Quota exceeded")
    outbox.pump(wire)
    assert len(wire.flying) == 1
    wire.answer(outbox, "Quota exceeded")
    outbox.pump(wire)
    assert len(wire.flying) == 1
    wire.answer(outbox)
    outbox.pump(wire)
    assert len(wire.flying) == 16
    assert spool.status().waiting == 99
    assert outbox.sent == 1


def test_the_desk_is_told_when_bytes_have_left_and_not_before(outbox: Outbox, desk: Any) -> None:
    wire: Any = CountingWire()
    wire.flushed = False  # the socket's buffer is full
    outbox.put(desk.own(1))
    outbox.pump(wire)
    outbox.flushed(wire)
    assert not desk.signals
    wire.flushed = True
    outbox.flushed(wire)
    outbox.flushed(wire)
    assert [number for number, _ in desk.signals] == [1]


def test_a_connection_lost_sends_again_and_tells_the_desk_once(outbox: Outbox, desk: Any) -> None:
    for number in range(1, 4):
        outbox.put(desk.own(number))
    for _ in range(3):
        wire: Any = CountingWire()
        outbox.pump(wire)
        assert wire.sent == [TOPICS.result] * 3
        outbox.forget_connection()
    assert [number for number, _ in desk.signals] == [1, 2, 3]


def test_what_waits_holds_no_pictures(outbox: Outbox, desk: Any) -> None:
    outbox.put(desk.own(1))
    (kept,) = outbox._unsignalled.values()
    assert kept.result.mask.size == kept.result.anomaly_map.size == 0


def test_too_many_answers_give_way_to_newer_ones(outbox: Outbox) -> None:
    for number in range(300):
        outbox.reply(Reply(TOPICS.refused, b"%d" % number))
    assert outbox.dropped == 300 - 256
