"""A whole search on the tiny run: what it picks, keeps and says, and what a second call leaves alone."""

import json
import os
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from diffad_calibration.dataset import open_dataset
from diffad_calibration.precision import variants as calibrated
from diffad_calibration.precision.biascorrection import bias_shifts
from diffad_calibration.precision.variants import Graphs, Made
from diffad_export import judging, secondchance, variants
from diffad_export.config import DistilConfig, LossConfig, OptimiserConfig
from diffad_export.exportoptions import ExportOptions
from diffad_export.graphs import extractor_graph
from diffad_export.recipe import ExportSummary
from diffad_export.runfolder import open_run
from diffad_export.search import SearchOptions, Watch, search_export, stopwatch
from diffad_export.search.accuracy import train_and_judge
from diffad_export.search.record import Record
from diffad_export.training.loop import Trainer
from diffad_export.variants import Built
from diffad_runtime.bundle import open_bundle
from diffad_runtime.errors import GateError, InputError

pytestmark = pytest.mark.slow

LOOSE = 1e4  # ms: everything fits
WANTED = SearchOptions(LOOSE, steps=(1, 2), widths=(8, 16), rounds=3)


class Heard(Watch):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.tables: list[dict[str, Any]] = []

    def say(self, line: str) -> None:
        self.lines.append(line)

    def table(self, table: dict[str, Any]) -> None:
        self.tables.append(table)

    def count(self, start: str) -> int:
        return sum(line.startswith(start) for line in self.lines)


@pytest.fixture(scope="module", autouse=True)
def one_backbone() -> Iterator[None]:
    """Its graphs are made once in this file: exported and quantised, they take most of the time of a candidate."""
    exported, shifted = dict[int, bytes](), dict[tuple[bytes, bytes], Any]()
    real_export, real_shifts = extractor_graph, bias_shifts

    def export_once(extractor: Any, size: int) -> bytes:
        if size not in exported:
            exported[size] = real_export(extractor, size)
        return exported[size]

    def shift_once(original: bytes, quantised: bytes, feeds: Any) -> Any:
        if (original, quantised) not in shifted:
            shifted[original, quantised] = real_shifts(original, quantised, feeds)
        return shifted[original, quantised]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(variants, "extractor_graph", export_once)
        patch.setattr(calibrated, "bias_shifts", shift_once)
        patch.setattr(stopwatch, "waiting_ms", lambda: 0.0)  # whatever else this machine does
        yield


@pytest.fixture(scope="module")
def options(tiny_options: ExportOptions) -> ExportOptions:
    """Students of a few steps, of which nothing is asked."""
    optimiser = OptimiserConfig(steps=4, batch=4, learning_rate=1e-3, warmup_steps=1)
    distil = DistilConfig(chain_steps=(50,), width=16, draws=1, optimiser=optimiser)
    return replace(tiny_options, distil=distil, max_aupro_drop=1.0, finish="off")


@dataclass(frozen=True)
class Done:
    """A finished search."""

    run: Path
    heard: Heard
    summary: ExportSummary


@pytest.fixture(scope="module")
def done(tiny_run: Path, line_data: Path, options: ExportOptions, tmp_path_factory: pytest.TempPathFactory) -> Done:
    folder, heard = tmp_path_factory.mktemp("search"), Heard()
    ignored = shutil.ignore_patterns("student-*", "search-*")
    run = Path(shutil.copytree(tiny_run, folder / "run", ignore=ignored))
    return Done(run, heard, search_export(run, line_data, folder / "m.diffad", options, WANTED, heard))


@pytest.fixture
def packed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[ExportOptions, Any]]:
    """What a search hands on to be exported: packing is not what these tests are about."""
    calls: list[tuple[ExportOptions, Any]] = []

    def export(_run: Path, _data: Path, _out: Path, options: ExportOptions, *, search: Any) -> None:
        calls.append((options, search))

    monkeypatch.setattr("diffad_export.search.run.export", export)
    return calls


def students(run: Path) -> dict[str, int]:
    return {path.name: (path / "student.safetensors").stat().st_mtime_ns for path in run.glob("student-*")}


def test_a_search_ends_in_the_bundle_of_who_won(done: Done) -> None:
    summary = done.summary
    manifest = open_bundle(summary.bundle).manifest
    search = manifest.provenance["search"]
    assert search == summary.search == json.loads(json.dumps(summary.to_json()["search"]))
    (chosen,) = (c for c in search["candidates"] if c["verdict"] == "chosen")
    assert manifest.provenance["distil"]["steps"] == chosen["steps"] == manifest.reconstruction.steps
    assert manifest.provenance["distil"]["width"] == chosen["width"]
    assert manifest.default_variant == chosen["precision"]
    assert list(manifest.variants) == list(dict.fromkeys(["fp32", chosen["precision"]]))
    judged = summary.parity["variants"][chosen["precision"]]["aupro_30"]
    assert judged == pytest.approx(chosen["aupro_30"], abs=1e-4)


def test_the_table_knows_every_candidate(done: Done) -> None:
    search = open_bundle(done.summary.bundle).manifest.provenance["search"]
    candidates = search["candidates"]
    assert {(c["steps"], c["width"], c["precision"]) for c in candidates} == {
        (s, w, p) for s in (1, 2) for w in (8, 16) for p in ("fp32", "int8")
    }
    times = [c["latency_ms"]["p50"] for c in candidates]
    assert times == sorted(times)
    assert all(0 < c["latency_ms"]["p50"] <= c["latency_ms"]["p95"] for c in candidates)
    trained = [c for c in candidates if c["aupro_30"] is not None]
    assert {c["verdict"] for c in candidates if c not in trained} <= {"cannot be better"}
    (chosen,) = (c for c in candidates if c["verdict"] == "chosen")
    assert chosen["aupro_30"] >= max(c["aupro_30"] for c in trained if c["verdict"] != "failed gate") - 0.0011
    assert all(c["drop"] == pytest.approx(search["teacher_aupro_30"] - c["aupro_30"], abs=2e-4) for c in trained)
    # each shape trained once, the largest first; after four steps no two students are alike
    assert len(students(done.run)) == done.heard.count("student ") == len({(c["steps"], c["width"]) for c in trained})
    first = next(line for line in done.heard.lines if line.startswith("student "))
    assert first.startswith("student 2 steps x width 16, fp32 and int8; at most 4 to train")
    assert len({c["aupro_30"] for c in trained}) > 1


def test_a_second_call_trains_nothing_and_times_nothing(
    done: Done, line_data: Path, options: ExportOptions, tmp_path: Path, packed: list[tuple[ExportOptions, Any]]
) -> None:
    before, (record,) = students(done.run), done.run.glob("search-*.json")
    kept, heard = record.read_bytes(), Heard()
    search_export(done.run, line_data, tmp_path / "m.diffad", options, WANTED, heard)
    assert [line for line in heard.lines if not line.startswith("chosen: ")] == []
    assert (students(done.run), record.read_bytes()) == (before, kept)
    ((handed_on, search),) = packed
    assert search == done.summary.search
    assert handed_on.distil.model_dump(mode="json") == open_bundle(done.summary.bundle).manifest.provenance["distil"]


def test_ctrl_c_in_a_training(
    done: Done,
    line_data: Path,
    options: ExportOptions,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    packed: list[tuple[ExportOptions, Any]],
) -> None:
    optimiser = options.distil.optimiser.model_copy(update={"steps": 6})
    options = replace(options, distil=options.distil.model_copy(update={"optimiser": optimiser}))
    wanted = replace(WANTED, steps=(1,), widths=(16,), precisions=("fp32",))
    original = Trainer._step
    taken: list[int] = []

    def pressed(trainer: Trainer, *given: Any) -> Any:
        taken.append(trainer.outcome.step)
        if trainer.outcome.step == 3 and taken.count(3) == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return original(trainer, *given)

    monkeypatch.setattr(Trainer, "_step", pressed)
    with pytest.raises(KeyboardInterrupt):
        search_export(done.run, line_data, tmp_path / "m.diffad", options, wanted)
    assert packed == []
    heard = Heard()
    search_export(done.run, line_data, tmp_path / "m.diffad", options, wanted, heard)
    assert taken == [0, 1, 2, 3, 4, 5]
    # another length of training changes no speed
    assert heard.count("graphs of") == 0
    assert heard.count("student ") == len(packed) == 1


def test_int8_is_judged_after_its_finish(
    done: Done, line_data: Path, options: ExportOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    def perfect(
        _extractor: Any, _model: Any, before: Graphs, *_rest: Any, **_named: Any
    ) -> tuple[Made, dict[str, Any]]:
        (built,) = judged
        assert before == built.graphs["int8"]
        return Made(built.graphs["fp32"], built.records["int8"].model_copy(update={"tuned": True})), {}

    judged: list[Built] = []
    real = variants.build_graphs

    def seen(*given: Any, **named: Any) -> Built:
        judged.append(real(*given, **named))
        return judged[0]

    monkeypatch.setattr(judging, "build_graphs", seen)
    monkeypatch.setattr(secondchance, "finish_int8", perfect)
    monkeypatch.setattr(secondchance, "check_graphs", lambda *_: None)  # FP32 is no INT8 graph
    run = open_run(done.run)
    split = run.split(open_dataset(line_data))
    config = options.distil.model_copy(update={"width": 16, "chain_steps": (50,)})
    always = replace(options, finish="on", max_aupro_drop=0.01)
    made = train_and_judge(run, split, config, ["int8"], always, torch.device("cpu"))
    assert made.graphs == {"int8": judged[0].graphs["fp32"]}
    one = made.accuracies["int8"]
    assert one.refused == ""
    assert one.aupro == pytest.approx(one.torch_aupro, abs=1e-3)


def test_nothing_is_accurate_enough(
    done: Done, line_data: Path, options: ExportOptions, tmp_path: Path, packed: list[tuple[ExportOptions, Any]]
) -> None:
    run = Path(shutil.copytree(done.run, tmp_path / "run", ignore=shutil.ignore_patterns("cache")))
    opened = open_run(run)
    Record(opened, opened.split(open_dataset(line_data))).add(teacher=1.0)
    heard = Heard()
    with pytest.raises(GateError, match=r"no student keeps 10000 ms and a drop of 0\.3 .* teacher's 1\.0") as caught:
        search_export(run, line_data, tmp_path / "m.diffad", replace(options, max_aupro_drop=0.3), WANTED, heard)
    assert "fastest is " in caught.value.what
    assert "most accurate is " in caught.value.what
    assert caught.value.mend.startswith("Give --max-aupro-drop 0.")
    (table,) = heard.tables
    assert "too inaccurate" in {one["verdict"] for one in table["candidates"]}
    assert packed == []
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_all_are_too_slow(
    done: Done, line_data: Path, options: ExportOptions, tmp_path: Path, packed: list[tuple[ExportOptions, Any]]
) -> None:
    before, heard = students(done.run), Heard()
    (record,) = done.run.glob("search-*.json")
    found = json.loads(record.read_text())["timings"]
    timings = [one for key, one in found.items() if key.count(" x width ") == 1]  # of untrained graphs
    floor, fastest = (min(one[key] for one in timings) for key in ("around", "p50"))
    budget = (floor + fastest) / 2
    other = replace(options, distil=options.distil.model_copy(update={"seed": 99}))  # of which nothing is trained
    with pytest.raises(GateError, match=r"fastest is .* and not trained\. Give --budget-ms"):
        search_export(done.run, line_data, tmp_path / "m.diffad", other, replace(WANTED, budget_ms=budget), heard)
    assert {one["verdict"] for one in heard.tables[0]["candidates"]} <= {"too slow", "estimated too slow"}
    assert (students(done.run), packed) == (before, [])
    assert list(tmp_path.iterdir()) == []


def test_a_budget_below_the_extractor_is_refused_at_once(
    done: Done, line_data: Path, options: ExportOptions, tmp_path: Path
) -> None:
    heard, wanted = Heard(), replace(WANTED, budget_ms=0.01)
    with pytest.raises(GateError, match=r"a budget of 0\.01 ms is below what extractor, image score and mask take"):
        search_export(done.run, line_data, tmp_path / "m.diffad", options, wanted, heard)
    assert heard.lines == []
    assert list(tmp_path.iterdir()) == []


def test_what_is_refused_before_any_work(
    tiny_run: Path, line_data: Path, options: ExportOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    consistent = options.distil.model_copy(update={"losses": LossConfig(consistency=1.0)})
    with pytest.raises(InputError, match=r"consistency .* Leave out 1"):
        search_export(tiny_run, line_data, tmp_path / "m.diffad", replace(options, distil=consistent), WANTED)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="works in one process"):
        search_export(tiny_run, line_data, tmp_path / "m.diffad", options, WANTED)
