"""Lines: their forms, and floods that become counts."""

import io
import json
import logging
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffad_runtime.errors import InputError
from diffad_runtime.health.logs import configure, event

LOG = logging.getLogger("diffad_runtime.test")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_line_for_people(clock: Clock) -> None:
    out = io.StringIO()
    configure(stream=out, clock=clock)
    event(LOG, logging.ERROR, "camera_lost", "no frame\nfor 3 s", seconds=3)
    LOG.debug("not written")
    assert re.fullmatch(
        r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ error diffad_runtime\.test: no frame for 3 s\n", out.getvalue()
    )


def test_a_line_for_machines(clock: Clock) -> None:
    out = io.StringIO()
    configure(json=True, level="DEBUG", stream=out, clock=clock)
    event(LOG, logging.WARNING, "camera_lost", "no frame", seconds=3, path=logging, event="mine", time=0)
    LOG.debug("plain %d", 7)
    first, second = map(json.loads, out.getvalue().splitlines())
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", first.pop("time"))
    assert first.pop("path").startswith("<module 'logging'")
    assert first == {
        "level": "warning",
        "logger": "diffad_runtime.test",
        "event": "camera_lost",
        "message": "no frame",
        "seconds": 3,
    }
    assert (second["event"], second["message"], second["level"]) == ("message", "plain 7", "debug")


def test_priorities_for_the_journal(clock: Clock) -> None:
    out = io.StringIO()
    configure(journald=True, level="debug", stream=out, clock=clock)
    for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL):
        LOG.log(level, "x%d", level)
    assert [line[:3] for line in out.getvalue().splitlines()] == ["<7>", "<6>", "<4>", "<3>", "<2>"]


def test_exceptions_stay_on_one_line(clock: Clock) -> None:
    out = io.StringIO()
    configure(stream=out, clock=clock)
    try:
        raise ValueError("two\nlines")
    except ValueError:
        LOG.exception("failed")
    LOG.error("bad %d", "arguments")
    lines = out.getvalue().splitlines()
    assert [line.partition("test: ")[2] for line in lines] == ["failed: ValueError: two lines", "bad %d"]


def test_a_flood_becomes_a_count_a_minute(clock: Clock) -> None:
    """An error for each of 100 frames a second, for an hour."""
    out = io.StringIO()
    configure(json=True, stream=out, clock=clock)
    for number in range(360_000 // 20):
        clock.now = number / 5
        event(LOG, logging.ERROR, "sink_failed", f"disk full, {number} lost")
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert len(lines) == 60
    assert "repeats" not in lines[0]
    assert [line["repeats"] for line in lines[1:3]] == [299, 300]
    logging.getLogger("diffad_runtime").handlers[-1].flush()
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert sum(line.get("repeats", 1) for line in lines) == 18_000  # none is lost
    assert lines[-1]["message"] == "disk full, 17999 lost"


def test_another_line_brings_the_count_out(clock: Clock) -> None:
    out = io.StringIO()
    configure(stream=out, clock=clock)
    for _ in range(5):
        LOG.error("same")
    clock.now = 61.0
    LOG.error("another")
    assert [line.partition("test: ")[2] for line in out.getvalue().splitlines()] == [
        "same",
        "same (4 more in 61 s)",
        "another",
    ]
    clock.now = 200.0
    LOG.error("same")  # a minute without it: new
    assert out.getvalue().endswith("test: same\n")


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 50)), max_size=200))
def test_every_line_is_written_or_counted(steps: list[tuple[int, int]]) -> None:
    clock, out = Clock(), io.StringIO()
    configure(json=True, stream=out, clock=clock)
    for kind, wait in steps:
        clock.now += wait
        event(LOG, logging.ERROR, f"kind {kind}", "text")
    configure(json=True, stream=io.StringIO())  # closes the one before, which tells what it held back
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    for kind in range(4):
        of_kind = [line.get("repeats", 1) for line in lines if line["event"] == f"kind {kind}"]
        assert sum(of_kind) == sum(1 for each, _ in steps if each == kind)


def test_kinds_are_bounded(clock: Clock) -> None:
    out = io.StringIO()
    configure(stream=out, clock=clock)
    for number in range(10_000):
        event(LOG, logging.ERROR, f"kind {number}", "text")
    (handler,) = (each for each in logging.getLogger("diffad_runtime").handlers if hasattr(each, "_seen"))
    assert len(handler._seen) == 256


def test_called_twice_there_is_one_handler(capsys: pytest.CaptureFixture[str]) -> None:
    first, second = io.StringIO(), io.StringIO()
    configure(stream=first)
    configure(stream=second)
    LOG.error("once")
    logging.getLogger("diffad_edge.cli").error("of the command line")
    assert first.getvalue() == ""
    assert len(second.getvalue().splitlines()) == 2
    assert capsys.readouterr().err == ""


def test_a_stream_that_is_gone_ends_nothing(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    out = io.StringIO()
    configure(stream=out, clock=clock)
    out.close()
    LOG.error("into the void")
    LOG.error("into the void")
    logging.getLogger("diffad_runtime").handlers[-1].flush()

    class Full(io.StringIO):
        def write(self, _: str) -> int:
            raise OSError(28, "No space left on device")

    configure(stream=Full(), clock=clock)
    LOG.error("into the void")
    assert capsys.readouterr().err == ""


def test_unknown_level() -> None:
    with pytest.raises(InputError, match="unknown level of log lines 'loud'"):
        configure(level="loud")
