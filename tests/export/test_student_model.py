"""From a run to a fitted student: levels, lessons and folders; what is trained once, and what a control never opens."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from diffad_calibration.dataset import open_dataset
from diffad_export import distil as distil_module
from diffad_export import student_model as module
from diffad_export.config import (
    AugmentConfig,
    DistilConfig,
    FeatureConfig,
    LossConfig,
    OptimiserConfig,
    ScoreConfig,
    TeacherConfig,
    TrainConfig,
)
from diffad_export.distil import Material, distil
from diffad_export.grids import GridLayout
from diffad_export.levelchoice import choose_levels
from diffad_export.mapbank import make_map_bank
from diffad_export.maps import torch_maps
from diffad_export.networks.student import Student
from diffad_export.pasted import PastedSet
from diffad_export.reconstructor import levels_of
from diffad_export.runfolder import Run, open_run
from diffad_export.split import Split
from diffad_export.student_model import LEVEL_IMAGES, StudentModel, make_student, student_extractor
from diffad_export.train import train
from diffad_export.training.halving import chain_levels
from diffad_runtime.errors import InputError

CPU = torch.device("cpu")
SHORT = OptimiserConfig(steps=3, batch=4, warmup_steps=1)
TAUGHT = LossConfig(teacher=1)
CONFIG = DistilConfig(width=8, steps=2, chain_steps=(5, 50), draws=1, losses=TAUGHT, optimiser=SHORT)
SCORE = ScoreConfig(feature_score="likelihood", variance_floor=0, alpha=0)


@pytest.fixture
def run(tiny_run: Path, tmp_path: Path) -> Run:
    """A copy without students, for what writes into it."""
    ignored = shutil.ignore_patterns("student-*")
    return open_run(Path(shutil.copytree(tiny_run, tmp_path / "run", ignore=ignored)))


@pytest.fixture
def split(run: Run, line_data: Path) -> Split:
    return run.split(open_dataset(line_data))


def never(*_: object, **__: object) -> Any:
    raise AssertionError("this was not to be done")


def made(run: Run, split: Split, config: DistilConfig = CONFIG, score: ScoreConfig = SCORE) -> StudentModel:
    return make_student(run, split, config, score, CPU)


@pytest.mark.parametrize("shared", [False, True])
def test_a_student_of_two_levels_is_trained_once(
    shared: bool, run: Run, split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = CONFIG.model_copy(update={"shared": shared})
    first = made(run, split, config)
    student, model = first.distilled.student, first.model
    assert (len(student.trunks), student.folded, student.training) == (1 if shared else 2, False, False)
    assert isinstance(model.denoiser, Student)
    assert model.denoiser.folded
    assert [level.timestep for level in model.levels] == [20, 201]
    assert (
        model.layout == first.extractor.layout == student_extractor(run).layout == GridLayout((4, 8, 16), (40, 40, 112))
    )
    assert first.distilled.facts["steps"] == 3
    files = sorted(path.name for path in first.distilled.folder.iterdir())
    assert files == ["config.json", "student-checkpoint.safetensors", "student-log.jsonl", "student.safetensors"]
    maps = torch_maps(first.extractor, model, first.pasted.images)
    assert maps.shape == (len(first.pasted.images), 64, 64)

    monkeypatch.setattr(distil_module, "fit_student", never)
    monkeypatch.setattr(distil_module, "teacher_targets", never)
    second = made(run, split, config)
    assert second.distilled.facts == first.distilled.facts
    assert (torch_maps(second.extractor, second.model, second.pasted.images) == maps).all()


def test_levels_are_chosen_where_none_are_named_and_stored(
    run: Run, split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    choices = list[tuple[PastedSet, tuple[int, ...]]]()

    def watched(run: Run, split: Split, pasted: PastedSet, count: int) -> tuple[int, ...]:
        choices.append((pasted, choose_levels(run, split, pasted, count)))
        return choices[-1][1]

    monkeypatch.setattr(module, "choose_levels", watched)
    open_choice = CONFIG.model_copy(update={"chain_steps": None})
    student = made(run, split, open_choice)
    ((shown, expected),) = choices
    assert student.config.chain_steps == expected
    assert len(expected) == 2
    # Of the good images held back alone, each with several defects where they are few.
    held = {image.tobytes() for image in split.held}
    assert {image.tobytes() for image in shown.images[shown.labels == 0]} == held
    assert len({image.tobytes() for image in shown.images[shown.labels == 1]}) >= LEVEL_IMAGES > len(held)
    stored = json.loads((student.distilled.folder / "config.json").read_text())
    assert stored["chain_steps"] == list(expected)
    assert [level.timestep for level in student.model.levels] == [level.timestep for level in levels_of(expected)]
    monkeypatch.setattr(distil_module, "fit_student", never)
    assert made(run, split, open_choice).distilled.folder == student.distilled.folder
    # Named, they are the same student; and nobody asks the teacher about levels.
    monkeypatch.setattr(module, "choose_levels", never)
    assert made(run, split, student.config).distilled.folder == student.distilled.folder


def test_the_control_never_opens_the_teacher(run: Run, split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Run, "teacher", never)
    before = sorted(run.cache_folder.glob("targets-*"))
    control = made(run, split, CONFIG.model_copy(update={"losses": LossConfig()}))
    log = (control.distilled.folder / "student-log.jsonl").read_text().splitlines()
    assert not any("teacher" in name for name in json.loads(log[0]))
    assert sorted(run.cache_folder.glob("targets-*")) == before


def test_maps_are_matched_without_targets_where_only_they_are_wanted(
    run: Run, split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = list[GridLayout]()

    def small(run: Run, split: Split, layout: GridLayout, *, seed: int) -> Any:
        asked.append(layout)
        return make_map_bank(run, split, layout, seed=seed, count=4)

    monkeypatch.setattr(distil_module, "teacher_targets", never)
    monkeypatch.setattr(distil_module, "make_map_bank", small)
    student = made(run, split, CONFIG.model_copy(update={"losses": LossConfig(map=0.5)}))
    assert asked == [student.model.layout]
    log = json.loads((student.distilled.folder / "student-log.jsonl").read_text().splitlines()[0])
    assert 0 < log["map"] < 1
    assert "teacher_features" not in log


def test_every_setting_is_a_student_of_its_own(run: Run, split: Split) -> None:
    changes: list[dict[str, Any]] = [{}, {"pasted": 0.0}, {"shared": True}, {"losses": LossConfig(truth=0.5)}]
    control = CONFIG.model_copy(update={"losses": LossConfig(), "optimiser": SHORT})
    one_step = control.model_copy(update={"optimiser": SHORT.model_copy(update={"steps": 1})})
    material = Material(run, split, _cache(run, split), student_extractor(run).layout)
    folders = {distil(material, one_step.model_copy(update=change), CPU).folder for change in changes}
    other = Split(split.name, split.train, split.held, split.held_names, "another digest")
    folders.add(distil(Material(run, other, material.cache, material.layout), one_step, CPU).folder)
    assert len(folders) == len(changes) + 1


def _cache(run: Run, split: Split) -> Any:
    return run.feature_cache([split], run.extractor())


def test_levels_must_be_chosen_before_a_student_is_distilled(run: Run, split: Split) -> None:
    material = Material(run, split, _cache(run, split), student_extractor(run).layout)
    with pytest.raises(ValueError, match="choose the levels first"):
        distil(material, CONFIG.model_copy(update={"chain_steps": None}), CPU)


def test_a_chain_is_halved_and_its_levels_are_those_of_the_student(run: Run, split: Split) -> None:
    config = DistilConfig.model_validate(CONFIG.model_dump() | {"chain_steps": (5, 50), "halvings": 1})
    student = made(run, split, config)
    trained = chain_levels(2, 50)
    assert [level.timestep for level in student.model.levels] == [level.timestep for level in levels_of(trained)]
    log = student.distilled.folder / "student-of-2-log.jsonl"
    assert "teacher_features" in json.loads(log.read_text().splitlines()[0])


def test_a_chain_longer_than_the_levels_below_it_is_refused(run: Run, split: Split) -> None:
    config = DistilConfig.model_validate(CONFIG.model_dump() | {"chain_steps": (5, 30), "halvings": 4})
    with pytest.raises(InputError, match="4 halvings need a chain of 32 levels, step 30 has 31"):
        made(run, split, config)


def test_draws_come_in_antithetic_pairs(run: Run, split: Split) -> None:
    control = CONFIG.model_copy(update={"losses": LossConfig()})
    student = made(run, split, control, SCORE.model_copy(update={"draws": 2}))
    noise = student.model.noise
    assert noise.shape == (2, 2, 3, 64, 64)
    assert torch.equal(noise[:, 1], -noise[:, 0])
    # The score is the mean over both.
    x, *f = student.extractor(torch.from_numpy(split.held[:2]))
    one = made(run, split, control).model
    _, both = student.model.raw_scores(x, tuple(f))
    _, plain = one.raw_scores(x, tuple(f))
    one.noise = -one.noise
    _, mirrored = one.raw_scores(x, tuple(f))
    torch.testing.assert_close(both, (plain + mirrored) / 2, rtol=1e-4, atol=1e-4)
    assert (plain - mirrored).abs().max() > 1e-4


def test_a_backbone_of_one_coarse_stride(line_data: Path, tmp_path: Path) -> None:
    """Its features lie on one grid for the teacher, and on one other, coarser, for the student."""
    config = TrainConfig(
        size=64,
        features=FeatureConfig(strides=(16,)),
        augment=AugmentConfig(samples=32),
        teacher=TeacherConfig(widths=(16, 32)),
        optimiser=OptimiserConfig(steps=1, batch=4),
        score=SCORE,
    )
    run = open_run(train(line_data, tmp_path / "run", config).run)
    split = run.split(open_dataset(line_data))
    assert student_extractor(run).layout == GridLayout((16,), (112,))
    bank = make_map_bank(run, split, student_extractor(run).layout, seed=0, count=2)
    assert bank.features[0].shape == (2, 112, 4, 4)
    student = made(run, split)
    assert torch_maps(student.extractor, student.model, split.held).shape == (8, 64, 64)
