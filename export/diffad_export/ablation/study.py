"""A study: what is held fast, what is varied, and the rows that came of it.

    version = 1
    name = "paper-table-2"
    seeds = [0, 1]                  # optional: every row once a seed
    teacher_seed = 0                # optional: one teacher for all seeds, which are then those of students alone
    unified = false                 # true: one teacher for all categories
    confidence = true               # bootstrap intervals over images
    against = "alpha 0.5"           # a row: all others minus it, image by image
    columns = true                  # what is varied as columns; false: names say enough
    [base]                          # preset, then any values of TrainConfig; or a run, as run = "runs/all"
    preset = "compact"
    size = 256
    [[grid]]                        # the keys of one grid are crossed; several grids stand one after the other
    "features.grid_stride" = [4, 8, 16]
    score = [{ feature_score = "residual", alpha = 0.5 }, { feature_score = "whitened" }]    # tables vary together
    [[row]]                         # one row more; the name may be left out
    name = "alpha 0.5"
    "score.alpha" = 0.5
    [[row]]
    name = "along a reverse chain"
    chain = 25                      # network evaluations, from the middle one of score.chain_steps
    [[row]]                         # distil.*, student_score.* or precision make it the row of a student
    name = "student, INT8"
    precision = "int8"              # or "torch", "fp32" (ONNX Runtime)
    "distil.width" = 32
    "student_score.draws" = 2
    [references]
    names = ["padim", "patchcore"]

Knows fields, rows and seeds. Does not expand (expansion.py), does not train, and knows no data.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from typing_extensions import Self

from diffad_calibration.evaluation import REFERENCES
from diffad_export.ablation.settings import Setting
from diffad_export.config import ScoreConfig, TrainConfig
from diffad_export.runset import RunSet
from diffad_runtime.errors import InputError


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class References(_Strict):
    """Published detectors beside the rows, once a size."""

    names: tuple[str, ...] = ()

    @field_validator("names")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := [name for name in names if name not in REFERENCES]:
            raise ValueError(f"unknown {', '.join(unknown)}; choose from {', '.join(REFERENCES)}")
        return tuple(dict.fromkeys(names))


class Study(_Strict):
    """The file."""

    version: Literal[1]
    name: str = Field(min_length=1)
    base: dict[str, Any] = {}
    grid: tuple[dict[str, Any], ...] = ()
    row: tuple[dict[str, Any], ...] = ()
    references: References = References()
    seeds: tuple[Annotated[int, Field(ge=0)], ...] | None = Field(default=None, min_length=1)
    teacher_seed: Annotated[int, Field(ge=0)] | None = None
    unified: bool = False
    confidence: bool = True
    against: str | None = None
    columns: bool = True

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, seeds: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if seeds is not None and len(set(seeds)) != len(seeds):
            raise ValueError("a seed is named twice")
        return seeds

    @model_validator(mode="after")
    def _of_one_mind(self) -> Self:
        if self.teacher_seed is not None and self.seeds is None:
            raise ValueError("teacher_seed holds the teacher's while seeds vary, and there are none: name seeds")
        if self.against is not None and not self.confidence:
            raise ValueError("against compares by intervals: leave confidence on")
        return self


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    Attributes:
        name: as given, or made of what is varied; no two are the same.
        given: whether the file names it.
        setting: resolved, at the base's seeds.
        values: of the varied paths, in words.
        names: all that it goes by: several places of a file may come out the same.
    """

    name: str
    given: bool
    setting: Setting
    values: tuple[str, ...] = ()
    names: tuple[str, ...] = ()

    @property
    def config(self) -> TrainConfig:
        """Of its teacher."""
        return self.setting.train


@dataclass(frozen=True, slots=True)
class Plan:
    """A study, expanded.

    Attributes:
        varied: the paths in which rows differ, as far as they are shown.
        headings: of them, as short as they are clear.
        seeds: of every row.
        score: of the base: what the teachers of students score by.
        runs: trained teachers that are used instead of training any; None where they are trained.
        against: the row that all others are held against; None for none.
    """

    study: Study
    rows: tuple[Row, ...]
    varied: tuple[str, ...]
    headings: tuple[str, ...]
    seeds: tuple[int, ...]
    score: ScoreConfig
    runs: RunSet | None = None
    against: Row | None = None

    @property
    def has_students(self) -> bool:
        """Whether any row is of a student."""
        return any(row.setting.student is not None for row in self.rows)

    def at(self, row: Row, seed: int) -> Setting:
        """A row at a seed: of its teacher, unless that is held or trained already, and of its student."""
        setting, study = row.setting, self.study
        train, student = setting.train, setting.student
        if self.runs is None:
            train = train.model_copy(update={"seed": seed if study.teacher_seed is None else study.teacher_seed})
        if student is not None and study.seeds is not None:
            distil = student.distil.model_copy(update={"seed": seed})
            student = student.model_copy(update={"distil": distil})
        return replace(setting, train=train, student=student)

    def find(self, name: str) -> tuple[Row, ...]:
        """Rows of that name; where there is none, those whose name fits it as a shell pattern."""
        found = tuple(row for row in self.rows if name in row.names)
        return found or tuple(row for row in self.rows if any(fnmatchcase(one, name) for one in row.names))

    def select(self, only: Sequence[str]) -> tuple[Row, ...]:
        """Rows by name or shell pattern; all where `only` is empty.

        Raises:
            InputError: a name that no row has.
        """
        if not only:
            return self.rows
        chosen: set[str] = set()
        for name in only:
            found = self.find(name)
            if not found:
                raise self.no_row(name)
            chosen.update(row.name for row in found)
        return tuple(row for row in self.rows if row.name in chosen)

    def no_row(self, name: str) -> InputError:
        """To be raised where a row is asked for that is not there."""
        listed = "; ".join(row.name for row in self.rows)
        return InputError(f"no row of {self.study.name} is named {name!r}", mend=f"Choose from: {listed}")
