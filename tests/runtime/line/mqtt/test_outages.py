"""Brokers that are killed, hang or come late, and a station that is killed: no result is lost, order is kept."""

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

BASE = "diffad/plant-1/press-3/left"
HERE = str(Path(__file__).parent)


def _once(results: list[Any]) -> list[Any]:
    """As a consumer reads them who drops what it has seen: numbers that do not grow."""
    kept: list[Any] = []
    for one in results:
        if not kept or one["seq"] > kept[-1]["seq"]:
            kept.append(one)
    return kept


def _saved(broker: Any) -> None:
    """Have the broker write its sessions down, as SIGKILL would not."""
    broker.send(signal.SIGUSR1)
    time.sleep(0.3)


def test_a_broker_killed_mid_run_loses_no_result(
    broker: Any, listen: Any, desk: Any, start: Any, soon: Any, tmp_path: Path
) -> None:
    consumer = listen(broker.port, name="historian")
    adapter = start(broker.port, spool=tmp_path / "spool")
    consumer.wait("state")
    stop = threading.Event()
    shown = 0

    def produce() -> None:
        nonlocal shown
        while not stop.wait(0.003):
            shown += 1
            adapter.show(desk.own(shown))

    line = threading.Thread(target=produce)
    line.start()
    try:
        for _ in range(4):
            heard = len(consumer.of("result"))
            consumer.wait("result", heard + 20)
            _saved(broker)
            broker.end(signal.SIGKILL)
            time.sleep(0.2)
            broker.start()
            consumer.wait_there()
            soon(lambda: adapter.status().connected)
    finally:
        stop.set()
        line.join()
    soon(lambda: adapter.status().waiting == 0)
    soon(lambda: consumer.of("result")[-1]["job"] == shown)
    results = consumer.of("result")
    assert [one["job"] for one in _once(results)] == list(range(1, shown + 1))
    seqs = [one["seq"] for one in _once(results)]
    assert seqs == list(range(seqs[0], seqs[0] + shown))  # without a gap in one run
    status = adapter.status()
    assert (status.lost, status.details["connections"]) == (0, 5)
    assert status.sent == shown


def test_the_station_killed_while_the_broker_is_away(make_broker: Any, listen: Any, start: Any, tmp_path: Path) -> None:
    broker = make_broker()
    child = (
        "import sys, time\n"
        "sys.path.insert(0, sys.argv[2])\n"
        "from conftest import ADDRESS, CannedDesk\n"
        "from diffad_runtime.line.mqtt import MqttAdapter, MqttSettings\n"
        "desk = CannedDesk('killed')\n"
        "adapter = MqttAdapter(MqttSettings(host='127.0.0.1', port=int(sys.argv[1]), spool=sys.argv[3]), ADDRESS)\n"
        "adapter.start(desk)\n"
        "for number in range(1, 1001):\n"
        "    adapter.show(desk.own(number))\n"
        "    while adapter.status().details['unstored']: time.sleep(0.0002)\n"
        "    print(number, flush=True)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", child, str(broker.port), HERE, str(tmp_path / "spool")],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    while int(process.stdout.readline()) < 300:
        pass
    process.kill()
    process.wait()
    said = 300 + len(process.stdout.read().split("\n")) - 1
    process.stdout.close()
    broker.start()
    consumer = listen(broker.port)
    start(broker.port, spool=tmp_path / "spool")
    results = consumer.wait("result", said)
    jobs = [one["job"] for one in results]
    assert jobs == list(range(1, len(jobs) + 1))
    assert {one["run_id"] for one in results} == {"killed"}
    seqs = [one["seq"] for one in results]
    assert seqs == sorted(set(seqs))


def test_both_runs_of_a_station_share_one_order(
    broker: Any, listen: Any, make_desk: Any, start: Any, tmp_path: Path
) -> None:
    consumer = listen(broker.port)
    jobs = []
    for run in ("first", "second"):
        desk = make_desk(run)
        adapter = start(broker.port, desk, spool=tmp_path / "spool")
        for number in range(1, 11):
            adapter.show(desk.own(number))
            jobs.append((run, number))
        consumer.wait("result", len(jobs))
        adapter.close()
    results = consumer.of("result")
    assert [(one["run_id"], one["job"]) for one in results] == jobs
    seqs = [one["seq"] for one in results]
    assert seqs == sorted(set(seqs))


def test_a_broker_that_hangs_is_left_and_its_results_are_kept(
    broker: Any, listen: Any, desk: Any, start: Any, soon: Any
) -> None:
    consumer = listen(broker.port)
    adapter = start(broker.port, answer_s=0.5, connect_s=0.5)
    consumer.wait("state")
    broker.send(signal.SIGSTOP)
    for number in range(1, 101):
        adapter.show(desk.own(number))
    soon(lambda: "did not acknowledge within 0.5 s" in adapter.status().last_error)
    assert not adapter.status().connected
    broker.send(signal.SIGCONT)
    soon(lambda: adapter.status().waiting == 0)
    soon(lambda: len(_once(consumer.of("result"))) == 100)
    assert [one["job"] for one in _once(consumer.of("result"))] == list(range(1, 101))


def test_triggers_that_a_hanging_broker_held_back_are_not_judged_late(
    broker: Any, listen: Any, desk: Any, start: Any, soon: Any
) -> None:
    """What says when it was sent is refused; what the broker held for our old connection is gone with it."""
    plc = listen(broker.port)
    adapter = start(broker.port, answer_s=0.5, connect_s=0.5, stale_s=0.5)
    plc.wait("state")
    broker.send(signal.SIGSTOP)
    sent = {"job_id": "held", "sent_ms": 1e3 * time.time()}
    held = plc.client.publish(f"{BASE}/trigger", json.dumps(sent).encode(), qos=1)
    adapter.state(desk.state())  # the beat, by which a silent connection is found out
    soon(lambda: not adapter.status().connected)
    time.sleep(0.3)
    broker.send(signal.SIGCONT)
    held.wait_for_publish(10)
    soon(lambda: adapter.status().connected)
    plc.publish(f"{BASE}/trigger", {"job_id": "fresh"})
    plc.wait("result")
    assert [one.job_id for one in desk.requests] == ["fresh"]


def test_the_oldest_of_a_long_outage_are_given_up_and_counted(
    make_broker: Any, listen: Any, desk: Any, start: Any, soon: Any, tmp_path: Path
) -> None:
    broker = make_broker()
    adapter = start(broker.port, spool=tmp_path / "spool", spool_messages=100)
    for number in range(1, 1001):
        adapter.show(desk.own(number))
    soon(lambda: adapter.status().waiting == 100)
    assert adapter.status().lost == 900
    broker.start()
    consumer = listen(broker.port)
    assert [one["job"] for one in consumer.wait("result", 100)] == list(range(901, 1001))
    adapter.state(desk.state())
    soon(lambda: consumer.of("state")[-1]["lost"] == 900)


def test_two_stations_of_one_name_are_told_apart_by_their_faults(
    broker: Any, make_desk: Any, start: Any, soon: Any
) -> None:
    first, second = (start(broker.port, make_desk(name)) for name in ("one", "two"))
    soon(lambda: any("does another client have our name" in one.status().last_error for one in (first, second)))
    before = sum(one.status().details["connections"] for one in (first, second))
    time.sleep(1.5)
    after = sum(one.status().details["connections"] for one in (first, second))
    assert after - before < 15  # they back off instead of taking turns as fast as they can


def test_something_that_is_no_broker(start: Any, soon: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(5)
        adapter = start(server.getsockname()[1], connect_s=0.5)
        taken = [server.accept()[0]]
        soon(lambda: "says nothing: is it a broker?" in adapter.status().last_error)
        taken.append(server.accept()[0])
        taken[1].sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 10)
        soon(lambda: adapter.status().faults >= 2)
        begun = time.monotonic()
        adapter.close()
        assert time.monotonic() - begun < 2
        for one in taken:
            one.close()


def test_closed_while_it_connects_it_is_done_in_time(start: Any, soon: Any) -> None:
    """A host that swallows everything: its backlog is full."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        waiting = []
        for _ in range(4):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(server.getsockname())
            waiting.append(one)
        adapter = start(server.getsockname()[1], connect_s=1.5)
        time.sleep(0.2)
        begun = time.monotonic()
        adapter.close()
        assert time.monotonic() - begun < 2
        soon(lambda: not [thread for thread in threading.enumerate() if thread.name.startswith("mqtt")], 5)
        for one in waiting:
            one.close()


@pytest.mark.parametrize("size", [600, 60_000])
def test_a_broker_with_a_limit_loses_only_what_is_larger(
    make_broker: Any, listen: Any, desk: Any, start: Any, soon: Any, size: int
) -> None:
    broker = make_broker("allow_anonymous true", f"max_packet_size {size}")
    broker.start()
    consumer = listen(broker.port)
    adapter = start(broker.port)
    adapter.show(desk.own(1, error="x" * 30_000))
    adapter.show(desk.own(2, recipe="r"))
    if size < 30_000:
        soon(lambda: adapter.status().lost >= 1)
        assert "at most 600 bytes" in adapter.status().last_error
    else:
        assert [one["job"] for one in consumer.wait("result", 2)] == [1, 2]
    assert adapter.status().details["connections"] == 1


def test_a_fault_of_the_library_costs_a_connection_and_no_result(
    broker: Any, listen: Any, desk: Any, start: Any, soon: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from diffad_runtime.line.mqtt.wire import Wire

    consumer = listen(broker.port)
    adapter = start(broker.port)
    consumer.wait("state")
    step, broken = Wire.step, [True]

    def breaks(self: Wire, timeout_s: float) -> Any:
        if broken:
            broken.clear()
            raise IndexError("bytearray index out of range")
        return step(self, timeout_s)

    monkeypatch.setattr(Wire, "step", breaks)
    for number in range(1, 11):
        adapter.show(desk.own(number))
    soon(lambda: adapter.status().details["connections"] == 2)
    soon(lambda: adapter.status().waiting == 0)
    assert "IndexError: bytearray index out of range" in adapter.status().last_error
    soon(lambda: [one["job"] for one in _once(consumer.of("result"))] == list(range(1, 11)))
