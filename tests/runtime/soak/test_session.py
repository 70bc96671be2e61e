"""Short soaks over real threads: one that passes, and some that must not."""

import math
import time
from pathlib import Path

import pytest

from diffad_runtime.engines.fake import FakeEngine
from diffad_runtime.errors import InputError, SourceError
from diffad_runtime.inspector import Inspector
from diffad_runtime.manifest import ImageScore
from diffad_runtime.result import Frame, Result
from diffad_runtime.rules import DecisionRules
from diffad_runtime.soak import SoakPlan, plan_for, soak, soak_with_sinks
from diffad_runtime.sources.limits import Limits

QUICK = Limits(stall_s=0.4, frozen_s=0.5, reopen_s=0.5, backoff_s=0.05, backoff_cap_s=0.2)


def _script(folder: Path, *faults: str) -> str:
    path = folder / "script.toml"
    path.write_text("".join(f"[[fault]]\n{fault}\n" for fault in faults))
    return f"chaos://?seed=1&fps=50&size=32&pictures=4&length=1.2&script={path}"


def _inspector() -> Inspector:
    return Inspector(FakeEngine(16), DecisionRules(2.0, 2.0, ImageScore(pixels=1)))


def _plan(seconds: float, uri: str, **more: object) -> SoakPlan:
    values = {"limits": QUICK, "parts_per_second": 40.0, "deadline_ms": 300.0, "resume_s": 1.0, "warm_up_s": 0.5}
    return SoakPlan(seconds, uri, **{**values, **more})  # type: ignore[arg-type]


def test_a_soak_that_passes(tmp_path: Path) -> None:
    uri = _script(
        tmp_path,
        'kind = "freeze"\nat = 0.6',
        'kind = "end"\nat = 2.4',
        'kind = "silence"\nat = 3.0',
        'kind = "empty"\nat = 4.8',
    )
    looked: list[float] = []
    report = soak(_inspector(), _plan(8.5, uri), on_look=lambda elapsed, _: looked.append(elapsed))
    assert report.failures == (), report
    assert {kind: (one.planted, one.missed) for kind, one in report.faults.items()} == {
        "freeze": (1, 0),
        "end": (1, 0),
        "silence": (1, 0),
        "empty": (1, 0),
    }
    freeze = report.faults["freeze"]
    assert freeze.worst_s is not None
    assert 0.5 < freeze.worst_s < 2.5 == freeze.allowed_s
    parts = report.parts
    assert parts.asked == parts.answered > 200
    assert parts.verdicts["OK"] > 100
    assert parts.verdicts["ERROR"] > 20
    assert (report.frozen, report.reconnects >= 2, report.rejected > 10) == (1, True, True)
    name, (written, faults, _) = next(iter(report.sinks.items()))
    assert "on purpose" in name
    assert written > faults > 0
    assert looked == sorted(looked)
    record = report.to_json()
    assert (record["passed"], record["faults"]["freeze"]["planted"], record["parts"]["asked"]) == (True, 1, parts.asked)


def test_a_fault_that_nobody_notices_fails_it(tmp_path: Path) -> None:
    uri = _script(tmp_path, 'kind = "freeze"\nat = 0.5')
    report = soak(_inspector(), _plan(4.5, uri, limits=QUICK.model_copy(update={"frozen_s": None})))
    assert not report.passed
    assert report.failures[0].startswith("freeze: 1 of 1 not noticed within")


def test_a_judge_that_is_slow_is_no_lost_part(tmp_path: Path) -> None:
    """Parts without a judgement in time are ERROR, in time; but a line that judges none has not passed."""

    class Slow(Inspector):
        def judge(self, frame: Frame, part_id: str = "", recipe: str | int | None = None) -> Result:
            time.sleep(0.2)
            return super().judge(frame, part_id, recipe)

    inspector = Slow(FakeEngine(16), DecisionRules(2.0, 2.0, ImageScore(pixels=1)))
    uri = _script(tmp_path, 'kind = "drop"\nat = 100')
    report = soak(inspector, _plan(2.0, uri, deadline_ms=150.0))
    assert report.parts.asked == report.parts.answered
    assert report.failures == ("no part at all was judged",)


def test_it_ends_when_it_is_told_to(tmp_path: Path) -> None:
    start = time.monotonic()
    report = soak(_inspector(), _plan(600, _script(tmp_path, 'kind = "drop"\nat = 100')), stop=lambda: True)
    assert time.monotonic() - start < 5
    assert report.faults == {}


def test_with_sinks_of_a_line(tmp_path: Path) -> None:
    plan = plan_for(3.0, "chaos://?seed=1&fps=30&size=64&pictures=4&faults=none", 20.0, 300.0)
    report = soak_with_sinks(_inspector(), plan, tmp_path)
    assert report.failures == (), report
    assert {name.split(" in ")[0] for name in report.sinks} == {
        "a sink that breaks on purpose",
        "archive",
        "results",
        "watch over the picture",
    }
    # The file is put aside every five minutes, which may fall into this very run.
    files = (tmp_path / "results").glob("results*.jsonl")
    lines = [line for file in files for line in file.read_text().splitlines()]
    assert len(lines) == report.parts.asked
    assert list((tmp_path / "archive").rglob("*.png"))


@pytest.mark.parametrize("uri", ["synthetic://line", "chaos://?faults=dragon", "chaos://?speed=3"])
def test_bad_cameras(uri: str) -> None:
    with pytest.raises(SourceError):
        plan_for(10.0, uri, 8.0, 500.0)


@pytest.mark.parametrize("figures", [(10.0, 0.0, 500.0), (10.0, 8.0, math.nan)])
def test_bad_figures(figures: tuple[float, float, float]) -> None:
    with pytest.raises(InputError):
        plan_for(figures[0], None, *figures[1:])
    with pytest.raises(InputError):
        soak(_inspector(), SoakPlan(0.0, "chaos://?faults=none"))
