"""Whole studies, tiny and real: what is trained once stays trained, whatever comes between."""

import fcntl
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from diffad_calibration.evaluation import EvalRequest, evaluate_lineup
from diffad_export import feature_cache
from diffad_export.ablation import Begins, ablate
from diffad_export.ablation.record import RowRecord, load
from diffad_export.augment import augmented
from diffad_export.teacher_contestant import run_lineup
from diffad_export.train import train
from diffad_export.training.loop import Trainer
from diffad_runtime.errors import DataError, InputError
from diffad_runtime.synthetic import LineConfig, write_mvtec

BASE: dict[str, Any] = {
    "size": 64,
    "teacher": {"widths": [16, 32]},
    "augment": {"samples": 1},
    "optimiser": {"steps": 3, "batch": 2, "warmup_steps": 0},
    "score": {"chain_steps": [50], "feature_score": "likelihood"},
}
GRID = {"optimiser.learning_rate": [1e-3, 2e-3], "score.alpha": [0.0, 0.5]}
GOOD = 9


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two categories."""
    folder = tmp_path_factory.mktemp("data")
    for line in (LineConfig(size=64, part="disc"), LineConfig(size=64, part="plate")):
        write_mvtec(folder / line.part, line, train_good=GOOD, test_good=2, test_per_kind=1)
    return folder


def write(folder: Path, **fields: Any) -> Path:
    pytest.importorskip("yaml")
    study = {"version": 1, "name": "tiny", "confidence": False, "base": BASE, **fields}
    path = folder / "study.yaml"
    path.write_text(json.dumps(study))  # JSON is YAML
    return path


def first_steps(out: Path) -> list[int]:
    """How often each training began."""
    logs = [log.read_text().splitlines() for log in sorted((out / "runs").glob("*/teacher-log.jsonl"))]
    return [sum(json.loads(line)["step"] == 1 for line in log) for log in logs]


def records(out: Path) -> dict[str, RowRecord]:
    found = [load(path, RowRecord) for path in (out / "rows").glob("*.json")]
    return {one.name: one for one in found if one is not None}


class StopAt:
    """Ctrl-C before a row."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.seen: list[Begins] = []

    def __call__(self, begins: Begins) -> None:
        self.seen.append(begins)
        if begins.number == self.number:
            raise KeyboardInterrupt


def test_a_study_is_gone_on_with(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    original = augmented

    def counted(*given: Any, **named: Any) -> Any:
        made.append(1)
        return original(*given, **named)

    monkeypatch.setattr(feature_cache, "augmented", counted)
    study = write(tmp_path, grid=[GRID], references={"names": ["padim"]})
    out, stop = tmp_path / "out", StopAt(2)
    with pytest.raises(KeyboardInterrupt):
        ablate(study, data / "disc", out, begins=stop)
    assert [(b.number, b.total) for b in stop.seen] == [(1, 4), (2, 4)]
    assert stop.seen[0].minutes_left is None
    assert stop.seen[0].values == (("learning_rate", "0.001"), ("alpha", "0"))
    assert stop.seen[1].minutes_left is not None
    text = (out / "table.md").read_text()
    assert "1 of 4 rows measured." in text
    assert "| PaDiM |" in text
    (anchor,) = (out / "references").iterdir()
    (kept,) = (out / "rows").iterdir()
    before = (anchor.stat().st_mtime_ns, kept.stat().st_mtime_ns)

    go = StopAt(0)
    summary = ablate(study, data / "disc", out, begins=go)
    assert [b.number for b in go.seen] == [2, 3, 4]
    assert (summary.trained, summary.failures) == (1, ())
    assert (summary.table.measured, summary.table.wanted) == (4, 4)
    # two trainings, each begun once; what was finished is not touched
    assert first_steps(out) == [1, 1]
    assert (anchor.stat().st_mtime_ns, kept.stat().st_mtime_ns) == before
    # features were made once, for both trainings, and are gone
    assert len(made) == GOOD - 4
    assert not list(out.glob("runs/*/cache"))

    again = StopAt(1)
    summary = ablate(study, data / "disc", out, begins=again)
    assert (again.seen, summary.trained) == ([], 0)

    # a row whose score was fitted on another row's training is as if it had been trained for itself
    row = records(out)["learning_rate=0.002, alpha=0.5"]
    train(data / "disc", tmp_path / "alone", row.config)
    alone = evaluate_lineup(run_lineup(tmp_path / "alone", paper_score=False), EvalRequest(data / "disc"))
    assert row.figures.macro == alone.evaluation.macro("teacher").to_dict()
    assert row.figures.macro != records(out)["learning_rate=0.002, alpha=0"].figures.macro


def test_ctrl_c_in_a_training(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study, out = write(tmp_path, row=[{"score.alpha": 0.0}, {"score.alpha": 0.5}]), tmp_path / "out"
    original = Trainer._step

    def pressed(trainer: Trainer, *given: Any) -> Any:
        if trainer.outcome.step == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return original(trainer, *given)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", pressed)
        with pytest.raises(KeyboardInterrupt):
            ablate(study, data / "plate", out)
    assert list(out.glob("runs/*/teacher-checkpoint.safetensors"))
    assert "0 of 2 rows measured." in (out / "table.md").read_text()
    # another row of that training goes on with it
    summary = ablate(study, data / "plate", out, only=["alpha=0.5"])
    assert (summary.trained, summary.table.measured) == (1, 1)
    assert first_steps(out) == [1]
    assert not list(out.glob("runs/*/teacher-checkpoint.safetensors"))


def test_categories_apart_and_unified(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    apart = ablate(write(tmp_path), data, out)
    assert (apart.trained, apart.table.scopes) == (2, ("macro", "disc", "plate"))
    unified = ablate(write(tmp_path, unified=True, confidence=True), data, out)
    assert unified.trained == 1
    (line,) = unified.table.lines
    for figure, cell in line.cells["macro"].items():
        both = [line.cells[name][figure].value for name in ("disc", "plate")]
        assert cell.value == pytest.approx(sum(both) / 2)
        assert cell.ends is not None
    # the other kind of row stayed; a single category finds its training
    assert len(records(out)) == 1
    assert len(list((out / "rows").glob("*.json"))) == 2
    assert ablate(write(tmp_path), data / "plate", out).trained == 0


def test_a_row_that_fails_leaves_the_others(data: Path, tmp_path: Path) -> None:
    rows = [{"name": "wild", "optimiser.learning_rate": 1e30}, {"name": "tame"}]
    summary = ablate(write(tmp_path, row=rows), data / "disc", tmp_path / "out")
    ((name, why),) = summary.failures
    assert name == "wild"
    assert "became" in why
    assert [line.name for line in summary.table.lines] == ["tame"]


def test_what_is_refused_before_any_work(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study, out = write(tmp_path), tmp_path / "out"
    with pytest.raises(InputError, match=r"no row of tiny is named 'x'. Choose from: base"):
        ablate(study, data / "disc", out, only=["x"])
    with pytest.raises(DataError, match="has no labelled test images"):
        ablate(study, data / "disc" / "train" / "good", out)
    with monkeypatch.context() as patch:
        patch.setenv("WORLD_SIZE", "2")
        with pytest.raises(InputError, match="runs in one process"):
            ablate(study, data / "disc", out)
    assert not out.exists()
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write into"):
        ablate(study, data / "disc", tmp_path / "file")
    out.mkdir()
    with (out / "ablate.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="another ablate is at work in"):
            ablate(study, data / "disc", out)
    assert sorted(path.name for path in out.iterdir()) == ["ablate.lock"]
