"""How long a verdict takes over MQTT, and what it costs whoever judges. Needs Debian's mosquitto, and paho-mqtt.

    OMP_NUM_THREADS=1 python docs/time_mqtt.py [--parts 2000] [--every-ms 20] [--spool DIR] [--tls]

A broker on loopback, an adapter with a spool on the disk, and a subscriber, this one in another process. Milliseconds:

    show         in the call of show(), on the judging thread
    to the wire  from show() until the bytes are with the kernel, as the desk is told
    to the ear   from show() until the subscriber has the message; both on one clock
    round trip   from publishing a trigger until its result is there, where the desk answers at once

`--tls` encrypts with a certificate made by openssl. The last line is JSON.
"""

import argparse
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
from paho.mqtt.client import CallbackAPIVersion, Client

from diffad_runtime.line.job import Job, LineState, Outcome, Phase, Request
from diffad_runtime.line.mqtt import MqttAdapter, MqttSettings
from diffad_runtime.line.settings import Address
from diffad_runtime.result import Defect, Result, Verdict

SUBSCRIBER = """
import json, sys, time
from paho.mqtt.client import CallbackAPIVersion, Client
host, port, ca, count = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
heard = {}
client = Client(CallbackAPIVersion.VERSION2, client_id="ear")
if ca:
    client.tls_set(ca_certs=ca)
def on_message(client, _, message):
    now = time.monotonic()
    heard[json.loads(message.payload)["job"]] = now
    if len(heard) >= count:
        client.disconnect()
client.on_message = on_message
client.on_connect = lambda client, *_: client.subscribe("diffad/+/+/+/result", 1)
client.on_subscribe = lambda *_: print("ready", flush=True)
client.connect(host, port)
client.loop_forever()
print(json.dumps(heard), flush=True)
"""
WHEN = datetime.now(timezone.utc)


class Answers:
    """A desk that answers at once and keeps when it was told of what is on the wire."""

    def __init__(self) -> None:
        self.wire: dict[int, float] = {}
        self.adapter: MqttAdapter | None = None
        self.number = 0

    def trigger(self, request: Request) -> Job:
        self.number += 1
        job = Job(self.number, request.job_id, request.job_id, request, time.monotonic())
        assert self.adapter is not None
        self.adapter.show(outcome_of(job))
        return job

    def prepare(self, recipe: str | int) -> None: ...

    def recipes(self) -> tuple[tuple[str, int | None], ...]:
        return ()

    def state(self) -> LineState:
        return LineState(Phase.READY, 1, 0.5, 0, "", None, {}, 0, (), "m", 1, "d" * 64, 0, "run")

    def signalled(self, outcome: Outcome, _: str) -> None:
        self.wire[outcome.job.number] = time.monotonic()


def outcome_of(job: Job) -> Outcome:
    """An NG part of 256 pixels with three defects: about 900 bytes of JSON."""
    defects = tuple(Defect(140 + n, (30, 10, 14, 10), 1.5, (37.0, 15.0), "lid") for n in range(3))
    mask, anomaly = np.zeros((256, 256), np.uint8), np.zeros((256, 256), np.float32)
    latency = {"resize": 0.2, "extract": 4.1, "reconstruct": 8.3, "mask": 0.4, "total": 13.0}
    result = Result(
        job.number, WHEN, 0.7, Verdict.NG, mask, anomaly, latency, "d" * 64, "fp32", "fake", 0.5, 0.5, job.part_id
    )
    return Outcome(job, replace(result, defects=defects), time.monotonic())


def broker(stack: ExitStack, folder: Path, tls: bool) -> tuple[str, int, str]:
    """Start mosquitto; host, port and CA file."""
    program = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    lines = ["user root", "allow_anonymous true", "set_tcp_nodelay true", f"listener {port} 127.0.0.1"]
    ca = ""
    if tls:
        ca, key = str(folder / "ca.pem"), str(folder / "key.pem")
        made = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=localhost -addext"
        made_args = [*made.split(), "subjectAltName=DNS:localhost", "-keyout", key, "-out", ca]
        subprocess.run(made_args, check=True, capture_output=True)
        lines += [f"certfile {ca}", f"keyfile {key}"]
    (folder / "conf").write_text("\n".join(lines) + "\n")
    process = subprocess.Popen(
        [program, "-c", str(folder / "conf")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    stack.callback(process.wait)
    stack.callback(process.terminate)
    return "localhost" if tls else "127.0.0.1", port, ca


def percentiles(values: list[float]) -> dict[str, float]:
    """Milliseconds of seconds."""
    return {
        name: round(1e3 * float(np.percentile(values, level)), 3)
        for name, level in (("p50", 50), ("p95", 95), ("p99", 99), ("max", 100))
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", type=int, default=2000)
    parser.add_argument("--every-ms", type=float, default=20.0)
    parser.add_argument("--spool", type=Path, default=None, help="folder; a temporary one where left out")
    parser.add_argument("--tls", action="store_true")
    args = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        host, port, ca = broker(stack, folder, args.tls)
        time.sleep(0.5)
        ear = subprocess.Popen(
            [sys.executable, "-c", SUBSCRIBER, host, str(port), ca, str(2 * args.parts)],
            stdout=subprocess.PIPE,
            text=True,
        )
        stack.callback(ear.kill)
        assert ear.stdout is not None
        ear.stdout.readline()
        tls: Any = {"ca": ca} if ca else None
        spool = args.spool or folder / "spool"
        desk = Answers()
        desk.adapter = MqttAdapter(MqttSettings(host=host, port=port, tls=tls, spool=spool), Address())
        stack.callback(desk.adapter.close)
        desk.adapter.start(desk)
        while not desk.adapter.status().connected:
            time.sleep(0.01)
        shown, calls = show(desk, args.parts, args.every_ms)
        sent = trigger(desk, host, port, ca, args.parts, args.every_ms)
        heard = {int(number): at for number, at in json.loads(ear.stdout.readline()).items()}
        figures = {
            "show": percentiles(calls[50:]),
            "to the wire": percentiles([desk.wire[n] - shown[n] for n in list(shown)[50:]]),
            "to the ear": percentiles([heard[n] - shown[n] for n in list(shown)[50:]]),
            "round trip": percentiles([heard[n] - sent[n] for n in list(sent)[50:]]),
        }
        status = desk.adapter.status()
    for name, row in figures.items():
        print(f"{name:12}", "  ".join(f"{key} {value:8.3f}" for key, value in row.items()))
    print(json.dumps({"ms": figures, "parts": args.parts, "tls": args.tls, "lost": status.lost}))


def show(desk: Answers, parts: int, every_ms: float) -> tuple[dict[int, float], list[float]]:
    """When each was shown, and how long that took."""
    assert desk.adapter is not None
    shown: dict[int, float] = {}
    calls: list[float] = []
    for _ in range(parts):
        desk.number += 1
        outcome = outcome_of(Job(desk.number, f"j{desk.number}", f"p{desk.number}", Request(""), time.monotonic()))
        shown[desk.number] = start = time.monotonic()
        desk.adapter.show(outcome)
        calls.append(time.monotonic() - start)
        time.sleep(every_ms / 1e3)
    return shown, calls


def trigger(desk: Answers, host: str, port: int, ca: str, parts: int, every_ms: float) -> dict[int, float]:
    """When each trigger was published, by the number that its job gets."""
    client = Client(CallbackAPIVersion.VERSION2, client_id="mouth")
    if ca:
        client.tls_set(ca_certs=ca)
    client.connect(host, port)
    client.loop_start()
    sent: dict[int, float] = {}
    for _ in range(parts):
        number = desk.number + 1
        sent[number] = time.monotonic()
        client.publish("diffad/site/line/station/trigger", json.dumps({"job_id": f"t{number}"}), qos=1)
        time.sleep(every_ms / 1e3)
        while desk.number < number:  # or the next one would take its number
            time.sleep(0.001)
    client.disconnect()
    client.loop_stop()
    return sent


if __name__ == "__main__":
    main()
