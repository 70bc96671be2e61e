"""The units in examples/systemd: what systemd says of them, and that their command is one that we have."""

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

UNITS = sorted((Path(__file__).parents[2] / "examples" / "systemd").glob("*.service"))
ANALYZE = shutil.which("systemd-analyze")
# Both would take the GPU's and the cameras' devices away, the third the socket of CSI cameras.
FORBIDDEN = ("PrivateDevices", "DevicePolicy", "PrivateTmp", "MemoryDenyWriteExecute")


def settings(unit: Path) -> list[tuple[str, str]]:
    lines = unit.read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    return [
        (name, value) for line in lines if "=" in line and line[0] != "#" for name, _, value in [line.partition("=")]
    ]


def test_there_are_units() -> None:
    assert [unit.name for unit in UNITS] == ["diffad-edge-clocks.service", "diffad-edge.service"]


@pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not on this machine")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_takes_them(unit: Path, tmp_path: Path) -> None:
    # Commands that this machine does not have are said to be no files.
    text = unit.read_text(encoding="utf-8")
    for command in ("/usr/bin/jetson_clocks", "/opt/diffad-edge/venv/bin/diffad-edge"):
        text = text.replace(f"ExecStart={command}", "ExecStart=/bin/true")
    (tmp_path / unit.name).write_text(text, encoding="utf-8")
    done = subprocess.run(
        [str(ANALYZE), "verify", "--man=no", str(tmp_path / unit.name)], capture_output=True, text=True, check=False
    )
    ours = [line for line in (done.stdout + done.stderr).splitlines() if unit.name in line]
    assert (done.returncode, ours) == (0, [])


def test_the_inspecting_unit_sees_the_gpu_and_is_not_root() -> None:
    found = dict(settings(UNITS[1]))
    assert not [name for name in FORBIDDEN if name in found]
    assert found["User"] == "diffad-edge"
    assert found["SupplementaryGroups"].split() == ["video", "render"]
    assert found["CacheDirectoryMode"] == "0700"
    # `run` says that it is ready, feeds the watchdog, and ends well on SIGTERM, systemd's own, within 5 s.
    assert (found["Type"], found["NotifyAccess"]) == ("notify", "main")
    assert int(found["WatchdogSec"]) >= 10
    assert int(found["TimeoutStopSec"]) > 5
    assert "KillSignal" not in found
    assert found["Restart"] == "always"
    environment = [value for name, value in settings(UNITS[1]) if name == "Environment"]
    assert f"XDG_CACHE_HOME=%C/{found['CacheDirectory']}" in environment


def test_its_command_is_one_that_we_have() -> None:
    words = shlex.split(dict(settings(UNITS[1]))["ExecStart"])
    assert words[:2] == ["/opt/diffad-edge/venv/bin/diffad-edge", "run"]
    command = [word for word in words if word.startswith("--")]
    done = subprocess.run(
        [sys.executable, "-m", "diffad_edge", "run", "--help"],
        capture_output=True, text=True, check=True, env={"COLUMNS": "200"},
    )  # fmt: skip
    assert command
    assert [option for option in command if option not in done.stdout] == []
