"""The order of a study's work: references, then row by row its teachers, its students, its figures; the table last.

Whatever is finished is stored at once and never done again; Ctrl-C leaves the rest to the next call.
Knows no key, no file format and no column.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from diffad_calibration.evaluation.contestants import Progress
from diffad_export.ablation.measure import measure_references, measure_teachers
from diffad_export.ablation.pace import Pace
from diffad_export.ablation.pairs import Measured, leads
from diffad_export.ablation.record import ReferenceRecord, RowRecord
from diffad_export.ablation.settings import Setting
from diffad_export.ablation.shelf import Shelf, Trial
from diffad_export.ablation.students import Students
from diffad_export.ablation.study import Row
from diffad_export.ablation.table import Leads, LineKey, Table, make_table
from diffad_export.ablation.tabletext import to_csv, to_markdown
from diffad_export.ablation.training import Training
from diffad_export.provenance import package_versions
from diffad_runtime.atomic import replacing
from diffad_runtime.errors import DiffadError


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


def quiet(_begins: Begins) -> None:
    """No word."""


@dataclass(slots=True)
class Work:
    """One call of `ablate`: `failures` are (row, why), `trained` counts teachers."""

    shelf: Shelf
    device: str
    progress: Progress
    pace: Pace = field(default_factory=Pace)
    failures: list[tuple[str, str]] = field(default_factory=list)
    trained: int = 0
    students: Students = field(init=False)

    def __post_init__(self) -> None:
        self.students = Students(self.device)

    def take_over(self, rows: Sequence[Row]) -> None:
        """Take runs that are given into the study's folder, where rows need them.

        Raises:
            DataError: the data are not those that they were trained on.
        """
        if self.shelf.plan.runs is None:
            return
        for training in self.shelf.all_trainings(self.shelf.todo(self.shelf.trials(rows))):
            if not training.finished:
                training.fit(self.device, ())

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
                models={name: one.figures for name, one in models.items()},
                minutes=(time.monotonic() - began) / 60,
            )
            shelf.keep_reference(record, models)

    def rows(self, rows: Sequence[Row], begins: Callable[[Begins], None]) -> None:
        """Every row at every seed, where that was not done yet."""
        trials = self.shelf.trials(rows)
        for record in filter(None, (self.shelf.record(*trial) for trial in trials)):
            self._learn_pace(record)
        for number, trial in enumerate(trials, 1):
            if self.shelf.record(*trial) is not None:
                continue
            begins(self._begins(number, trials))
            try:
                self._row(trial, trials[number:])
            except DiffadError as error:
                self.failures.append((trial[0].name, str(error)))

    def tidy(self) -> None:
        """Drop the caches that nothing to come can use."""
        todo = self.shelf.todo(self.shelf.trials())
        for training in self.shelf.all_trainings(self.shelf.trials()):
            self._tidy(training, todo)

    def table(self) -> Table:
        """Everything of the study that is finished, written as table.md and table.csv."""
        shelf = self.shelf
        rows = [
            (row, [one for trial in shelf.trials([row]) if (one := shelf.record(*trial))]) for row in shelf.plan.rows
        ]
        anchors = [found for anchor in shelf.anchors(shelf.plan.rows) if (found := shelf.reference(*anchor))]
        table = make_table(shelf.plan, rows, anchors, self._leads(anchors))
        for name, text in (("table.md", to_markdown(table)), ("table.csv", to_csv(table))):
            with replacing(shelf.out / name) as temporary:
                temporary.write_text(text, encoding="utf-8")
        return table

    def _leads(self, anchors: Sequence[ReferenceRecord]) -> Leads:
        """Every row and reference minus the row that the study holds them against, at the seeds that both have."""
        shelf, against = self.shelf, self.shelf.plan.against
        if against is None:
            return {}
        standard = {seed: shelf.measured(found) for seed in shelf.plan.seeds if (found := shelf.record(against, seed))}
        pairs: dict[LineKey, list[tuple[Measured, Measured]]] = {}
        for row, seed in shelf.trials():
            record = shelf.record(row, seed)
            if row.name != against.name and record is not None and seed in standard:
                pairs.setdefault((row.name, ""), []).append((shelf.measured(record), standard[seed]))
        for anchor in anchors:
            for name, measured in shelf.measured_references(anchor).items():
                pairs[(anchor.key, name)] = [(measured, one) for one in standard.values()]
        return {key: leads(own) for key, own in pairs.items() if own}

    def _row(self, trial: Trial, after: Sequence[Trial]) -> None:
        shelf, setting = self.shelf, self.shelf.setting(trial)
        by_category = shelf.trainings(setting.train)
        distinct = list(dict.fromkeys(by_category.values()))
        for training in distinct:
            self._train(training, [trial, *after])
        began = time.monotonic()
        confidence = shelf.plan.study.confidence
        if setting.student is not None:
            measured, own = self.students.measure(
                shelf.data, by_category, setting, confidence=confidence, progress=self.progress
            )
            minutes, parameters, gflops, inside = own.minutes, own.parameters, own.gflops, own.fresh_minutes
        else:
            measured = measure_teachers(shelf.data, by_category, setting, confidence=confidence, progress=self.progress)
            facts = [training.facts() for training in distinct]
            minutes, inside = sum(one["seconds"] for one in facts) / 60, 0.0
            parameters, gflops = int(facts[0]["parameters"]), float(facts[0]["gflops"])
        record = RowRecord(
            key=shelf.row_key(setting),
            name=trial[0].name,
            config=setting.train,
            student=setting.student,
            chain=setting.chain,
            data=shelf.categories,
            trainings={name: training.key for name, training in by_category.items()},
            figures=measured.figures,
            minutes=minutes,
            evaluation_minutes=max(0.0, (time.monotonic() - began) / 60 - inside),
            parameters=parameters,
            gflops=gflops,
            evaluations=setting.evaluations,
            versions=package_versions(),
        )
        self._learn_pace(record)
        shelf.keep(record, measured.drawn)
        todo = shelf.todo(after)
        for training in distinct:
            self._tidy(training, todo)
            if not self._same_targets(training, setting, todo):
                training.drop_targets()

    def _train(self, training: Training, ahead: Sequence[Trial]) -> None:
        if not training.finished:
            wanted = self.shelf.of_students(self.shelf.todo(self.shelf.trials()))
            every = self.shelf.all_trainings(self.shelf.trials())
            training.fit(self.device, [one for one in every if one.folder not in wanted])
            self.trained += 1
            self.pace.trainings.append((training.config, training.facts()["seconds"] / 60))
        self._tidy(training, self.shelf.todo(ahead))

    def _tidy(self, training: Training, todo: Sequence[Trial]) -> None:
        unfinished = [other for other in self.shelf.all_trainings(todo) if not other.finished]
        training.tidy(unfinished, students=training.folder in self.shelf.of_students(todo))

    def _same_targets(self, training: Training, setting: Setting, todo: Sequence[Trial]) -> bool:
        """Whether a student to come learns from the same noise draws of this teacher."""
        if setting.student is None:
            return True
        mine = setting.student.distil
        for trial in todo:
            student = self.shelf.setting(trial).student
            if student is None or training not in self.shelf.trainings(self.shelf.setting(trial).train).values():
                continue
            other = student.distil
            if other.losses.teacher > 0 and (other.seed, other.draws) == (mine.seed, mine.draws):
                return True
        return False

    def _learn_pace(self, record: RowRecord) -> None:
        self.pace.evaluations.append(record.evaluation_minutes)
        if record.student is not None:
            self.pace.students.append((record.student.distil, record.minutes / len(record.data)))
        elif self.shelf.plan.runs is None:
            self.pace.trainings.append((record.config, record.minutes / len(set(record.trainings.values()))))

    def _begins(self, number: int, trials: Sequence[Trial]) -> Begins:
        row, seed = trials[number - 1]
        plan = self.shelf.plan
        todo = self.shelf.todo(trials[number - 1 :])
        ahead = [training.config for training in self.shelf.all_trainings(todo) if not training.finished]
        return Begins(
            number=number,
            total=len(trials),
            name=row.name,
            values=tuple(zip(plan.headings, row.values, strict=True)),
            seed=seed if len(plan.seeds) > 1 else None,
            minutes_left=self.pace.left(ahead, len(todo), self.shelf.students(todo)),
        )
