"""Verdicts become edges, nobody waits for a pulse, and everything is off when it should be."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from diffad_runtime.errors import InputError
from diffad_runtime.line.job import Outcome, Phase
from diffad_runtime.line.outputs import OutputsAdapter, OutputsSettings, Signal
from diffad_runtime.result import Verdict

Make = Callable[..., OutputsAdapter]
Outcomes = Callable[[int, Verdict], Outcome]
ALL: dict[str, Any] = {signal.value: {} for signal in Signal}


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    adapters: list[OutputsAdapter] = []

    def make(lines: Any = None, **settings: Any) -> OutputsAdapter:
        table = {"backend": "file", "folder": tmp_path / "wires", "lines": ALL, **settings}
        adapters.append(OutputsAdapter(OutputsSettings.model_validate(table), lines=lines))
        return adapters[-1]

    yield make
    for adapter in adapters:
        adapter.close()


def _wires(folder: Path) -> dict[str, int]:
    return {path.name: int(path.read_text()) for path in sorted((folder / "wires").iterdir()) if path.name[0] != "."}


def _until(condition: Callable[[], bool], seconds: float = 2.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not so within {seconds} s"
        time.sleep(0.002)


def test_a_folder_of_wires(make: Make, desk: Any, outcome: Outcomes, tmp_path: Path) -> None:
    adapter = make(lines=None, pulse_ms="latched", gap_ms=1)
    adapter.start(desk)
    off = {"error": 0, "heartbeat": 0, "ng": 0, "ok": 0, "ready": 1}
    assert _wires(tmp_path) == off
    adapter.show(outcome(1, Verdict.OK))
    assert _wires(tmp_path) == {**off, "ok": 1}
    adapter.show(outcome(2, Verdict.NG))
    _until(lambda: _wires(tmp_path) == {**off, "ng": 1})
    adapter.show(outcome(3, Verdict.ERROR))
    _until(lambda: _wires(tmp_path) == {**off, "ng": 1, "error": 1})
    adapter.close()
    assert _wires(tmp_path) == {**off, "ready": 0}


def test_active_low_wires_are_high_when_off(make: Make, desk: Any, outcome: Outcomes, tmp_path: Path) -> None:
    adapter = make(lines=None, pulse_ms="latched")
    adapter.close()
    adapter = OutputsAdapter(
        OutputsSettings.model_validate(
            {"backend": "file", "folder": tmp_path / "wires", "lines": {"ng": {"active_low": True}, "ok": {}}}
        )
    )
    adapter.start(desk)
    assert _wires(tmp_path) == {"ng": 1, "ok": 0}
    adapter.show(outcome(1, Verdict.ERROR))
    assert _wires(tmp_path) == {"ng": 0, "ok": 0}
    adapter.close()
    assert _wires(tmp_path) == {"ng": 1, "ok": 0}


def test_a_pulse_holds_up_nobody_and_each_part_has_its_edge(
    make: Make, desk: Any, noted: Any, outcome: Outcomes
) -> None:
    adapter = make(noted, pulse_ms=500, gap_ms=15)
    adapter.start(desk)
    began = time.monotonic()
    for number in range(3):
        adapter.show(outcome(number, Verdict.OK))
    assert time.monotonic() - began < 0.4
    _until(lambda: adapter.status().sent == 3)
    _until(lambda: not noted.levels[Signal.OK])
    rising = noted.rising(Signal.OK)
    assert len(rising) == 3
    assert all(later - earlier >= 0.029 for earlier, later in pairwise(rising))
    assert noted.notes[-1][0] - rising[-1] >= 0.499
    # Each is told when its line went up, not when it was shown.
    for (number, told), at in zip(desk.signalled_jobs, rising, strict=True):
        assert 0 <= told - at < 0.4, number


def test_error_is_on_before_ng_and_off_comes_before_on(make: Make, desk: Any, noted: Any, outcome: Outcomes) -> None:
    adapter = make(noted)
    adapter.start(desk)
    adapter.show(outcome(1, Verdict.ERROR))
    assert list(noted.notes[-1][1]) == [Signal.ERROR, Signal.NG]


def test_heartbeat_and_ready_follow_the_station(make: Make, desk: Any, noted: Any) -> None:
    adapter = make(noted)
    adapter.start(desk)
    seen = []
    for desk.beat in (1, 2, 3):
        adapter.state(desk.state())
        seen.append(noted.levels[Signal.HEARTBEAT])
    assert seen == [True, False, True]
    desk.phase = Phase.FAULT
    adapter.state(desk.state())
    assert not noted.levels[Signal.READY]


def test_a_station_that_is_not_heard_of_is_not_ready(make: Make, desk: Any, noted: Any) -> None:
    desk.beat_s = 0.03
    adapter = make(noted)
    adapter.start(desk)
    assert noted.levels[Signal.READY]
    _until(lambda: not noted.levels[Signal.READY], 1.0)


def test_lines_that_are_lost_are_taken_again_and_no_verdict_comes_late(
    make: Make, desk: Any, noted: Any, outcome: Outcomes
) -> None:
    adapter = make(noted)
    adapter.start(desk)
    noted.broken = noted.gone = True
    adapter.show(outcome(1, Verdict.OK))
    adapter.show(outcome(2, Verdict.OK))
    status = adapter.status()
    assert (status.connected, status.lost, status.sent, status.faults) == (False, 2, 0, 1)
    assert "Input/output error" in status.last_error
    assert desk.signalled_jobs == []
    time.sleep(0.3)
    noted.broken = noted.gone = False
    _until(lambda: adapter.status().connected, 3.0)
    assert noted.levels == {Signal.READY: True}
    adapter.show(outcome(3, Verdict.NG))
    assert noted.levels[Signal.NG]
    assert noted.rising(Signal.OK) == []


def test_lines_that_are_not_there_at_the_start(make: Make, desk: Any, noted: Any) -> None:
    noted.gone = True
    adapter = make(noted)
    with pytest.raises(InputError, match="no such chip"):
        adapter.start(desk)
    noted.gone = False
    adapter.start(desk)


def test_closing_in_the_middle_of_a_pulse(make: Make, desk: Any, noted: Any, outcome: Outcomes) -> None:
    adapter = make(noted, pulse_ms=60_000)
    adapter.start(desk)
    adapter.show(outcome(1, Verdict.OK))
    adapter.show(outcome(2, Verdict.OK))
    began = time.monotonic()
    adapter.close()
    adapter.close()
    assert time.monotonic() - began < 1
    assert not any(noted.levels.values())
    assert not [thread for thread in threading.enumerate() if thread.name == "outputs"]
    adapter.show(outcome(3, Verdict.OK))
    adapter.state(desk.state())
    assert not any(noted.levels.values())


def test_closing_while_lost_lines_are_asked_for(make: Make, desk: Any, noted: Any, outcome: Outcomes) -> None:
    adapter = make(noted)
    adapter.start(desk)
    noted.broken = noted.gone = True
    adapter.show(outcome(1, Verdict.OK))
    began = time.monotonic()
    adapter.close()
    assert time.monotonic() - began < 1


def test_closed_before_it_began(make: Make, desk: Any, noted: Any) -> None:
    adapter = make(noted)
    adapter.close()
    assert noted.opened == 0
    with pytest.raises(InputError, match="once"):
        adapter.start(desk)


_PROGRAM = """
import importlib.util, sys
from itertools import pairwise
from pathlib import Path
spec = importlib.util.spec_from_file_location("parts", {conftest!r})
parts = importlib.util.module_from_spec(spec)
sys.modules["parts"] = parts
spec.loader.exec_module(parts)
from diffad_runtime.line.outputs import OutputsAdapter, OutputsSettings
lines = {{"ready": {{}}, "heartbeat": {{}}}}
settings = OutputsSettings.model_validate({{"backend": "file", "folder": {folder!r}, "lines": lines}})
adapter = OutputsAdapter(settings)
adapter.start(parts.Desk(beat=1))
print(Path({folder!r}, "ready").read_text(), flush=True)
raise SystemExit(3)
"""


def test_a_program_that_ends_without_close_is_not_ready(tmp_path: Path) -> None:
    conftest = str(Path(__file__).with_name("conftest.py"))
    program = _PROGRAM.format(conftest=conftest, folder=str(tmp_path / "wires"))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout.strip()) == (3, "1"), done.stderr
    assert _wires(tmp_path) == {"heartbeat": 0, "ready": 0}
