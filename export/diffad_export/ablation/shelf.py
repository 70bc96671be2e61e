"""Where a study's results stand: rows, references and trainings of one plan, one data folder and one output folder.

Knows keys and files. Does not train or measure.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from diffad_calibration.dataset import Dataset
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
from diffad_export.ablation.study import Plan, Row
from diffad_export.ablation.training import Training
from diffad_export.config import TrainConfig

SHORT = 16  # digits of a key in a name
Trial = tuple[Row, int]
"""A row at a seed."""


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
    _found: dict[str, RowRecord] = field(default_factory=dict)

    def trials(self, rows: Sequence[Row] | None = None) -> list[Trial]:
        """Rows at every seed; all of the study where none are given."""
        return [(row, seed) for row in (self.plan.rows if rows is None else rows) for seed in self.plan.seeds]

    def record(self, row: Row, seed: int) -> RowRecord | None:
        """What was found of a row at a seed, None where it is still to do."""
        key = self.row_key(row.at(seed))
        if key not in self._found:
            record = load(self._row_file(key), RowRecord)
            if record is None or record.key != key:
                return None
            self._found[key] = record
        return self._found[key]

    def keep(self, record: RowRecord) -> None:
        """Store what was found of a row."""
        store(self._row_file(record.key), record)

    def row_key(self, config: TrainConfig) -> str:
        """Of a row with this configuration."""
        study = self.plan.study
        return row_key(config, self.categories, unified=study.unified, confidence=study.confidence)

    def trainings(self, config: TrainConfig) -> dict[str, Training]:
        """What a row rests on, by category: one training each, or the same one for all."""
        if self.plan.study.unified:
            one = self._training(config, self.data, self.categories)
            return {category.name: one for category in self.categories}
        pairs = zip(self.datasets, self.categories, strict=True)
        return {category.name: self._training(config, dataset.root, (category,)) for dataset, category in pairs}

    def all_trainings(self, trials: Sequence[Trial]) -> list[Training]:
        """Of several rows, each once."""
        every = [one for row, seed in trials for one in self.trainings(row.at(seed)).values()]
        first: dict[Path, Training] = {}
        for one in every:
            first.setdefault(one.folder, one)
        return list(first.values())

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
        return record if record is not None and record.key == key else None

    def keep_reference(self, record: ReferenceRecord) -> None:
        """Store what was found of references."""
        store(self._reference_file(record.key), record)

    def _training(self, config: TrainConfig, source: Path, categories: tuple[Category, ...]) -> Training:
        return Training(self.out / "runs" / training_key(config, categories)[:SHORT], source, config, categories)

    def _row_file(self, key: str) -> Path:
        return self.out / "rows" / f"{key[:SHORT]}.json"

    def _reference_file(self, key: str) -> Path:
        return self.out / "references" / f"{key[:SHORT]}.json"
