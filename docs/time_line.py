"""A station in a process of its own, and PLCs that trigger parts over each protocol, with faults: verdicts and times.

    python docs/time_line.py MODEL.diffad [--parts 10000] [--per-second 20]

Starts mosquitto (Debian: mosquitto) on a free port, then `diffad-edge run --line` before a camera that is always in
time (chaos:// without faults, 60 pictures a second), then examples/plc_simulator for each protocol in turn, a third of
the parts each. What is timed is what the PLC sees, from the moment before it sends a trigger to the verdict it heard;
of parts that neither had a fault nor queued behind one, less the inference that the station itself reports for them
(resize, both networks, mask).
The last line is one JSON object.
"""

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
QUIET = subprocess.DEVNULL


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def station(model: Path, folder: Path, ports: dict[str, int]) -> "subprocess.Popen[bytes]":
    """`diffad-edge run --line`, once it is ready."""
    (folder / "line.toml").write_text(
        "version = 1\ndeadline_ms = 500\nlate_trigger_ms = 60\n"
        f'[mqtt]\nhost = "127.0.0.1"\nport = {ports["mqtt"]}\nspool = "{folder / "spool"}"\n'
        f"[modbus]\nport = {ports['modbus']}\nack_timeout_s = 0.3\n"
        f'[opcua]\nendpoint = "opc.tcp://127.0.0.1:{ports["opcua"]}"\nfolder = "{folder / "opcua"}"\n'
        "anonymous = true\nunencrypted = true\n"
        f'[outputs]\nbackend = "file"\nfolder = "{folder / "pins"}"\npulse_ms = 20\n'
        '[outputs.lines]\nok = {line = "ok"}\nng = {line = "ng"}\n',
        encoding="utf-8",
    )
    camera = "chaos://?fps=60&size=256&faults=none&seed=3"
    command = [sys.executable, "-m", "diffad_edge", "run", str(model), "--camera", camera]
    command += ["--line", str(folder / "line.toml"), "--results", str(folder / "line.jsonl")]
    with (folder / "log").open("w") as log:
        running = subprocess.Popen(command, stdout=log, stderr=log)
    until = time.monotonic() + 120
    while "OPC UA at" not in (said := (folder / "log").read_text()):
        if running.poll() is not None or time.monotonic() > until:
            sys.exit(f"the station did not start:\n{said}")
        time.sleep(0.1)
    return running


def simulate(protocol: str, where: list[str], options: argparse.Namespace, results: Path) -> dict[str, Any]:
    """The simulator's own report."""
    command = [sys.executable, str(ROOT / "examples" / "plc_simulator"), *where, "--results", str(results)]
    command += ["--parts", str(options.parts // 3 + 1), "--per-second", str(options.per_second)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    lines = done.stdout.splitlines()
    if not lines or not lines[-1].startswith("{"):
        sys.exit(f"{protocol}: the simulator gave up")
    print(*lines[:-1], sep="\n", flush=True)
    return json.loads(lines[-1])["runs"][0]  # type: ignore[no-any-return]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--parts", type=int, default=10_000)
    parser.add_argument("--per-second", type=float, default=20.0)
    options = parser.parse_args()
    broker = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if broker is None:
        parser.error("mosquitto is not installed (Debian: apt-get install mosquitto)")
    ports = {name: free_port() for name in ("mqtt", "opcua", "modbus")}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "broker").write_text(
            f"listener {ports['mqtt']} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\n"
        )
        serving = subprocess.Popen([broker, "-c", str(folder / "broker")], stdout=QUIET, stderr=QUIET)
        running = station(options.model, folder, ports)
        try:
            where = {
                "mqtt": ["--mqtt", f"127.0.0.1:{ports['mqtt']}"],
                "opcua": ["--opcua", f"opc.tcp://127.0.0.1:{ports['opcua']}"],
                "modbus": ["--modbus", f"127.0.0.1:{ports['modbus']}"],
            }
            reports = [simulate(key, place, options, folder / "line.jsonl") for key, place in where.items()]
        finally:
            running.send_signal(signal.SIGTERM)
            running.wait(20)
            serving.kill()
        rows = [json.loads(line) for line in (folder / "line.jsonl").read_text().splitlines()]
    print(
        "\n| protocol | parts | with a fault | broken | trigger to signal p50, p99 | beyond inference p50, p95, p99 |"
    )
    print("|---|---|---|---|---|---|")
    for one in reports:
        whole, beyond = one["trigger_to_signal_ms"], one["beyond_inference_ms"]
        times = (
            f"{whole['p50']:.1f}, {whole['p99']:.1f} | {beyond['p50']:.1f}, {beyond['p95']:.1f}, {beyond['p99']:.1f}"
        )
        print(f"| {one['protocol']} | {one['parts']} | {sum(one['faults'].values())} | {one['broken']} | {times} |")
    judged = [row["part_id"] for row in rows]
    twice = len(judged) - len(set(judged))
    print(json.dumps({"runs": reports, "judged": len(judged), "judged_twice": twice}))
    return 1 if twice or any(one["broken"] for one in reports) else 0


if __name__ == "__main__":
    sys.exit(main())
