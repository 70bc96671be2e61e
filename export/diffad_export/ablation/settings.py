"""What a row of a study is: a teacher by one score, or a student of one distillation, one score and one precision.

Knows which values belong to which of the two. Does not know study files or seeds.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from diffad_export.ablation.paths import value_at, words
from diffad_export.config import STUDENT_SCORE, DistilConfig, ScoreConfig, TrainConfig

Precision = Literal["torch", "fp32", "int8"]
"""Run by torch, or as exported by ONNX Runtime."""

ABSENT = "-"
"""Stands for a value that a row has no part in."""

OF_STUDENTS = ("distil", "student_score", "precision")
OF_TEACHERS = ("score", "chain")


class StudentConfig(BaseModel):
    """A student of a row. The levels of `student_score` say nothing: they are those of `distil`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    distil: DistilConfig = DistilConfig()
    student_score: ScoreConfig = STUDENT_SCORE
    precision: Precision = "torch"

    @property
    def asks_teacher(self) -> bool:
        """Whether its training asks a teacher anything."""
        return self.distil.losses.teacher > 0 or self.distil.losses.map > 0

    @property
    def asks_score(self) -> bool:
        """Whether the teacher's own score has a part in it: in the maps to match, or in the choice of levels."""
        return self.distil.losses.map > 0 or self.distil.chain_steps is None


class RowConfig(TrainConfig):
    """Everything that a study file may name: the root of its dotted paths."""

    distil: DistilConfig = DistilConfig()
    student_score: ScoreConfig = STUDENT_SCORE
    precision: Precision = "torch"
    chain: int = Field(default=0, ge=0, description="evaluations of a teacher's reverse chain; 0: scored as trained")

    @property
    def train(self) -> TrainConfig:
        """The part that makes a teacher, with its score."""
        return TrainConfig.model_validate({name: getattr(self, name) for name in TrainConfig.model_fields})

    @property
    def student(self) -> StudentConfig:
        """The part that makes a student."""
        return StudentConfig(distil=self.distil, student_score=self.student_score, precision=self.precision)


@dataclass(frozen=True, slots=True)
class Setting:
    """A row, at one seed.

    Attributes:
        train: the teacher, with the score that it is measured by; a student's teacher has that of the study's base.
        student: None for a row of a teacher.
        chain: network evaluations of a reverse chain by which the teacher is scored; 0: by its levels.
    """

    train: TrainConfig
    student: StudentConfig | None = None
    chain: int = 0

    @property
    def evaluations(self) -> int:
        """Of the network, for one image."""
        if self.student is not None:
            return self.student.distil.steps * self.student.student_score.draws
        return (self.chain or len(self.train.score.chain_steps)) * self.train.score.draws

    def words(self, path: str) -> str:
        """The value of a checked path, for a table."""
        first = path.partition(".")[0]
        if first in (OF_TEACHERS if self.student is not None else OF_STUDENTS):
            return ABSENT
        if path == "chain":
            return words(self.chain)
        return words(value_at(self.student if self.student and first in OF_STUDENTS else self.train, path))


def is_of_student(paths: Iterable[str]) -> bool:
    """Whether a row that sets these paths is one of a student."""
    return any(path.partition(".")[0] in OF_STUDENTS for path in paths)
