"""A station in one process, the PLC simulator in another, over each protocol: one verdict for each part."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

for _package in ("paho", "asyncua", "pymodbus"):
    pytest.importorskip(_package, reason="the extra [line] is not installed")

ROOT = Path(__file__).parents[2]
MOSQUITTO = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
ENV = os.environ | {"OMP_NUM_THREADS": "1"}
PARTS = 60


def _port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


class Station:
    """`diffad-edge run --line`."""

    def __init__(self, bundle: Path, folder: Path) -> None:
        self.mqtt, self.opcua, self.modbus = _port(), _port(), _port()
        self.results, self.pins = folder / "line.jsonl", folder / "pins"
        self._broker = self._start_broker(folder)
        mqtt = f'[mqtt]\nhost = "127.0.0.1"\nport = {self.mqtt}\nspool = "{folder / "spool"}"\n' if self._broker else ""
        (folder / "line.toml").write_text(
            "version = 1\ndeadline_ms = 2000\nlate_trigger_ms = 60\n"
            f"[modbus]\nport = {self.modbus}\nack_timeout_s = 0.3\n"
            f'[opcua]\nendpoint = "opc.tcp://127.0.0.1:{self.opcua}"\nfolder = "{folder / "opcua"}"\n'
            "anonymous = true\nunencrypted = true\n"
            f'[outputs]\nbackend = "file"\nfolder = "{self.pins}"\npulse_ms = "latched"\n'
            '[outputs.lines]\nok = {line = "ok"}\nng = {line = "ng"}\n' + mqtt
        )
        command = [
            sys.executable, "-m", "diffad_edge", "run", str(bundle), "--line", str(folder / "line.toml"),
            "--camera", "synthetic://line?fps=40&size=64&defects=0.3", "--results", str(self.results), "--json",
        ]  # fmt: skip
        self.log, self.out = folder / "log", folder / "out"
        with self.log.open("w") as log, self.out.open("w") as out:
            self._process = subprocess.Popen(command, stdout=out, stderr=log, env=ENV)

    def _start_broker(self, folder: Path) -> "subprocess.Popen[bytes] | None":
        if MOSQUITTO is None:
            return None
        (folder / "broker").write_text(f"listener {self.mqtt} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\n")
        quiet = subprocess.DEVNULL
        return subprocess.Popen([MOSQUITTO, "-c", str(folder / "broker")], stdout=quiet, stderr=quiet)

    def stop(self) -> dict[str, object]:
        """End it as systemd does; its summary."""
        self._process.send_signal(signal.SIGTERM)
        assert self._process.wait(15) == 0, self.log.read_text()
        return json.loads(self.out.read_text().splitlines()[-1])  # type: ignore[no-any-return]

    def close(self) -> None:
        for process in (self._process, self._broker):
            if process is not None and process.poll() is None:
                process.kill()
                process.wait()


@pytest.fixture(scope="module")
def station(golden_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Station]:
    made = Station(golden_bundle, tmp_path_factory.mktemp("station"))
    until = time.monotonic() + 30
    while "is streaming" not in made.log.read_text() and time.monotonic() < until:
        time.sleep(0.05)
    yield made
    made.close()


def simulate(*arguments: str, results: Path) -> dict[str, object]:
    done = subprocess.run(
        [
            sys.executable, str(ROOT / "examples" / "plc_simulator"), *arguments, "--parts", str(PARTS),
            "--per-second", "15", "--results", str(results),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=ENV,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = json.loads(done.stdout.splitlines()[-1])["runs"]
    return run  # type: ignore[no-any-return]


@pytest.mark.parametrize("protocol", ["mqtt", "opcua", "modbus"])
def test_every_part_has_one_verdict(station: Station, protocol: str) -> None:
    if protocol == "mqtt" and MOSQUITTO is None:
        pytest.skip("mosquitto is not installed")
    where = {
        "mqtt": ("--mqtt", f"127.0.0.1:{station.mqtt}"),
        "opcua": ("--opcua", f"opc.tcp://127.0.0.1:{station.opcua}"),
        "modbus": ("--modbus", f"127.0.0.1:{station.modbus}"),
    }[protocol]
    run = simulate(*where, "--seed", "3", results=station.results)
    assert (run["protocol"], run["parts"], run["broken"]) == (protocol, PARTS, 0)
    verdicts = run["verdicts"]
    assert isinstance(verdicts, dict)
    assert sum(verdicts.values()) == PARTS
    assert verdicts.get("OK", 0) + verdicts.get("NG", 0) > PARTS / 2
    told = [json.loads(line) for line in station.results.read_text().splitlines()]
    mine = Counter(row["part_id"] for row in told if row["part_id"].startswith(protocol))
    assert len(mine) == PARTS
    assert set(mine.values()) == {1}, "a part was judged twice"
    last = told[-1]["verdict"]
    assert [(station.pins / name).read_text().strip() for name in ("ok", "ng")] == (
        ["1", "0"] if last == "OK" else ["0", "1"]
    )


def test_it_ends_as_a_service_does(station: Station) -> None:
    summary = station.stop()
    assert summary["stopped"] is True
    assert summary["problems"] == []


def test_a_campaign_finds_what_is_wrong() -> None:
    """The judge of the others: told nothing, twice, something else, or by mistake."""
    sys.path.insert(0, str(ROOT / "examples" / "plc_simulator"))
    try:
        from campaign import Part, fault_of
        from plc import Told
    finally:
        sys.path.pop(0)

    ok, ng = Told("a", "OK", 0, False, 1.0), Told("a", "NG", 0, True, 1.0)
    lost, late = Told("a", "ERROR", 20, True, 1.0), Told("a", "ERROR", 11, True, 1.0)
    good: list[tuple[str, list[Told]]] = [("", [ok]), ("double", [ng, ng]), ("recipe", [lost]), ("late", [late])]
    bad: list[tuple[str, list[Told]]] = [
        ("", []), ("", [ok, ok]), ("double", [ok, ng]), ("recipe", [ok]), ("late", [ok]), ("late", [lost]),
        ("", [Told("a", "NG", 0, False, 1.0)]), ("", [Told("a", "ERROR", 10, False, 1.0)]),
        ("", [Told("a", "REFUSED", -1, True, 1.0)]),
    ]  # fmt: skip
    assert [fault_of(Part("a", fault, 0.0), told) for fault, told in good] == [""] * len(good)
    assert all(fault_of(Part("a", fault, 0.0), told) for fault, told in bad)
