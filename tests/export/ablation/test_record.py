"""Keys: what changes them and what does not; records there and back."""

import shutil
from pathlib import Path

import pytest

from diffad_calibration.dataset import open_dataset
from diffad_export.ablation.paths import changed
from diffad_export.ablation.record import (
    Category,
    Figures,
    ReferenceRecord,
    category_of,
    given_key,
    load,
    reference_key,
    row_key,
    store,
    training_key,
)
from diffad_export.ablation.settings import Setting, StudentConfig
from diffad_export.config import DistilConfig, ScoreConfig, TrainConfig
from diffad_runtime.synthetic import LineConfig, write_mvtec

DATA = (Category(name="line", good="a", whole="b"),)
CONFIG = TrainConfig()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_mvtec(tmp_path / "line", LineConfig(size=32), train_good=2, test_good=2, test_per_kind=1)


def touch(image: Path) -> None:
    image.write_bytes(image.read_bytes() + b"\0")


def test_the_score_has_no_part_in_a_training() -> None:
    other = changed(CONFIG, {"score.alpha": 1.0, "score.draws": 2}, "")
    assert training_key(other, DATA) == training_key(CONFIG, DATA)
    assert row_key(Setting(other), DATA, unified=False, confidence=False) != row_key(
        Setting(CONFIG), DATA, unified=False, confidence=False
    )


@pytest.mark.parametrize(
    "changes", [{"seed": 1}, {"size": 128}, {"features.grid_stride": 8}, {"optimiser.max_minutes": 1.0}]
)
def test_everything_else_has(changes: dict[str, object]) -> None:
    assert training_key(changed(CONFIG, changes, ""), DATA) != training_key(CONFIG, DATA)


def test_test_images_have_no_part_in_a_training() -> None:
    other_tests, other_good = (DATA[0].model_copy(update={field: "c"}) for field in ("whole", "good"))
    assert training_key(CONFIG, (other_tests,)) == training_key(CONFIG, DATA)
    assert training_key(CONFIG, (other_good,)) != training_key(CONFIG, DATA)


def test_every_circumstance_has_its_row() -> None:
    keys = {
        row_key(Setting(CONFIG), data, unified=unified, confidence=confidence)
        for data in (DATA, (*DATA, *DATA), (DATA[0].model_copy(update={"whole": "c"}),))
        for unified in (False, True)
        for confidence in (False, True)
    }
    assert len(keys) == 12
    references = {
        reference_key(size, backbone, names, DATA, confidence=True)
        for size in (64, 128)
        for backbone in ("a", "b")
        for names in (("padim",), ("padim", "patchcore"))
    }
    assert len(references) == 8


def test_keys_of_students() -> None:
    one = Setting(CONFIG, StudentConfig())
    wide = StudentConfig(distil=DistilConfig(width=64))
    others = [
        Setting(CONFIG),
        Setting(CONFIG, chain=3),
        Setting(CONFIG, wide),
        Setting(CONFIG, StudentConfig(precision="int8")),
        Setting(CONFIG, StudentConfig(student_score=ScoreConfig())),
        Setting(changed(CONFIG, {"seed": 1}, ""), StudentConfig()),
    ]
    keys = {row_key(setting, DATA, unified=False, confidence=True) for setting in [one, *others]}
    assert len(keys) == 7
    told = {
        row_key(one, DATA, unified=False, confidence=True, given=given, scores=scores)
        for given in ((), ("a",), ("b",))
        for scores in ((), (CONFIG.score,), (ScoreConfig(draws=2),))
    }
    assert len(told) == 9
    # a student's teacher is scored as its run has it, whatever the row's own score is
    scored = Setting(changed(CONFIG, {"score.alpha": 1.0}, ""), StudentConfig())
    assert row_key(scored, DATA, unified=False, confidence=True) == row_key(one, DATA, unified=False, confidence=True)


def test_a_given_training_is_known_by_its_weights() -> None:
    keys = {given_key(teacher, CONFIG, DATA) for teacher in ("a", "b")}
    assert len({*keys, training_key(CONFIG, DATA)}) == 3
    assert given_key("a", changed(CONFIG, {"score.alpha": 1.0}, ""), DATA) not in keys


def test_a_changed_good_image_changes_both_keys(folder: Path) -> None:
    before = category_of(open_dataset(folder))
    touch(next((folder / "train" / "good").iterdir()))
    after = category_of(open_dataset(folder))
    assert (before.good == after.good, before.whole == after.whole) == (False, False)


def test_a_changed_test_image_leaves_the_training(folder: Path) -> None:
    before = category_of(open_dataset(folder))
    touch(next((folder / "test" / "good").iterdir()))
    after = category_of(open_dataset(folder))
    assert (before.good == after.good, before.whole == after.whole) == (True, False)


def test_a_moved_folder_keeps_its_keys(folder: Path, tmp_path: Path) -> None:
    before = category_of(open_dataset(folder))
    moved = shutil.move(folder, tmp_path / "elsewhere" / "line")
    assert category_of(open_dataset(moved)) == before


def test_a_record_there_and_back(tmp_path: Path) -> None:
    figures = Figures(
        classes={"line": {"aupro_30": 0.1 + 0.2, "f1_max": None, "images": 3}},
        macro={"aupro_30": 0.5},
        intervals={"classes": {"line": {"aupro_30": [0.1, 0.4]}}, "macro": {"aupro_30": [0.2, 0.6]}},
    )
    record = ReferenceRecord(key="k", size=64, backbone="b", data=DATA, models={"PaDiM": figures}, minutes=1.5)
    store(tmp_path / "a" / "k.json", record)
    assert load(tmp_path / "a" / "k.json", ReferenceRecord) == record
    assert figures.ends("line", "aupro_30") == (0.1, 0.4)
    assert figures.ends("macro", "aupro_30") == (0.2, 0.6)
    assert figures.ends("line", "f1_max") is None


@pytest.mark.parametrize("content", ["", "{", "{}", '{"format": 2}'])
def test_a_record_that_cannot_be_used_is_none(content: str, tmp_path: Path) -> None:
    (tmp_path / "k.json").write_text(content)
    assert load(tmp_path / "k.json", ReferenceRecord) is None
    assert load(tmp_path / "missing.json", ReferenceRecord) is None
