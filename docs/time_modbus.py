"""What Modbus TCP adds to a part's time: from a client's write of the trigger to its reading of ResultsReady.

    OMP_NUM_THREADS=1 python docs/time_modbus.py [--parts 2000] [--delay-ms 5] [--pause-ms 5] [--load 0]

A desk with canned results answers --delay-ms after each trigger, on a thread of its own, as a station does. The clients
are processes of their own, on loopback: one made with pymodbus, one that writes and reads bare sockets; each reads
registers 0 to 47 again and again until ResultsReady is there. Of each part's time that between the desk's `trigger` and
its `show` is taken off. --load adds so many clients that read without a pause. The last line is JSON.
"""

import argparse
import json
import math
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import datetime, timezone

import numpy as np

from diffad_runtime.line.job import Job, LineState, Outcome, Phase, Request
from diffad_runtime.line.modbus import ModbusAdapter, ModbusSettings
from diffad_runtime.result import Result, Verdict

READ = 48
_PICTURE = np.zeros((8, 8), np.uint8)


class CannedDesk:
    """Answers every trigger with OK after a while; notes how long it took itself."""

    def __init__(self, delay_s: float) -> None:
        self.adapter: ModbusAdapter | None = None
        self.own_s: list[float] = []
        self.inside_s: list[float] = []
        self._delay_s = delay_s
        self._job: Job | None = None
        self._asked = threading.Semaphore(0)
        self._shown = 0.0
        threading.Thread(target=self._judge, daemon=True).start()

    def trigger(self, request: Request) -> Job:
        job = Job(len(self.own_s) + 1, request.job_id, request.part_id or request.job_id, request, time.monotonic())
        self._job = job
        self._asked.release()
        return job

    def _judge(self) -> None:
        while True:
            self._asked.acquire()
            job = self._job
            assert job is not None
            assert self.adapter is not None
            time.sleep(self._delay_s)
            result = Result(
                frame_id=job.number, t_capture=datetime.now(timezone.utc), score=0.5, verdict=Verdict.OK,
                mask=_PICTURE, anomaly_map=_PICTURE.astype(np.float32), latency_ms={"trigger": 1.0},
                bundle_digest="0" * 64, variant="fp32", backend="canned", image_threshold=1.0, pixel_threshold=1.0,
            )  # fmt: skip
            self._shown = time.monotonic()
            self.own_s.append(self._shown - job.asked)
            self.adapter.show(Outcome(job, result, self._shown))

    def signalled(self, outcome: Outcome, channel: str) -> None:  # noqa: ARG002
        self.inside_s.append(time.monotonic() - self._shown)

    def prepare(self, recipe: str | int) -> None:
        pass

    def recipes(self) -> tuple[tuple[str, int | None], ...]:
        return ()

    def state(self) -> LineState:
        return LineState(
            phase=Phase.READY, heartbeat=0, beat_s=1.0, open=0, recipe="", recipe_index=None, counts={}, duplicates=0,
            faults=(), model_id="canned", model_version=1, bundle_digest="0" * 64, last_job=0, run_id="timing",
        )  # fmt: skip


Exchange = tuple[Callable[[int, int], None], Callable[[], list[int]]]


def by_pymodbus(port: int) -> Exchange:
    """(write a register, read the block) of pymodbus's client."""
    from pymodbus.client import ModbusTcpClient  # noqa: PLC0415

    client = ModbusTcpClient("127.0.0.1", port=port, timeout=5)
    client.connect()

    def write(address: int, value: int) -> None:
        client.write_register(address, value, device_id=1)

    return write, lambda: list(client.read_input_registers(0, count=READ, device_id=1).registers)


def by_socket(port: int) -> Exchange:
    """The same with nothing between."""
    plug = socket.create_connection(("127.0.0.1", port), timeout=5)
    plug.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def write(address: int, value: int) -> None:
        plug.sendall(struct.pack(">HHHBBHH", 1, 0, 6, 1, 6, address, value))
        plug.recv(12)

    def read() -> list[int]:
        plug.sendall(struct.pack(">HHHBBHH", 1, 0, 6, 1, 4, 0, READ))
        data = b""
        while len(data) < 9 + 2 * READ:
            data += plug.recv(1024)
        return list(struct.unpack(f">{READ}H", data[9:]))

    return write, read


CLIENTS = {"pymodbus": by_pymodbus, "sockets": by_socket}


def client(kind: str, port: int, parts: int, pause_s: float) -> None:
    """Trigger, read until the result is there, acknowledge; prints seconds by part. Without parts: read for ever."""
    write, read = CLIENTS[kind](port)
    while not parts:
        read()
    times = []
    for number in range(1, parts + 1):
        began = time.monotonic()
        write(1, number)
        while not (block := read())[0] & 2:
            pass
        times.append(time.monotonic() - began)
        assert block[20] == number
        write(2, block[16])
        time.sleep(pause_s)
    print(json.dumps(times))


def percentile(values: list[float], share: float) -> float:
    """Milliseconds."""
    ordered = sorted(values)
    return 1e3 * ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)]


def measured(kind: str, args: argparse.Namespace) -> dict[str, float]:
    """p50, p99 and the worst, milliseconds, of one kind of client."""
    desk = CannedDesk(1e-3 * args.delay_ms)
    adapter = desk.adapter = ModbusAdapter(ModbusSettings(port=0))
    adapter.start(desk)
    words = [sys.executable, __file__, "--port", str(adapter.port), "--pause-ms", str(args.pause_ms), "--client"]
    load = [subprocess.Popen([*words, "sockets", "--parts", "0"]) for _ in range(args.load)]
    try:
        done = subprocess.run([*words, kind, "--parts", str(args.parts)], stdout=subprocess.PIPE, check=True)
    finally:
        for one in load:
            one.kill()
            one.wait()
        adapter.close()
    beyond = [total - own for total, own in zip(json.loads(done.stdout), desk.own_s, strict=True)][20:]
    inside = desk.inside_s[20:]
    return {
        "p50_ms": percentile(beyond, 0.5),
        "p99_ms": percentile(beyond, 0.99),
        "worst_ms": max(beyond) * 1e3,
        "show_p50_ms": percentile(inside, 0.5),
        "show_p99_ms": percentile(inside, 0.99),
    }


def main() -> None:
    """Print one line a client."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", type=int, default=2000)
    parser.add_argument("--delay-ms", type=float, default=5.0)
    parser.add_argument("--pause-ms", type=float, default=5.0)
    parser.add_argument("--load", type=int, default=0)
    parser.add_argument("--client", choices=CLIENTS, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.client:
        client(args.client, args.port, args.parts, 1e-3 * args.pause_ms)
        return
    report = {}
    for kind in CLIENTS:
        report[kind] = {name: round(value, 3) for name, value in measured(kind, args).items()}
        print(f"{kind:10s}", "  ".join(f"{name} {value:.3f}" for name, value in report[kind].items()))
    print(json.dumps({"parts": args.parts - 20, "load": args.load, **report}))


if __name__ == "__main__":
    main()
