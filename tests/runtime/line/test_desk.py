"""The desk: one outcome for each job, shown to all once; repeats, recipes, states; and on a real station."""

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffad_runtime.engines.fake import FakeEngine
from diffad_runtime.errors import InputError, RecipeError
from diffad_runtime.inspector import Inspector
from diffad_runtime.line.base import Adapter, Desk
from diffad_runtime.line.desk import LineDesk
from diffad_runtime.line.job import AdapterStatus, LineState, Outcome, Phase, Request
from diffad_runtime.manifest import ImageScore
from diffad_runtime.monitor import Monitor
from diffad_runtime.recipes import RecipeBook
from diffad_runtime.result import ErrorCode, Frame, Result, Verdict
from diffad_runtime.rules import DecisionRules
from diffad_runtime.sources import open_source
from diffad_runtime.station import Station

RULES = DecisionRules(0.5, 0.5, ImageScore(pixels=1))


class Panel(Adapter):
    """Remembers what it was shown."""

    def __init__(self, name: str = "panel", *, connected: bool = True, breaks: bool = False) -> None:
        self.name, self.connected, self.breaks = name, connected, breaks
        self.outcomes: list[Outcome] = []
        self.states: list[LineState] = []
        self.started = self.closed = 0

    def start(self, desk: Desk) -> None:
        self.started += 1
        self.desk = desk

    def show(self, outcome: Outcome) -> None:
        if self.breaks:
            raise RuntimeError("this panel is broken")
        self.outcomes.append(outcome)
        self.desk.signalled(outcome, self.name)

    def state(self, state: LineState) -> None:
        self.states.append(state)

    def status(self) -> AdapterStatus:
        return AdapterStatus(self.name, self.connected, last_error="" if self.connected else "the cable is out")

    def close(self) -> None:
        self.closed += 1


class Submitted:
    """Stands for Station.submit; a test decides each part when it likes."""

    def __init__(self, inspector: Inspector) -> None:
        self._inspector = inspector
        self.futures: list[Future[Result]] = []
        self.asked: list[tuple[str, float, str | int | None]] = []

    def __call__(self, part_id: str, deadline_ms: float, recipe: str | int | None) -> "Future[Result]":
        self.asked.append((part_id, deadline_ms, recipe))
        self.futures.append(Future())
        return self.futures[-1]

    def decide(self, number: int, verdict: Verdict = Verdict.OK, code: ErrorCode = ErrorCode.NONE) -> None:
        frame = Frame(np.zeros((4, 4, 3), np.uint8), number, time.monotonic(), datetime.now(timezone.utc))
        result = self._inspector.refused(frame, "", self.asked[number][0], code=code)
        self.futures[number].set_result(replace(result, verdict=verdict, code=code))


class Bench:
    """A desk with two panels over parts that are decided by hand."""

    def __init__(self, *panels: Panel, recipes: RecipeBook | None = None) -> None:
        self.inspector = Inspector(FakeEngine(16), RULES, recipes=recipes)
        self.source = open_source("synthetic://line?fps=50&size=32")
        self.monitor = Monitor(self.inspector, self.source, triggered=True)
        self.submitted = Submitted(self.inspector)
        self.panels = panels or (Panel("a"), Panel("b"))
        self.desk = LineDesk(self.inspector, self.monitor, self.panels, submit=self.submitted, beat_s=0.05)

    def close(self) -> None:
        self.desk.close()
        self.source.close()
        self.inspector.close()


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    made.desk.start()
    yield made
    made.close()


def test_a_job_is_shown_to_all_once(bench: Bench) -> None:
    job = bench.desk.trigger(Request("a", "job-7", "part-7", None, 300))
    assert (job.number, job.job_id, job.part_id) == (1, "job-7", "part-7")
    assert bench.submitted.asked == [("part-7", 300, None)]
    assert not any(panel.outcomes for panel in bench.panels)
    bench.submitted.decide(0, Verdict.NG)
    for panel in bench.panels:
        (outcome,) = panel.outcomes
        assert (outcome.job, outcome.verdict, outcome.reject) == (job, Verdict.NG, True)
    stages = bench.monitor.snapshot().stages
    assert sum(stages["signal a"].counts) == sum(stages["verdict to b"].counts) == 1
    assert bench.desk.state().last_job == 1


def test_names_and_deadline_where_none_are_given(bench: Bench) -> None:
    first, second = bench.desk.trigger(Request("a")), bench.desk.trigger(Request("a"))
    assert first.job_id != second.job_id
    assert (first.part_id, bench.submitted.asked[0]) == (first.job_id, (first.job_id, 500.0, None))


def test_a_repeated_trigger_is_the_same_job(bench: Bench) -> None:
    a, b = bench.panels
    first = bench.desk.trigger(Request("a", "x", "part"))
    assert bench.desk.trigger(Request("a", "x", "part")) == first
    assert len(bench.submitted.asked) == 1
    bench.submitted.decide(0)
    assert [len(a.outcomes), len(b.outcomes)] == [1, 1]
    assert bench.desk.trigger(Request("a", "x", "part")) == first  # its outcome got lost on the way, it asks again
    assert [len(a.outcomes), len(b.outcomes)] == [2, 1]
    assert a.outcomes[0].to_json() == a.outcomes[1].to_json()
    assert bench.desk.trigger(Request("b", "x")) != first  # another channel's names are its own
    assert bench.desk.state().duplicates == 2


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (Request("a", "x" * 201), "job_id has 201"),
        (Request("a", "x", "line\nbreak"), "part_id"),
        (Request("a", "x", "", None, 0), "deadline_ms is 0"),
        (Request("a", "x", "", None, float("nan")), "deadline_ms is nan"),
        (Request("a", "x", "", None, 1e9), "deadline_ms"),
    ],
)
def test_what_is_not_accepted(bench: Bench, request_: Request, words: str) -> None:
    with pytest.raises(InputError, match=words):
        bench.desk.trigger(request_)
    assert not bench.submitted.asked


def test_a_broken_panel_does_not_keep_the_others_from_telling() -> None:
    bench = Bench(Panel("a", breaks=True), Panel("b"))
    with bench.desk:
        bench.desk.trigger(Request("b", "x"))
        bench.submitted.decide(0)
    bench.close()
    assert len(bench.panels[1].outcomes) == 1
    assert "this panel is broken" in bench.desk.problems[0]


def test_states(bench: Bench) -> None:
    panel = bench.panels[0]
    deadline = time.monotonic() + 5
    while bench.desk.state().phase is not Phase.READY and time.monotonic() < deadline:
        next(iter(bench.source))
    state = bench.desk.state()
    assert (state.phase, state.faults, state.recipe, state.counts["OK"]) == (Phase.READY, (), "", 0)
    for number in range(3):
        bench.desk.trigger(Request("a"))
        bench.submitted.decide(number, Verdict.ERROR, ErrorCode.ENGINE)
    state = bench.desk.state()
    assert state.phase is Phase.FAULT
    assert "ENGINE" in state.faults[0]
    bench.desk.trigger(Request("a"))
    bench.submitted.decide(3)
    assert bench.desk.state().phase is Phase.READY
    for number in range(4, 7):
        bench.desk.trigger(Request("a"))
        bench.submitted.decide(number, Verdict.ERROR, ErrorCode.LATE)
    assert bench.desk.state().phase is Phase.FAULT
    until = time.monotonic() + 3
    while bench.desk.state().phase is Phase.FAULT and time.monotonic() < until:
        next(iter(bench.source))
    assert bench.desk.state().phase is Phase.READY, "a PLC that waits for it would wait for ever"
    bench.source.close()
    state = bench.desk.state()
    assert (state.phase, "camera" in state.faults[0]) == (Phase.FAULT, True)
    time.sleep(0.2)
    beats = [state.heartbeat for state in panel.states]
    assert beats == sorted(beats)
    assert beats[-1] >= beats[0] + 2
    bench.desk.close()
    assert panel.states[-1].phase is Phase.STOPPED
    assert panel.closed == 1


def test_a_signal_that_is_not_connected_is_a_fault_of_the_setup() -> None:
    bench = Bench(Panel("mqtt", connected=False))
    assert "LINE: mqtt is not connected: the cable is out" in bench.monitor.snapshot().setup_faults
    assert bench.monitor.snapshot().line[0].name == "mqtt"
    bench.close()


def test_recipes(tmp_path: Path) -> None:
    for index, name in enumerate(("lid", "base")):
        (tmp_path / f"{name}.toml").write_text(f'version = 1\nname = "{name}"\nindex = {index + 1}\n')
    bench = Bench(recipes=RecipeBook.open(tmp_path))
    assert set(bench.desk.recipes()) == {("lid", 1), ("base", 2)}
    assert bench.desk.state().recipe_index is None
    bench.desk.prepare(1)
    assert (bench.desk.state().recipe, bench.desk.state().recipe_index) == ("lid", 1)
    with pytest.raises(RecipeError, match="no recipe 'bottle'"):
        bench.desk.prepare("bottle")
    assert bench.desk.state().recipe == "lid"
    bench.close()
    plain = Bench()
    with pytest.raises(RecipeError, match="none were loaded"):
        plain.desk.prepare("lid")
    plain.close()


def test_a_free_running_station_announces(bench: Bench) -> None:
    panel = Panel()
    desk = LineDesk(bench.inspector, bench.monitor, [panel], submit=None, beat_s=0.05)
    with desk:
        for _, image in zip(range(3), bench.source, strict=False):
            desk.announce(bench.inspector.judge(image))
        assert [outcome.job.number for outcome in panel.outcomes] == [1, 2, 3]
        assert len({outcome.job.job_id for outcome in panel.outcomes}) == 3
        with pytest.raises(InputError, match="freely"):
            desk.trigger(Request("panel"))


def test_one_that_cannot_start_closes_those_before_it() -> None:
    class Refuses(Panel):
        def start(self, desk: Desk) -> None:  # noqa: ARG002
            raise InputError("port 502 is taken", mend="Take another")

    bench = Bench(Panel("a"), Refuses("b"))
    with pytest.raises(InputError, match="port 502"):
        bench.desk.start()
    assert bench.panels[0].closed == 1
    bench.close()


_EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("trigger"), st.sampled_from("ab"), st.integers(0, 5)),
        st.tuples(st.just("decide"), st.just(""), st.integers(0, 30)),
    ),
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(_EVENTS)
def test_every_job_has_one_outcome_whatever_is_repeated(events: list[tuple[str, str, int]]) -> None:
    bench = Bench()
    repeats = Counter[tuple[str, str]]()
    decided: set[int] = set()
    names: dict[tuple[str, str], int] = {}
    for what, channel, number in events:
        if what == "trigger":
            key = (channel, str(number))
            if key in names and names[key] in decided:
                repeats[key] += 1
            names.setdefault(key, len(bench.submitted.futures))
            job = bench.desk.trigger(Request(channel, str(number)))
            assert job.number == names[key] + 1
        elif number < len(bench.submitted.futures) and number not in decided:
            decided.add(number)
            bench.submitted.decide(number)
    assert len(bench.submitted.futures) == len(names)
    for panel in bench.panels:
        shown = Counter(outcome.job.number - 1 for outcome in panel.outcomes)
        assert set(shown) == decided
        for key, number in names.items():
            if number in decided:
                assert shown[number] == 1 + (repeats[key] if key[0] == panel.name else 0)
    bench.close()


def test_on_a_real_station() -> None:
    inspector, panel = Inspector(FakeEngine(32), RULES), Panel()
    source = open_source("synthetic://line?fps=100&size=32&defects=0.5")
    with Station(inspector, source, late_trigger_ms=20) as station:
        desk = LineDesk(inspector, station.monitor, [panel], submit=station.submit)
        with desk:
            for number in range(40):
                desk.trigger(Request("panel", f"job {number}", deadline_ms=400))
                time.sleep(0.015)
            until = time.monotonic() + 2
            while len(panel.outcomes) < 40 and time.monotonic() < until:
                time.sleep(0.01)
    inspector.close()
    assert sorted(outcome.job.number for outcome in panel.outcomes) == list(range(1, 41))
    judged = [outcome for outcome in panel.outcomes if outcome.verdict is not Verdict.ERROR]
    assert len(judged) > 20
    for outcome in judged:
        assert set(outcome.result.latency_ms) >= {"picture", "wait", "total", "trigger"}
        assert outcome.result.latency_ms["wait"] >= 0
        assert outcome.code is ErrorCode.NONE
    for outcome in panel.outcomes:
        assert (outcome.code is ErrorCode.NONE) == (outcome.verdict is not Verdict.ERROR)
