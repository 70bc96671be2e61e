"""The order of a study's work: references, then row by row its trainings, its score, its figures; the table last.

Whatever is finished is stored at once and never done again; Ctrl-C leaves the rest to the next call.
Knows no key, no file format and no column.
"""

import fcntl
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diffad_calibration.dataset import Dataset, open_datasets
from diffad_calibration.evaluation.contestants import Progress, silent
from diffad_export.ablation.measure import measure_references, measure_teachers
from diffad_export.ablation.pace import Pace
from diffad_export.ablation.record import ReferenceRecord, RowRecord, category_of
from diffad_export.ablation.shelf import Shelf, Trial
from diffad_export.ablation.study import Row, load_plan
from diffad_export.ablation.table import Table, make_table, to_csv, to_markdown
from diffad_export.ablation.training import Training
from diffad_export.provenance import package_versions
from diffad_runtime.atomic import replacing
from diffad_runtime.errors import DataError, DiffadError, InputError


@dataclass(frozen=True, slots=True)
class Begins:
    """Told before a row is worked on.

    Attributes:
        number, total: of rows times seeds that this call was asked for; finished ones are counted, and not told.
        name: of the row.
        values: what is varied, in words, as in (("alpha", "0.5"),).
        seed: None where the study has one seed.
        minutes_left: for this row and those after it; None where nothing was measured yet.
    """

    number: int
    total: int
    name: str
    values: tuple[tuple[str, str], ...]
    seed: int | None
    minutes_left: float | None


@dataclass(frozen=True, slots=True)
class AblationSummary:
    """How far a study is.

    Attributes:
        out: its folder; table.md and table.csv lie in it.
        table: every row that is finished, in this call or before.
        failures: (row, why), of this call.
        trained: trainings that this call finished.
    """

    out: Path
    table: Table
    failures: tuple[tuple[str, str], ...]
    trained: int

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            **self.table.to_json(),
            "out": str(self.out),
            "table": str(self.out / "table.md"),
            "trained": self.trained,
            "failures": [{"row": name, "why": why} for name, why in self.failures],
        }


def quiet(_begins: Begins) -> None:
    """No word."""


def ablate(
    study: Path,
    data: Path,
    out: Path,
    *,
    only: Sequence[str] = (),
    device: str = "auto",
    begins: Callable[[Begins], None] = quiet,
    progress: Progress = silent,
) -> AblationSummary:
    """Train, score and measure every row of a study on test sets; go on where an earlier call was left.

    A row that fails is left out, and the rest goes on.

    Args:
        study: TOML or YAML file.
        data: one category in MVTec-AD layout with test images, or a folder of several.
        out: folder of the study; several studies may share it, and then their trainings.
        only: names or shell patterns of rows; all where empty.

    Raises:
        InputError: a study that cannot be used, an unknown row, or another `ablate` at work in the folder.
        DataError: no test images, or files that cannot be read.
    """
    if os.environ.get("WORLD_SIZE", "1") not in ("", "1"):
        raise InputError("ablate runs in one process, torchrun started several", mend="Start it without torchrun")
    plan = load_plan(study)
    rows = plan.select(only)
    datasets = _with_tests(data)
    with _alone(out):
        categories = []
        for number, dataset in enumerate(datasets):
            progress("Reading the data", number, len(datasets))
            categories.append(category_of(dataset))
        work = _Work(Shelf(plan, data, tuple(datasets), tuple(categories), out), device, progress)
        try:
            work.references(rows)
            work.rows(rows, begins)
            work.tidy()
        finally:
            table = work.table()
    return AblationSummary(out, table, tuple(work.failures), work.trained)


@dataclass(slots=True)
class _Work:
    """One call of `ablate`."""

    shelf: Shelf
    device: str
    progress: Progress
    pace: Pace = field(default_factory=Pace)
    failures: list[tuple[str, str]] = field(default_factory=list)
    trained: int = 0

    def references(self, rows: Sequence[Row]) -> None:
        """Fit and measure the references at every size, where that was not done yet."""
        shelf, study = self.shelf, self.shelf.plan.study
        for size, backbone in shelf.anchors(rows):
            if shelf.reference(size, backbone) is not None:
                continue
            names, began = study.references.names, time.monotonic()
            try:
                models = measure_references(
                    shelf.data, names, size, backbone, confidence=study.confidence, progress=self.progress
                )
            except DiffadError as error:
                self.failures.append((f"references at {size} px", str(error)))
                continue
            record = ReferenceRecord(
                key=shelf.reference_key(size, backbone),
                size=size,
                backbone=backbone,
                data=shelf.categories,
                models=models,
                minutes=(time.monotonic() - began) / 60,
            )
            shelf.keep_reference(record)

    def rows(self, rows: Sequence[Row], begins: Callable[[Begins], None]) -> None:
        """Every row at every seed, where that was not done yet."""
        trials = self.shelf.trials(rows)
        for record in filter(None, (self.shelf.record(*trial) for trial in trials)):
            each = record.minutes / len(set(record.trainings.values()))
            self.pace.trainings.append((record.config, each))
            self.pace.evaluations.append(record.evaluation_minutes)
        for number, trial in enumerate(trials, 1):
            if self.shelf.record(*trial) is not None:
                continue
            begins(self._begins(number, trials))
            try:
                self._row(trial, trials[number:])
            except DiffadError as error:
                self.failures.append((trial[0].name, str(error)))

    def tidy(self) -> None:
        """Drop the caches that no training to come can use."""
        everything = self.shelf.all_trainings(self.shelf.trials())
        for training in everything:
            training.tidy([other for other in everything if not other.finished])

    def table(self) -> Table:
        """Everything of the study that is finished, written as table.md and table.csv."""
        shelf = self.shelf
        rows = [
            (row, [one for trial in shelf.trials([row]) if (one := shelf.record(*trial))]) for row in shelf.plan.rows
        ]
        anchors = [shelf.reference(*anchor) for anchor in shelf.anchors(shelf.plan.rows)]
        table = make_table(shelf.plan, rows, [anchor for anchor in anchors if anchor is not None])
        for name, text in (("table.md", to_markdown(table)), ("table.csv", to_csv(table))):
            with replacing(shelf.out / name) as temporary:
                temporary.write_text(text, encoding="utf-8")
        return table

    def _row(self, trial: Trial, after: Sequence[Trial]) -> None:
        shelf, config = self.shelf, trial[0].at(trial[1])
        by_category = shelf.trainings(config)
        for training in dict.fromkeys(by_category.values()):
            self._train(training, after)
        facts = [training.facts() for training in dict.fromkeys(by_category.values())]
        began = time.monotonic()
        figures = measure_teachers(
            shelf.data,
            by_category,
            config.size,
            config.score,
            confidence=shelf.plan.study.confidence,
            progress=self.progress,
        )
        minutes = (time.monotonic() - began) / 60
        self.pace.evaluations.append(minutes)
        shelf.keep(
            RowRecord(
                key=shelf.row_key(config),
                name=trial[0].name,
                config=config,
                data=shelf.categories,
                trainings={name: training.key for name, training in by_category.items()},
                figures=figures,
                minutes=sum(one["seconds"] for one in facts) / 60,
                evaluation_minutes=minutes,
                parameters=int(facts[0]["parameters"]),
                gflops=float(facts[0]["gflops"]),
                versions=package_versions(),
            )
        )

    def _train(self, training: Training, after: Sequence[Trial]) -> None:
        if not training.finished:
            training.fit(self.device, self.shelf.all_trainings(self.shelf.trials()))
            self.trained += 1
            self.pace.trainings.append((training.config, training.facts()["seconds"] / 60))
        training.tidy([other for other in self.shelf.all_trainings(after) if not other.finished])

    def _begins(self, number: int, trials: Sequence[Trial]) -> Begins:
        row, seed = trials[number - 1]
        plan = self.shelf.plan
        todo = [trial for trial in trials[number - 1 :] if self.shelf.record(*trial) is None]
        ahead = [training.config for training in self.shelf.all_trainings(todo) if not training.finished]
        return Begins(
            number=number,
            total=len(trials),
            name=row.name,
            values=tuple(zip(plan.headings, row.values, strict=True)),
            seed=seed if len(plan.seeds) > 1 else None,
            minutes_left=self.pace.left(ahead, len(todo)),
        )


def _with_tests(data: Path) -> list[Dataset]:
    datasets = open_datasets(data)
    for dataset in datasets:
        if not dataset.test:
            raise DataError(
                f"{dataset.root} has no labelled test images",
                mend="A study needs test/good, test/<kind> and ground_truth/<kind>/<stem>_mask.png",
            )
    return datasets


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Hold the folder: two calls at once would train the same run."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        file = (out / "ablate.lock").open("w")
    except OSError as error:
        raise InputError(f"cannot write into {out}: {error.strerror or error}", mend="Choose another --out") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(
                f"another ablate is at work in {out}", mend="Wait for it, or choose another --out"
            ) from None
        yield
