"""How long a verdict takes to an OPC UA client on this machine, encrypted, by event, by monitored variable and by call.

    python docs/time_opcua.py [--jobs 1000] [--pause-ms 50] [--interval-ms 10] [--clients 1]

A server runs in this process, each client in a process of its own; both read the same monotonic clock. Times:

    event      from `show` to the client's handler of the ResultReady event
    variable   from `show` to the client's handler of LastResult.PartId
    written    from `show` to `desk.signalled`: variables written, notifications on their way
    call       StartSingleJob, from the call to its answer
    round      from the call of StartSingleJob to the event, with a desk that decides at once

The first tenth is for warming up. With more clients, those of all are put together. The last line is JSON.
"""

import argparse
import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
from asyncua import Client, ua
from asyncua.crypto.security_policies import SecurityPolicyBasic256Sha256

from diffad_runtime.line.job import Job, LineState, Outcome, Phase, Request
from diffad_runtime.line.opcua.adapter import OpcUaAdapter
from diffad_runtime.line.opcua.certificates import own_identity
from diffad_runtime.line.opcua.settings import OpcUaSettings
from diffad_runtime.result import Result, Verdict

URI = "urn:timing:client"


def result(part: str) -> Result:
    """A verdict with a picture of 1080p."""
    return Result(
        frame_id=0,
        t_capture=datetime.now(timezone.utc),
        score=0.5,
        verdict=Verdict.OK,
        mask=np.zeros((1080, 1920), np.uint8),
        anomaly_map=np.zeros((256, 256), np.float32),
        latency_ms={"total": 20.0},
        bundle_digest="0" * 64,
        variant="fp32",
        backend="none",
        image_threshold=1.0,
        pixel_threshold=1.0,
        part_id=part,
    )


class Desk:
    """Decides at once, on another thread; keeps when outcomes were shown and signalled."""

    def __init__(self) -> None:
        self.adapter: OpcUaAdapter | None = None
        self.shown: dict[int, float] = {}
        self.written: list[float] = []
        self._number = 0
        self._state = LineState(
            Phase.READY, 0, 1.0, 0, "", None, {"OK": 0, "NG": 0, "ERROR": 0}, 0, (), "timing", 1, "0" * 64, 0, "run"
        )

    def trigger(self, request: Request) -> Job:
        self._number += 1
        job = Job(self._number, f"job-{self._number}", request.part_id, request, time.monotonic())
        threading.Thread(target=self.show, args=(job,)).start()
        return job

    def show(self, job: Job) -> None:
        """Tell a verdict; where the part has no name, its name is the time."""
        assert self.adapter is not None
        now = time.monotonic()
        self.shown[job.number] = now
        named = job if job.part_id else replace(job, part_id=f"{now:.9f}")
        self.adapter.show(Outcome(named, result(named.part_id), now))

    def prepare(self, recipe: str | int) -> None:
        pass

    def recipes(self) -> tuple[tuple[str, int | None], ...]:
        return ()

    def state(self) -> LineState:
        return self._state

    def signalled(self, outcome: Outcome, channel: str) -> None:  # noqa: ARG002  the desk's
        self.written.append(1e3 * (time.monotonic() - self.shown.pop(outcome.job.number)))


async def visit(given: argparse.Namespace) -> dict[str, list[float]]:
    """A client's day: waits for verdicts of others, then asks for its own. Milliseconds."""
    own = Path(given.own)
    client = Client(given.client, timeout=10)
    client.application_uri = URI
    certificate, key = str(own / "own.der"), str(own / "own.key.pem")
    await client.set_security(SecurityPolicyBasic256Sha256, certificate=certificate, private_key=key)
    await client.load_client_certificate(certificate)
    await client.load_private_key(key)
    times: dict[str, list[float]] = {"event": [], "variable": [], "call": [], "round": []}
    mine: asyncio.Queue[float] = asyncio.Queue()

    class Handler:
        def event_notification(self, event: Any) -> None:
            now = time.monotonic()
            if event.Part == "mine":
                mine.put_nowait(now)
            else:
                times["event"].append(1e3 * (now - float(event.Part)))

        def datachange_notification(self, _: Any, value: Any, __: Any) -> None:
            if value not in (None, "mine"):
                times["variable"].append(1e3 * (time.monotonic() - float(value)))

    async with client:
        await client.load_data_type_definitions()
        system = client.get_node("ns=3;s=VisionSystem")
        for kind in ("event", "variable"):
            subscription = await client.create_subscription(given.interval_ms, Handler())
            if kind == "event":
                await subscription.subscribe_events(system, client.get_node("ns=3;s=InspectionResultReadyEventType"))
            else:
                await subscription.subscribe_data_change(client.get_node("ns=3;s=Line.LastResult.PartId"))
        print("ready", flush=True)
        while len(times["event"]) < given.jobs:
            await asyncio.sleep(0.1)
        if given.alone:
            automatic = client.get_node("ns=3;s=VisionSystem.VisionStateMachine.AutomaticModeStateMachine")
            kinds = ("MeasIdDataType", "PartIdDataType", "RecipeIdExternalDataType", "ProductIdDataType")
            named = [vars(ua)[kind](Id="mine" if kind.startswith("Part") else "") for kind in kinds]
            for _ in range(given.jobs):
                began = time.monotonic()
                nothing = ua.Variant([], ua.VariantType.Variant, is_array=True)
                await automatic.call_method("2:StartSingleJob", *named, nothing)
                times["call"].append(1e3 * (time.monotonic() - began))
                times["round"].append(1e3 * (await mine.get() - began))
                await asyncio.sleep(1e-3 * given.pause_ms)
    return times


def spread(found: list[float]) -> dict[str, float]:
    """Without the first tenth."""
    low, middle, high, top = np.quantile(found[len(found) // 10 :], [0.05, 0.5, 0.99, 1.0])
    return {"p05": float(low), "p50": float(middle), "p99": float(high), "max": float(top), "count": len(found)}


def serve(given: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        own_identity(folder / "client", URI, "client", "127.0.0.1", 1)
        (folder / "server" / "trusted").mkdir(parents=True)
        shutil.copy(folder / "client" / "own.der", folder / "server" / "trusted")
        desk = Desk()
        began = time.monotonic()
        adapter = OpcUaAdapter(OpcUaSettings(endpoint="opc.tcp://127.0.0.1:0", folder=folder / "server", sessions=100))
        desk.adapter = adapter
        adapter.start(desk)
        starting = time.monotonic() - began
        command = [sys.executable, __file__, "--client", f"opc.tcp://127.0.0.1:{adapter.port}"]
        command += ["--own", str(folder / "client"), "--jobs", str(given.jobs), "--pause-ms", str(given.pause_ms)]
        command += ["--interval-ms", str(given.interval_ms)] + (["--alone"] if given.clients == 1 else [])
        clients = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(given.clients)]
        for one in clients:
            assert one.stdout is not None
            assert one.stdout.readline() == "ready\n"
        for number in range(given.jobs):
            desk.show(Job(1_000_000 + number, f"n{number}", "", Request("opcua"), time.monotonic()))
            time.sleep(1e-3 * given.pause_ms)
        times: dict[str, list[float]] = {"written": desk.written[: given.jobs]}
        for one in clients:
            for kind, found in json.loads(one.communicate()[0].splitlines()[-1]).items():
                times.setdefault(kind, []).extend(found)
        began = time.monotonic()
        adapter.close()
        report = {kind: spread(found) for kind, found in times.items() if found}
        print(f"{'ms':10s} {'p05':>7s} {'p50':>7s} {'p99':>7s} {'max':>7s} {'count':>7s}")
        for kind, row in report.items():
            print(f"{kind:10s} " + " ".join(f"{value:7.2f}" for value in row.values()))
        print(
            json.dumps({**report, "start_s": starting, "close_s": time.monotonic() - began, "clients": given.clients})
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--pause-ms", type=float, default=50.0)
    parser.add_argument("--interval-ms", type=float, default=10.0)
    parser.add_argument("--clients", type=int, default=1)
    parser.add_argument("--client", default="", help=argparse.SUPPRESS)
    parser.add_argument("--own", default="", help=argparse.SUPPRESS)
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.client:
        print(json.dumps(asyncio.run(visit(given))))
    else:
        serve(given)


if __name__ == "__main__":
    main()
