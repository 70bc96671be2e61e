"""What was found, on disk: one JSON file a row, one a set of references, under a key of all that it depends on.

    FOLDER/rows/<key>.json           figures of one row at one seed
    FOLDER/references/<key>.json     figures of the references at one size
    FOLDER/.../<key>.safetensors     their bootstrap replicates, for differences image by image (pairs.py)
    FOLDER/runs/<key>/               a training, students in it; the key leaves out the score

Another setting, other data or another FORMAT gives another key: what was found before stays as it is.
Knows keys and fields. Does not train or measure.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from diffad_calibration.dataset import Dataset
from diffad_export.ablation.settings import Setting, StudentConfig
from diffad_export.config import ScoreConfig, TrainConfig
from diffad_runtime.atomic import replacing

FORMAT: Final = 1
"""To be raised when a training or a figure of this version means something else than before."""

Record = TypeVar("Record", bound=BaseModel)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Category(_Strict):
    """One category's data: SHA-256 of its good training images, and of everything."""

    name: str
    good: str
    whole: str


class Figures(_Strict):
    """Of one model: by category, and their mean. `intervals` has [low, high] of each; None without."""

    classes: dict[str, dict[str, float | None]]
    macro: dict[str, float | None]
    intervals: dict[str, Any] | None = None

    @property
    def scopes(self) -> dict[str, dict[str, float | None]]:
        """ "macro" and each category -> figures."""
        return {"macro": self.macro, **self.classes}

    def ends(self, scope: str, figure: str) -> tuple[float, float] | None:
        """The interval of a figure of a scope, where there is one."""
        if self.intervals is None:
            return None
        table = self.intervals["macro"] if scope == "macro" else self.intervals["classes"].get(scope, {})
        found = table.get(figure)
        return None if found is None else (float(found[0]), float(found[1]))


class RowRecord(_Strict):
    """One row at one seed.

    Attributes:
        student, chain: as the row's Setting has them.
        trainings: keys of the teachers, by category.
        minutes: of all trainings of teachers that the row rests on, shared ones included; of a student's row, of the
            students' trainings alone.
        evaluation_minutes: of fitting the score and measuring; of a student's row also of what the teacher was asked.
        parameters, gflops: of the network, and of one evaluation.
        evaluations: of the network, for one image.
    """

    format: Literal[1] = FORMAT
    key: str
    name: str
    config: TrainConfig
    student: StudentConfig | None = None
    chain: int = 0
    data: tuple[Category, ...]
    trainings: dict[str, str]
    figures: Figures
    minutes: float
    evaluation_minutes: float
    parameters: int
    gflops: float
    evaluations: int | None = None
    versions: dict[str, str]


class ReferenceRecord(_Strict):
    """Published detectors at one size. `minutes`: of fitting and measuring all of them."""

    format: Literal[1] = FORMAT
    key: str
    size: int
    backbone: str
    data: tuple[Category, ...]
    models: dict[str, Figures]
    minutes: float


def category_of(dataset: Dataset) -> Category:
    """Digests of a category; reads every file."""
    return Category(name=dataset.name, good=replace(dataset, test=[]).digest(), whole=dataset.digest())


def row_key(
    setting: Setting,
    data: Sequence[Category],
    *,
    unified: bool,
    confidence: bool,
    given: Sequence[str] = (),
    scores: Sequence[ScoreConfig] = (),
) -> str:
    """Key of a row at one seed.

    Args:
        given: keys of teachers that the study did not train: their configuration does not say all.
        scores: of the teachers of a student, where they have a part in it.
    """
    student = setting.student
    config = setting.train.model_dump(mode="json", exclude=None if student is None else {"score"})
    facts: list[Any] = [config, [[c.name, c.whole] for c in data], unified, confidence]
    # Only what is there, so that rows of teachers keep the keys that they had before there were others.
    if student is not None:
        facts.append(
            {"student": student.model_dump(mode="json"), "scores": [s.model_dump(mode="json") for s in scores]}
        )
    if setting.chain:
        facts.append({"chain": setting.chain})
    if given:
        facts.append({"given": list(given)})
    return _key("row", *facts)


def training_key(config: TrainConfig, data: Sequence[Category]) -> str:
    """Key of a training on these categories: test images and score have no part in it."""
    return _key("training", config.model_dump(mode="json", exclude={"score"}), [[c.name, c.good] for c in data])


def given_key(teacher: str, config: TrainConfig, data: Sequence[Category]) -> str:
    """Key of a training that the study did not do; `teacher` is the SHA-256 of its weights."""
    return _key("given", teacher, config.model_dump(mode="json"), [[c.name, c.good] for c in data])


def reference_key(size: int, backbone: str, names: Sequence[str], data: Sequence[Category], *, confidence: bool) -> str:
    """Key of a set of references."""
    return _key("references", size, backbone, list(names), [[c.name, c.whole] for c in data], confidence)


def load(path: Path, kind: type[Record]) -> Record | None:
    """A stored record; None where there is none, or none that this version can read: it is then made anew."""
    try:
        return kind.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def store(path: Path, record: BaseModel) -> None:
    """Write a record, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(record.model_dump_json(indent=2) + "\n", encoding="utf-8")


def _key(*facts: Any) -> str:
    return hashlib.sha256(json.dumps([FORMAT, *facts], sort_keys=True).encode()).hexdigest()
