"""Whole studies of students, tiny and real: what is shared, what is resumed, and figures measured apart."""

import json
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from diffad_calibration.dataset import open_dataset
from diffad_calibration.loading import load_images, load_masks
from diffad_calibration.metrics import Bootstrap, ClassMeter
from diffad_export import feature_cache
from diffad_export.ablation import AblationSummary, ablate
from diffad_export.ablation.record import RowRecord, load
from diffad_export.augment import augmented
from diffad_export.config import ScoreConfig, TrainConfig
from diffad_export.maps import torch_maps
from diffad_export.runfolder import open_run
from diffad_export.student_model import make_student
from diffad_export.train import train
from diffad_export.training.loop import Trainer
from diffad_runtime.errors import DataError, InputError
from diffad_runtime.manifest import ImageScore
from diffad_runtime.result import FloatMap
from diffad_runtime.scoring import image_score
from diffad_runtime.synthetic import LineConfig, write_mvtec

TEACHER: dict[str, Any] = {
    "size": 64,
    "features": {"strides": [4]},
    "teacher": {"widths": [16, 32]},
    "augment": {"samples": 1},
    "optimiser": {"steps": 3, "batch": 2, "warmup_steps": 0},
    "score": {"chain_steps": [5, 50], "feature_score": "likelihood"},
}
STUDENT: dict[str, Any] = {
    "distil": {"width": 8, "draws": 1, "losses": {"teacher": 1.0}, "optimiser": TEACHER["optimiser"]}
}
GOOD = 9
ROWS: list[dict[str, Any]] = [
    {"name": "shipped", "precision": "torch"},
    {"name": "int8", "precision": "int8"},
    {"name": "draws", "student_score.draws": 2},
    {"name": "alone", "distil.losses.teacher": 0.0},
    {"name": "teacher"},
    {"name": "chain", "chain": 2},
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One category."""
    return write_mvtec(
        tmp_path_factory.mktemp("data") / "disc", LineConfig(size=64), train_good=GOOD, test_good=3, test_per_kind=1
    )


def write(folder: Path, **fields: Any) -> Path:
    pytest.importorskip("yaml")
    study = {"version": 1, "name": "tiny", "base": {**TEACHER, **STUDENT}, **fields}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "study.yaml").write_text(json.dumps(study))  # JSON is YAML
    return folder / "study.yaml"


def begun(out: Path, pattern: str) -> list[int]:
    """How often each training began."""
    logs = [log.read_text().splitlines() for log in sorted((out / "runs").glob(pattern))]
    return [sum(json.loads(line)["step"] == 1 for line in log) for log in logs]


def records(out: Path) -> dict[tuple[str, int | None], RowRecord]:
    found = [one for path in (out / "rows").glob("*.json") if (one := load(path, RowRecord)) is not None]
    return {(one.name, None if one.student is None else one.student.distil.seed): one for one in found}


@dataclass(frozen=True)
class Done:
    """A finished study of two seeds of students and one teacher."""

    study: Path
    out: Path
    summary: AblationSummary


@pytest.fixture(scope="module")
def done(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Done:
    folder = tmp_path_factory.mktemp("study")
    study = write(folder, row=ROWS, seeds=[4, 5], teacher_seed=1, against="shipped", columns=False)
    out = folder / "out"
    # the slow export to ONNX at one seed is enough
    plan = [name for name in (row["name"] for row in ROWS) if name != "int8"]
    return Done(study, out, ablate(study, data, out, only=plan))


def test_what_is_shared(done: Done) -> None:
    assert done.summary.failures == ()
    assert done.summary.trained == 1
    # a student with and one without a teacher, at two seeds each; every training was begun once
    assert begun(done.out, "*/teacher-log.jsonl") == [1]
    assert begun(done.out, "*/student-*/student-log.jsonl") == [1] * 4
    # three rows at two seeds, and two rows of the one teacher
    found = records(done.out)
    assert len(found) == 8
    assert {one.config.seed for one in found.values()} == {1}
    assert [found[name, seed].evaluations for name, seed in (("shipped", 4), ("draws", 4), ("teacher", None))] == [
        1, 2, 2,
    ]  # fmt: skip
    assert found["chain", None].evaluations == 2
    assert found["chain", None].figures != found["teacher", None].figures
    # what only trainings need is gone
    assert not list(done.out.glob("runs/*/cache"))
    assert not list(done.out.glob("runs/**/*checkpoint*"))


def test_nothing_is_done_twice(done: Done, data: Path) -> None:
    told: list[Any] = []
    before = sorted((path, path.stat().st_mtime_ns) for path in (done.out / "rows").iterdir())
    rows = ["shipped", "draws", "alone", "teacher", "chain"]
    summary = ablate(done.study, data, done.out, only=rows, begins=told.append)
    assert (told, summary.trained) == ([], 0)
    assert sorted((path, path.stat().st_mtime_ns) for path in (done.out / "rows").iterdir()) == before


def maps_of(out: Path, data: Path, record: RowRecord) -> FloatMap:
    """Of a student's row, made apart from the study."""
    (folder,) = (out / "runs").iterdir()
    run, dataset = open_run(folder), open_dataset(data)
    assert record.student is not None
    made = make_student(
        run, run.split(dataset), record.student.distil, record.student.student_score, torch.device("cpu")
    )
    return torch_maps(made.extractor, made.model, load_images([one.image for one in dataset.test], 64).array)


def test_figures_and_differences_by_hand(done: Done, data: Path) -> None:
    dataset, found = open_dataset(data), records(done.out)
    masks, labels = load_masks(dataset.test, 64), [sample.label for sample in dataset.test]
    drawn: dict[tuple[str, int], Any] = {}
    values: dict[tuple[str, int], Any] = {}
    for name in ("shipped", "alone"):
        for seed in (4, 5):
            record = found[name, seed]
            meter = ClassMeter()
            how = ImageScore(pixels=64)
            for one, mask, label in zip(maps_of(done.out, data, record), masks, labels, strict=True):
                meter.add(one, mask, image_score(one, how), label)
            values[name, seed] = meter.figures()
            assert record.figures.macro["pixel_auroc"] == pytest.approx(values[name, seed]["pixel_auroc"], abs=1e-12)
            assert record.figures.macro["image_auroc"] == values[name, seed]["image_auroc"]
            drawn[name, seed] = meter.replicates(Bootstrap(), 0)["pixel_auroc"]
    (line,) = [line for line in done.summary.table.lines if line.name == "alone"]
    difference, low, high = line.lead["macro"]["pixel_auroc"]
    each = [drawn["alone", seed] - drawn["shipped", seed] for seed in (4, 5)]
    expected = [values["alone", seed]["pixel_auroc"] - values["shipped", seed]["pixel_auroc"] for seed in (4, 5)]
    assert difference == pytest.approx(np.mean(expected), abs=1e-12)
    # each draw is the mean of two of the two seeds: it lies between the draws of the seeds
    least, most = np.minimum(*each), np.maximum(*each)
    assert np.quantile(least, 0.025) - 1e-12 <= low <= high <= np.quantile(most, 0.975) + 1e-12
    (own,) = [line for line in done.summary.table.lines if line.name == "shipped"]
    assert own.lead == {}
    text = (done.out / "table.md").read_text()
    assert "Minus 'shipped', image by image" in text


def test_int8_is_another_row_of_the_same_student(done: Done, data: Path, tmp_path: Path) -> None:
    study = write(tmp_path, row=ROWS, seeds=[4], teacher_seed=1, against="shipped", columns=False)
    summary = ablate(study, data, done.out, only=["int8"])
    assert (summary.failures, summary.trained) == ((), 0)
    assert begun(done.out, "*/student-*/student-log.jsonl") == [1] * 4
    found = records(done.out)
    shipped, int8 = (found[name, 4].figures.macro["pixel_auroc"] for name in ("shipped", "int8"))
    assert shipped != int8
    assert shipped == pytest.approx(int8, abs=0.1)


def test_ctrl_c_in_a_students_training(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study, out = write(tmp_path, row=ROWS[:1] + ROWS[2:3], confidence=False), tmp_path / "out"
    original, made = Trainer._step, list[int]()

    def counted(*given: Any, **named: Any) -> Any:
        made.append(1)
        return augmented(*given, **named)

    monkeypatch.setattr(feature_cache, "augmented", counted)

    def pressed(trainer: Trainer, *given: Any) -> Any:
        if trainer.name == "student" and trainer.outcome.step == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return original(trainer, *given)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", pressed)
        with pytest.raises(KeyboardInterrupt):
            ablate(study, data, out)
    assert "0 of 2 rows measured." in (out / "table.md").read_text()
    # its teacher's answers are still there for it
    assert list(out.glob("runs/*/cache/targets-*"))
    summary = ablate(study, data, out, only=["draws"])
    assert (summary.trained, summary.table.measured) == (0, 1)
    assert begun(out, "*/student-*/student-log.jsonl") == [1]
    # teacher and student used the same features, which nobody made twice
    assert len(made) == GOOD - 4


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of this category."""
    folder = tmp_path_factory.mktemp("elsewhere") / "run"
    return train(data, folder, TrainConfig.model_validate(TEACHER)).run


def contents(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_a_run_that_is_given(run: Path, data: Path, tmp_path: Path) -> None:
    before, out = contents(run), tmp_path / "out"
    rows = [ROWS[0], {"name": "teacher"}, {"name": "other", "score.alpha": 0.5}]
    study = write(tmp_path, base={"run": str(run), **STUDENT}, row=rows, against="teacher")
    summary = ablate(study, data, out)
    assert (summary.failures, summary.trained, summary.table.measured) == ((), 0, 3)
    assert contents(run) == before
    assert begun(out, "*/student-*/student-log.jsonl") == [1]
    # by a folder of runs, and by an option, it is the same teacher
    again = write(tmp_path / "again", row=rows, against="teacher")
    told: list[Any] = []
    assert ablate(again, data, out, run=run.parent, begins=told.append).table.measured == 3
    assert told == []


def test_a_given_run_of_other_images(run: Path, tmp_path: Path) -> None:
    line = LineConfig(size=64, seed=7)
    other = write_mvtec(tmp_path / "disc", line, train_good=GOOD, test_good=2, test_per_kind=1)
    study, out = write(tmp_path, base={"run": str(run), **STUDENT}, row=[ROWS[0]]), tmp_path / "out"
    with pytest.raises(DataError, match=r"9 good images of disc differ from those that .*run was trained on"):
        ablate(study, other, out)
    assert not (out / "rows").exists()


def test_given_runs_of_other_categories(run: Path, data: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        text = (run / "config.json").read_text().replace('"name": "disc"', f'"name": "{name}"')
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "config.json").write_text(text)
    study = write(tmp_path, base={"run": str(tmp_path / "runs"), **STUDENT}, row=[ROWS[0]])
    with pytest.raises(DataError, match="know the categories a, b, not 'disc'"):
        ablate(study, data, tmp_path / "out")


def test_a_given_run_that_was_not_finished(run: Path, data: Path, tmp_path: Path) -> None:
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "config.json").write_text((run / "config.json").read_text())
    study = write(tmp_path, base={"run": str(tmp_path / "half"), **STUDENT}, row=[ROWS[0]])
    with pytest.raises(InputError, match=r"no disc\.safetensors in .*half/scores"):
        ablate(study, data, tmp_path / "out")


def test_a_teacher_that_keeps_its_score(data: Path, tmp_path: Path) -> None:
    """Levels are chosen by the base's score, whatever row comes first; another base is another student's row."""
    rows = [{"name": "odd", "score.alpha": 1.0}, {"name": "chosen", "distil.chain_steps": "none"}]
    out = tmp_path / "out"
    assert ablate(write(tmp_path, row=rows, confidence=False), data, out).failures == ()
    (folder,) = (out / "runs").iterdir()
    assert open_run(folder).config.score == ScoreConfig.model_validate(TEACHER["score"])
