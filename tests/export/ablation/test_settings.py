"""Which values a row has a part in, and how often its network is asked."""

import pytest

from diffad_export.ablation.paths import changed
from diffad_export.ablation.settings import RowConfig, Setting, StudentConfig, is_of_student
from diffad_export.config import STUDENT_SCORE, DistilConfig, TrainConfig

STUDENT = Setting(TrainConfig(), StudentConfig())


def test_the_two_parts_of_a_row() -> None:
    config = changed(RowConfig(), {"size": 64, "score.alpha": 0.5, "distil.width": 16, "precision": "int8"}, "")
    assert config.train == changed(TrainConfig(), {"size": 64, "score.alpha": 0.5}, "")
    assert type(config.train) is TrainConfig
    assert config.student == StudentConfig(distil=DistilConfig(width=16), precision="int8")
    assert config.student.student_score == STUDENT_SCORE


@pytest.mark.parametrize(
    ("path", "of_teacher", "of_student"),
    [
        ("size", "256", "256"),
        ("score.alpha", "0", "-"),
        ("chain", "0", "-"),
        ("distil.width", "-", "48"),
        ("distil.losses.truth", "-", "1"),
        ("student_score.draws", "-", "1"),
        ("precision", "-", "torch"),
    ],
)
def test_a_value_that_a_row_has_no_part_in(path: str, of_teacher: str, of_student: str) -> None:
    assert (Setting(TrainConfig()).words(path), STUDENT.words(path)) == (of_teacher, of_student)


def test_evaluations() -> None:
    three = changed(TrainConfig(), {"score.chain_steps": [5, 50, 100], "score.draws": 2}, "")
    assert Setting(three).evaluations == 6
    assert Setting(three, chain=7).evaluations == 14
    two = changed(RowConfig(), {"distil.steps": 2, "distil.chain_steps": "none", "student_score.draws": 4}, "")
    assert Setting(three, two.student).evaluations == 8


def test_what_makes_a_row_one_of_a_student() -> None:
    assert is_of_student(["size", "distil.losses.map"])
    assert is_of_student(["precision"])
    assert not is_of_student(["size", "score.alpha", "chain"])


def test_what_a_student_asks() -> None:
    def of(**losses: float) -> StudentConfig:
        return changed(StudentConfig(), {f"distil.losses.{name}": value for name, value in losses.items()}, "")

    assert of(teacher=1, map=0).asks_teacher
    assert of(teacher=0, map=1).asks_teacher
    assert not of(teacher=0, map=0).asks_teacher
    assert of(teacher=0, map=1).asks_score
    fixed = changed(of(teacher=1, map=0), {"distil.chain_steps": [50]}, "")
    assert not fixed.asks_score
    assert changed(fixed, {"distil.chain_steps": "none"}, "").asks_score
