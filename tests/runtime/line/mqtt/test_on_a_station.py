"""Broker, adapter, desk, station, camera: each trigger gets its one verdict over the wire, whatever happens to it."""

import signal
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from diffad_runtime.engines.fake import FakeEngine
from diffad_runtime.inspector import Inspector
from diffad_runtime.line.desk import LineDesk
from diffad_runtime.line.mqtt import MqttAdapter, MqttSettings
from diffad_runtime.line.settings import Address
from diffad_runtime.manifest import ImageScore
from diffad_runtime.rules import DecisionRules
from diffad_runtime.sources import open_source
from diffad_runtime.station import Station

ADDRESS = Address(site="plant-1", line="press-3", station="left")
BASE = "diffad/plant-1/press-3/left"
RULES = DecisionRules(0.5, 0.5, ImageScore(pixels=1))
PARTS = 60


def test_one_verdict_each_with_doubled_triggers_junk_and_a_killed_broker(
    broker: Any, listen: Any, soon: Any, tmp_path: Path
) -> None:
    plc = listen(broker.port, name="plc")
    settings = MqttSettings(host="127.0.0.1", port=broker.port, spool=tmp_path / "spool", backoff_s=0.1)
    adapter = MqttAdapter(settings, ADDRESS)
    inspector = Inspector(FakeEngine(32), RULES)
    source = open_source("synthetic://line?fps=100&size=32&defects=0.5")
    with Station(inspector, source, late_trigger_ms=20) as station:
        desk = LineDesk(inspector, station.monitor, [adapter], submit=station.submit, beat_s=0.1)
        with desk:
            soon(lambda: any(state["ready"] for state in plc.of("state")))
            for number in range(PARTS):
                trigger = {"job_id": f"job {number}", "part_id": f"part {number}", "deadline_ms": 1000}
                plc.publish(f"{BASE}/trigger", trigger)
                if number % 7 == 0:
                    plc.publish(f"{BASE}/trigger", trigger)
                if number % 11 == 0:
                    plc.publish(f"{BASE}/trigger", {**trigger, "colour": "red"})
                if number == PARTS // 2:
                    soon(lambda: len(plc.of("ack")) >= PARTS // 2)
                    broker.send(signal.SIGUSR1)
                    time.sleep(0.2)
                    broker.end(signal.SIGKILL)
                    time.sleep(0.2)
                    broker.start()
                    plc.wait_there()
                    soon(lambda: adapter.status().connected)
                    soon(lambda: station.monitor.snapshot().pending == 0)
                time.sleep(0.01)
            soon(lambda: len({one["job_id"] for one in plc.of("result")}) == PARTS)
            soon(lambda: adapter.status().waiting == 0)
            timed = station.monitor.snapshot().stages
        soon(lambda: plc.of("state")[-1]["state"] == "stopped")
    inspector.close()
    verdicts = defaultdict(set)
    for one in plc.of("result"):
        verdicts[one["job_id"]].add((one["run_id"], one["job"], one["verdict"], one["code"], one["score"]))
    assert set(verdicts) == {f"job {number}" for number in range(PARTS)}
    assert {len(told) for told in verdicts.values()} == {1}
    assert len(plc.of("refused")) == len(range(0, PARTS, 11))
    assert sum(timed["signal mqtt"].counts) >= PARTS
    assert not desk.problems
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("mqtt")]
