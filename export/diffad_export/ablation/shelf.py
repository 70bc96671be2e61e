"""Where a study's results stand: rows, references and trainings of one plan, one data folder and one output folder.

Knows keys and files. Does not train or measure.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from diffad_calibration.dataset import Dataset
from diffad_export.ablation.given import SHORT, given_trainings
from diffad_export.ablation.pairs import Drawn, Measured, load_drawn, save_drawn
from diffad_export.ablation.record import (
    Category,
    ReferenceRecord,
    RowRecord,
    load,
    reference_key,
    row_key,
    store,
    training_key,
)
from diffad_export.ablation.settings import Setting
from diffad_export.ablation.study import Plan, Row
from diffad_export.ablation.training import Training
from diffad_export.config import DistilConfig, ScoreConfig, TrainConfig

Trial = tuple[Row, int]
"""A row at a seed."""
ROW = "row"


@dataclass(slots=True)
class Shelf:
    """Everything of one study.

    Attributes:
        data: a category's folder, or the folder of all; `datasets`, `categories`: what is in it, in one order.
        out: folder of the study.
    """

    plan: Plan
    data: Path
    datasets: tuple[Dataset, ...]
    categories: tuple[Category, ...]
    out: Path
    _given: Mapping[str, Training] = field(default_factory=dict)
    _found: dict[str, RowRecord] = field(default_factory=dict)
    _scores: dict[Path, ScoreConfig] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Look for the runs that are given.

        Raises:
            DataError: a category that no run knows.
            InputError: a run that was not trained to its end.
        """
        if self.plan.runs is not None:
            self._given = given_trainings(self.plan.runs, self.datasets, self.categories, self.out)

    def trials(self, rows: Sequence[Row] | None = None) -> list[Trial]:
        """Rows at every seed, seed by seed; all of the study where none are given."""
        return [(row, seed) for seed in self.plan.seeds for row in (self.plan.rows if rows is None else rows)]

    def setting(self, trial: Trial) -> Setting:
        """What a trial is."""
        return self.plan.at(*trial)

    def record(self, row: Row, seed: int) -> RowRecord | None:
        """What was found of a row at a seed, None where it is still to do."""
        key = self.row_key(self.plan.at(row, seed))
        if key not in self._found:
            record = load(self._row_file(key), RowRecord)
            if record is None or record.key != key or not self._has_drawn(self._row_file(key)):
                return None
            self._found[key] = record
        return self._found[key]

    def todo(self, trials: Sequence[Trial]) -> list[Trial]:
        """Those without a record; of such as come out the same, the first."""
        first: dict[str, Trial] = {}
        for trial in trials:
            if self.record(*trial) is None:
                first.setdefault(self.row_key(self.setting(trial)), trial)
        return list(first.values())

    def keep(self, record: RowRecord, drawn: Drawn) -> None:
        """Store what was found of a row; replicates first, so that no record is without."""
        path = self._row_file(record.key)
        if self.plan.study.confidence:
            save_drawn(path.with_suffix(".safetensors"), {ROW: drawn})
        store(path, record)

    def measured(self, record: RowRecord) -> Measured:
        """A stored row, to be compared with others."""
        found = load_drawn(self._row_file(record.key).with_suffix(".safetensors"))
        return Measured(record.figures, (found or {}).get(ROW, {}))

    def row_key(self, setting: Setting) -> str:
        """Of a row with this setting."""
        study, trainings = self.plan.study, self.trainings(setting.train)
        student = setting.student
        kept = [self._score(one) for one in trainings.values()] if student is not None and student.asks_score else []
        return row_key(
            setting,
            self.categories,
            unified=study.unified,
            confidence=study.confidence,
            given=[one.key for one in self._given.values()],
            scores=kept,
        )

    def trainings(self, config: TrainConfig) -> Mapping[str, Training]:
        """The teachers that a row rests on, by category: one training each, or the same one for all."""
        if self.plan.runs is not None:
            return self._given
        if self.plan.study.unified:
            one = self._training(config, self.data, self.categories)
            return {category.name: one for category in self.categories}
        pairs = zip(self.datasets, self.categories, strict=True)
        return {category.name: self._training(config, dataset.root, (category,)) for dataset, category in pairs}

    def all_trainings(self, trials: Sequence[Trial]) -> list[Training]:
        """Teachers of several rows, each once."""
        every = [one for trial in trials for one in self.trainings(self.setting(trial).train).values()]
        first: dict[Path, Training] = {}
        for one in every:
            first.setdefault(one.folder, one)
        return list(first.values())

    def of_students(self, trials: Sequence[Trial]) -> set[Path]:
        """Folders of the teachers that the students among these rows learn from."""
        return {one.folder for one in self.all_trainings([t for t in trials if self.setting(t).student is not None])}

    def students(self, trials: Sequence[Trial]) -> list[DistilConfig]:
        """Distillations of several rows, each once for every category."""
        distinct = dict.fromkeys(
            (one.folder, category, student.distil)
            for trial in trials
            if (student := self.setting(trial).student) is not None
            for category, one in self.trainings(self.setting(trial).train).items()
        )
        return [distil for _, _, distil in distinct]

    def anchors(self, rows: Sequence[Row]) -> list[tuple[int, str]]:
        """Sizes and backbones that references are wanted for."""
        if not self.plan.study.references.names:
            return []
        return list(dict.fromkeys((row.config.size, row.config.backbone) for row in rows))

    def reference_key(self, size: int, backbone: str) -> str:
        """Of the references of the study."""
        study = self.plan.study
        return reference_key(size, backbone, study.references.names, self.categories, confidence=study.confidence)

    def reference(self, size: int, backbone: str) -> ReferenceRecord | None:
        """What was found of the references, None where it is still to do."""
        key = self.reference_key(size, backbone)
        record = load(self._reference_file(key), ReferenceRecord)
        found = record is not None and record.key == key and self._has_drawn(self._reference_file(key))
        return record if found else None

    def keep_reference(self, record: ReferenceRecord, measured: Mapping[str, Measured]) -> None:
        """Store what was found of references."""
        path = self._reference_file(record.key)
        if self.plan.study.confidence:
            save_drawn(path.with_suffix(".safetensors"), {name: one.drawn for name, one in measured.items()})
        store(path, record)

    def measured_references(self, record: ReferenceRecord) -> dict[str, Measured]:
        """Stored references, to be compared with rows."""
        found = load_drawn(self._reference_file(record.key).with_suffix(".safetensors")) or {}
        return {name: Measured(figures, found.get(name, {})) for name, figures in record.models.items()}

    def _training(self, config: TrainConfig, source: Path, categories: tuple[Category, ...]) -> Training:
        if self.plan.has_students:
            config = config.model_copy(update={"score": self.plan.score})
        return Training(self.out / "runs" / training_key(config, categories)[:SHORT], source, config, categories)

    def _score(self, training: Training) -> ScoreConfig:
        if training.folder not in self._scores:
            score = training.kept_score
            if not (training.folder / "config.json").exists():
                return score
            self._scores[training.folder] = score
        return self._scores[training.folder]

    def _has_drawn(self, path: Path) -> bool:
        return not self.plan.study.confidence or path.with_suffix(".safetensors").is_file()

    def _row_file(self, key: str) -> Path:
        return self.out / "rows" / f"{key[:SHORT]}.json"

    def _reference_file(self, key: str) -> Path:
        return self.out / "references" / f"{key[:SHORT]}.json"
