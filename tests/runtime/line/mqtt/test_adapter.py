"""One station and a real broker: triggers, results, recipes, state, junk, and how it ends."""

import json
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from diffad_runtime.errors import InputError, MissingExtraError
from diffad_runtime.line.mqtt import MqttAdapter, MqttSettings
from diffad_runtime.line.settings import Address

BASE = "diffad/plant-1/press-3/left"


def _ready(listener: Any) -> None:
    listener.wait("state")


def test_a_trigger_is_acknowledged_and_its_result_is_told(broker: Any, listen: Any, desk: Any, start: Any) -> None:
    plc = listen(broker.port)
    start(broker.port)
    _ready(plc)
    plc.publish(f"{BASE}/trigger", {"job_id": "j1", "part_id": "p1", "recipe": "lid", "deadline_ms": 250})
    ack, result = plc.wait("ack")[0], plc.wait("result")[0]
    assert ack == {"kind": "trigger", "job_id": "j1", "part_id": "p1", "job": 1, "run_id": "run-1"}
    request = desk.requests[0]
    assert (request.channel, request.recipe, request.deadline_ms) == ("mqtt", "lid", 250.0)
    assert (result["job_id"], result["part_id"], result["verdict"], result["reject"]) == ("j1", "p1", "NG", True)
    assert (result["run_id"], result["repeat"], result["channel"]) == ("run-1", False, "mqtt")
    assert result["seq"] > 0
    assert not any(retained for topic, _, retained in plc.heard if topic.endswith("/result"))


def test_jobs_without_a_name_get_one(broker: Any, listen: Any, start: Any) -> None:
    plc = listen(broker.port)
    start(broker.port)
    _ready(plc)
    plc.publish(f"{BASE}/trigger", b"{}")
    ack, result = plc.wait("ack")[0], plc.wait("result")[0]
    assert ack["job_id"] == result["job_id"] != ""


def test_results_of_a_free_running_camera_and_the_desk_is_told_when_they_are_sent(
    broker: Any, listen: Any, desk: Any, start: Any, soon: Any
) -> None:
    consumer = listen(broker.port)
    adapter = start(broker.port)
    _ready(consumer)
    begun = time.monotonic()
    for number in range(1, 201):
        adapter.show(desk.own(number))
    heard = consumer.wait("result", 200)
    seqs = [one["seq"] for one in heard]
    assert seqs == list(range(seqs[0], seqs[0] + 200))
    assert [one["job"] for one in heard] == list(range(1, 201))
    soon(lambda: adapter.status().waiting == 0)
    assert [number for number, _ in desk.signals] == list(range(1, 201))
    assert all(begun <= at <= time.monotonic() for _, at in desk.signals)
    status = adapter.status()
    assert (status.name, status.connected, status.sent, status.lost, status.faults) == ("mqtt", True, 200, 0, 0)
    assert status.last_error == ""


def test_a_repeated_trigger_is_the_same_job(broker: Any, listen: Any, desk: Any, start: Any) -> None:
    plc = listen(broker.port)
    start(broker.port)
    _ready(plc)
    for _ in range(3):
        plc.publish(f"{BASE}/trigger", {"job_id": "j1"})
        plc.wait("result", 1)
    results = plc.wait("result", 3)
    assert {one["job"] for one in plc.wait("ack", 3)} == {1}
    assert [one["repeat"] for one in results] == [False, True, True]
    assert len({(one["run_id"], one["job"], one["verdict"], one["score"]) for one in results}) == 1
    assert desk.duplicates == 2


def test_a_retained_trigger_is_a_phantom(broker: Any, listen: Any, desk: Any, start: Any, soon: Any) -> None:
    plc = listen(broker.port)
    plc.publish(f"{BASE}/trigger", {"job_id": "old"}, retain=True)
    plc.publish(f"{BASE}/recipe", {"recipe": "lid"}, retain=True)
    adapter = start(broker.port)
    _ready(plc)
    soon(lambda: adapter.status().details["retained"] == 2)
    plc.publish(f"{BASE}/trigger", {"job_id": "new"})
    assert plc.wait("result")[0]["job_id"] == "new"
    assert [one.job_id for one in desk.requests] == ["new"]
    assert not desk.prepared
    assert not plc.of("refused")


def test_a_trigger_sent_too_long_ago_is_refused_and_says_so(broker: Any, listen: Any, desk: Any, start: Any) -> None:
    plc = listen(broker.port)
    start(broker.port, stale_s=2)
    _ready(plc)
    plc.publish(f"{BASE}/trigger", {"job_id": "late", "sent_ms": 1e3 * time.time() - 60_000})
    refused = plc.wait("refused")[0]
    assert (refused["kind"], refused["job_id"], refused["why"]) == ("trigger", "late", "stale")
    assert "gone by" in refused["reason"]
    plc.publish(f"{BASE}/trigger", {"job_id": "fresh", "sent_ms": 1e3 * time.time()})
    plc.wait("result")
    assert [one.job_id for one in desk.requests] == ["fresh"]


def test_triggers_that_came_while_nobody_was_there_are_gone(broker: Any, listen: Any, desk: Any, start: Any) -> None:
    """The broker keeps no session for us, whatever it kept for others."""
    plc = listen(broker.port)
    first = start(broker.port)
    _ready(plc)
    first.close()
    plc.publish(f"{BASE}/trigger", {"job_id": "nobody"})
    start(broker.port)
    plc.publish(f"{BASE}/trigger", {"job_id": "here"})
    while not plc.of("result"):  # it may have come before the second one listened
        plc.publish(f"{BASE}/trigger", {"job_id": "here"})
        time.sleep(0.05)
    assert {one.job_id for one in desk.requests} == {"here"}


def test_recipes_are_prepared_or_refused(broker: Any, listen: Any, desk: Any, start: Any) -> None:
    plc = listen(broker.port)
    start(broker.port)
    _ready(plc)
    plc.publish(f"{BASE}/recipe", {"recipe": 3})
    assert plc.wait("ack")[0] == {"kind": "recipe", "recipe": 3, "run_id": "run-1"}
    plc.publish(f"{BASE}/recipe", {"recipe": "none"})
    refused = plc.wait("refused")[0]
    assert (refused["kind"], refused["why"]) == ("recipe", "refused")
    assert "no recipe 'none'" in refused["reason"]
    assert desk.prepared == [3]


def test_a_desk_that_fails_costs_an_answer_and_nothing_else(broker: Any, listen: Any, desk: Any, start: Any) -> None:
    plc = listen(broker.port)
    adapter = start(broker.port)
    _ready(plc)
    desk.fails = RuntimeError("boom")
    plc.publish(f"{BASE}/trigger", {"job_id": "j1"})
    assert plc.wait("refused")[0]["why"] == "internal"
    desk.fails = None
    plc.publish(f"{BASE}/trigger", {"job_id": "j2"})
    plc.wait("result")
    assert adapter.status().details["connections"] == 1


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    payload=st.binary(max_size=200)
    | st.text(max_size=100).map(str.encode)
    | st.dictionaries(
        st.sampled_from(["job_id", "part_id", "recipe", "deadline_ms", "sent_ms", "x"]),
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=300) | st.lists(st.none()),
    ).map(lambda fields: json.dumps(fields).encode()),
    topic=st.sampled_from(["trigger", "recipe"]),
)
def test_junk_is_answered_and_harms_nothing(
    payload: bytes, topic: str, broker: Any, listen: Any, start: Any, request: Any
) -> None:
    state = request.node.__dict__
    if "plc" not in state:
        state["plc"], state["adapter"] = listen(broker.port), start(broker.port)
        _ready(state["plc"])
    plc, adapter = state["plc"], state["adapter"]
    before = len(plc.of("ack")) + len(plc.of("refused"))
    plc.publish(f"{BASE}/{topic}", payload)
    until = time.monotonic() + 5
    while len(plc.of("ack")) + len(plc.of("refused")) == before:
        assert time.monotonic() < until, payload
        time.sleep(0.001)
    status = adapter.status()
    assert status.connected
    assert status.details["connections"] == 1
    assert status.details["taken"] + status.details["refused"] == before + 1


def test_a_message_longer_than_any_trigger(broker: Any, listen: Any, start: Any) -> None:
    plc = listen(broker.port)
    adapter = start(broker.port)
    _ready(plc)
    plc.publish(f"{BASE}/trigger", b"x" * 5000)
    assert plc.wait("refused")[0]["why"] == "too_long"
    plc.publish(f"{BASE}/trigger", b"x" * 200_000)  # this one the broker keeps from us, as we asked it to
    plc.publish(f"{BASE}/trigger", {"job_id": "j1"})
    plc.wait("result")
    assert adapter.status().details["connections"] == 1


def test_the_state_is_retained_and_follows_changes(broker: Any, listen: Any, desk: Any, start: Any) -> None:
    from dataclasses import replace

    from diffad_runtime.line.job import Phase

    plc = listen(broker.port)
    adapter = start(broker.port)
    first = plc.wait("state")[0]
    assert (first["site"], first["line"], first["station"]) == ("plant-1", "press-3", "left")
    assert (first["state"], first["ready"], first["heartbeat"], first["waiting"]) == ("ready", True, 7, 0)
    adapter.state(replace(desk.state(), phase=Phase.FAULT, faults=("the camera is gone",)))
    changed = plc.wait("state", 2)[1]
    assert (changed["state"], changed["ready"], changed["faults"]) == ("fault", False, ["the camera is gone"])
    late = listen(broker.port)
    assert late.wait("state")[0]["state"] == "fault"
    assert late.heard[0][2], "not retained"


def test_closed_it_leaves_stopped_behind_and_what_was_shown_is_sent(
    broker: Any, listen: Any, desk: Any, start: Any
) -> None:
    consumer = listen(broker.port)
    adapter = start(broker.port)
    _ready(consumer)
    for number in range(1, 51):
        adapter.show(desk.own(number))
    begun = time.monotonic()
    adapter.close()
    assert time.monotonic() - begun < 1
    adapter.close()
    assert len(consumer.wait("result", 50)) == 50
    last = consumer.wait("state", 2)[-1]
    assert (last["state"], last["ready"]) == ("stopped", False)
    time.sleep(0.2)
    assert consumer.of("state")[-1]["state"] == "stopped", "the will was published over it"
    assert not adapter.status().connected
    assert adapter.status().waiting == 0
    adapter.show(desk.own(51))  # too late, and harmless
    adapter.state(desk.state())


def test_the_last_will_is_seen_when_the_process_dies(broker: Any, listen: Any) -> None:
    plc = listen(broker.port)
    child = (
        "import sys, time\n"
        "sys.path.insert(0, sys.argv[2])\n"
        "from conftest import ADDRESS, CannedDesk\n"
        "from diffad_runtime.line.mqtt import MqttAdapter, MqttSettings\n"
        "MqttAdapter(MqttSettings(host='127.0.0.1', port=int(sys.argv[1])), ADDRESS).start(CannedDesk('doomed'))\n"
        "time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", child, str(broker.port), str(Path(__file__).parent)])
    plc.wait("state", seconds=20)
    process.kill()
    process.wait()
    last = plc.wait("state", 2)[1]
    assert (last["state"], last["ready"], last["run_id"]) == ("offline", False, "doomed")
    late = listen(broker.port)
    assert late.wait("state")[0]["state"] == "offline"


def test_mosquittos_own_clients_understand_us(broker: Any, start: Any, soon: Any) -> None:
    if shutil.which("mosquitto_sub") is None:
        pytest.skip("mosquitto-clients is not installed")
    at = ["-h", "127.0.0.1", "-p", str(broker.port), "-V", "mqttv311", "-q", "1"]
    hears = subprocess.Popen(
        ["mosquitto_sub", *at, "-t", "diffad/+/+/+/result", "-C", "1"], stdout=subprocess.PIPE, text=True
    )
    adapter = start(broker.port)
    soon(lambda: adapter.status().connected)
    soon(lambda: broker.log().count("mqttv311") or broker.log().count("p2, c1"))
    time.sleep(0.2)  # its subscription follows its connection
    subprocess.run(["mosquitto_pub", *at, "-t", f"{BASE}/trigger", "-m", '{"job_id": "other"}'], check=True)
    out, _ = hears.communicate(timeout=10)
    assert json.loads(out)["job_id"] == "other"


def test_mqtt_3_1_1(broker: Any, listen: Any, start: Any) -> None:
    plc = listen(broker.port)
    plc.publish(f"{BASE}/trigger", {"job_id": "old"}, retain=True)
    adapter = start(broker.port, protocol="3.1.1")
    _ready(plc)
    plc.publish(f"{BASE}/trigger", {"job_id": "j1"})
    assert [one["job_id"] for one in plc.wait("result")] == ["j1"]
    adapter.close()
    assert plc.wait("state", 2)[-1]["state"] == "stopped"


def test_started_without_a_broker_it_returns_and_keeps_what_is_shown(
    make_broker: Any, listen: Any, desk: Any, start: Any, soon: Any, tmp_path: Path
) -> None:
    broker = make_broker()
    begun = time.monotonic()
    adapter = start(broker.port, spool=tmp_path / "spool")
    assert time.monotonic() - begun < 1
    adapter.state(desk.state())
    for number in range(1, 11):
        adapter.show(desk.own(number))
    soon(lambda: adapter.status().last_error)
    status = adapter.status()
    assert (status.connected, status.waiting, status.sent) == (False, 10, 0)
    assert status.last_error == f"nothing listens at 127.0.0.1:{broker.port}"
    broker.start()
    # Whoever wants results that were decided before it came has to have its session before us.
    soon(lambda: adapter.status().waiting == 0)
    consumer = listen(broker.port)
    assert consumer.wait("state")[0]["ready"]


def test_what_cannot_start_says_why(tmp_path: Path, desk: Any) -> None:
    def start(**changes: Any) -> None:
        MqttAdapter(MqttSettings(host="127.0.0.1", port=1, **changes), Address()).start(desk)

    with pytest.raises(InputError, match="cannot read the password file"):
        start(username="u", password_file=tmp_path / "none")
    with pytest.raises(InputError, match="cannot read the CA file"):
        start(tls={"ca": tmp_path / "none"})
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot make the spool folder"):
        start(spool=tmp_path / "file" / "spool")
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("mqtt")]


def test_without_paho_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, desk: Any) -> None:
    monkeypatch.setitem(sys.modules, "paho.mqtt", None)
    monkeypatch.setitem(sys.modules, "paho.mqtt.client", None)
    with pytest.raises(MissingExtraError, match=r"diffad-edge\[line\]"):
        MqttAdapter(MqttSettings(host="b"), Address()).start(desk)


def test_closed_in_every_state(make_broker: Any, desk: Any, start: Any) -> None:
    never = MqttAdapter(MqttSettings(host="b"), Address())
    assert never.status().connected is False
    never.close()
    never.start(desk)  # after close: nothing happens
    never.close()
    silent = make_broker()
    adapter = start(silent.port)
    closers = [threading.Thread(target=adapter.close) for _ in range(3)]
    begun = time.monotonic()
    for one in closers:
        one.start()
    for one in closers:
        one.join(3)
    assert time.monotonic() - begun < 2
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("mqtt")]


def test_a_wire_leaves_no_open_file_behind(broker: Any, start: Any, soon: Any) -> None:
    import gc
    import os

    def opened() -> int:
        gc.collect()
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208

    adapter = start(broker.port)
    soon(lambda: adapter.status().connected)
    adapter.close()
    before = opened()
    for _ in range(3):
        adapter = start(broker.port)
        soon(lambda: adapter.status().connected)  # noqa: B023
        adapter.close()
    assert opened() <= before
