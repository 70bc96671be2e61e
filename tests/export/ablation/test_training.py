"""One training's folder: when it is finished, what is handed on, what is dropped."""

import json
from pathlib import Path
from typing import Any

import pytest

from diffad_export.ablation import training as module
from diffad_export.ablation.paths import changed
from diffad_export.ablation.record import Category
from diffad_export.ablation.training import Training
from diffad_export.config import TrainConfig

DATA = (Category(name="disc", good="a", whole="b"), Category(name="plate", good="c", whole="d"))


def make(folder: Path, **changes: Any) -> Training:
    return Training(folder, folder, changed(TrainConfig(), changes, ""), DATA)


def finish(one: Training) -> None:
    (one.folder / "cache" / "0123").mkdir(parents=True)
    (one.folder / "scores").mkdir()
    for category in DATA:
        assert not one.finished
        (one.folder / "scores" / f"{category.name}.safetensors").touch()
    (one.folder / "teacher.safetensors").touch()
    (one.folder / "teacher-checkpoint.safetensors").touch()


def test_the_same_features() -> None:
    key = make(Path()).features_key
    for path, value in (("optimiser.steps", 3), ("teacher.widths", (16, 32)), ("score.alpha", 0.5)):
        assert make(Path(), **{path: value}).features_key == key
    for path, other in (("size", 64), ("seed", 1), ("features.grid_stride", 8), ("augment.flips", True)):
        assert make(Path(), **{path: other}).features_key != key


def test_a_cache_is_handed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[Any, ...]] = []
    monkeypatch.setattr(module, "train", lambda *given, **_: calls.append(given))
    old, new = make(tmp_path / "old"), make(tmp_path / "new", **{"optimiser.steps": 3})
    other = make(tmp_path / "other", size=64)
    finish(old)
    other.fit("cpu", [old, new, other])
    assert not other.folder.exists()
    new.fit("cpu", [old, new, other])
    assert (new.folder / "cache" / "0123").is_dir()
    assert not (old.folder / "cache").exists()
    assert [folder for _, folder, _ in calls] == [other.folder, new.folder]


def test_an_unfinished_training_keeps_its_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "train", lambda *_, **__: None)
    half, new = make(tmp_path / "half"), make(tmp_path / "new", **{"optimiser.steps": 3})
    (half.folder / "cache").mkdir(parents=True)
    new.fit("cpu", [half])
    assert (half.folder / "cache").is_dir()
    half.tidy([])
    assert (half.folder / "cache").is_dir()


def test_what_is_dropped(tmp_path: Path) -> None:
    one, heir = make(tmp_path / "one"), make(tmp_path / "heir", **{"optimiser.steps": 3})
    finish(one)
    one.tidy([heir, make(tmp_path / "other", size=64)])
    assert sorted(path.name for path in one.folder.iterdir()) == ["cache", "scores", "teacher.safetensors"]
    one.tidy([make(tmp_path / "other", size=64)])
    assert sorted(path.name for path in one.folder.iterdir()) == ["scores", "teacher.safetensors"]


def test_what_students_leave(tmp_path: Path) -> None:
    one = make(tmp_path / "one")
    finish(one)
    (one.folder / "cache" / "targets-0123").mkdir()
    for name, file in (("student-a", "student.safetensors"), ("student-b", "student-log.jsonl")):
        (one.folder / name).mkdir()
        (one.folder / name / file).touch()
        (one.folder / name / "student-of-4-checkpoint.safetensors").touch()
    one.tidy([], students=True)
    assert [path.parent.name for path in one.folder.glob("student-*/*checkpoint*")] == ["student-b"]
    assert (one.folder / "cache" / "0123").is_dir()
    one.drop_targets()
    assert [path.name for path in (one.folder / "cache").iterdir()] == ["0123"]
    one.tidy([])
    assert not (one.folder / "cache").exists()


def test_the_score_that_is_kept(tmp_path: Path) -> None:
    one = make(tmp_path / "one", **{"score.alpha": 0.5})
    assert one.kept_score == one.config.score
    one.folder.mkdir()
    begun = make(tmp_path / "one", **{"score.alpha": 0.25}).config
    facts = {"config": begun.model_dump(mode="json"), "categories": [{"name": "disc"}]}
    (one.folder / "config.json").write_text(json.dumps(facts))
    assert one.kept_score == begun.score
