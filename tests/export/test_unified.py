"""One teacher for two categories: trained, scored and measured per category, exported for one."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from diffad_calibration.dataset import open_dataset, open_datasets
from diffad_calibration.evaluation import EvalRequest, evaluate_lineup
from diffad_calibration.metrics import Bootstrap
from diffad_export.commands import explain_run, run_lineup
from diffad_export.config import AugmentConfig, OptimiserConfig, ScoreConfig, TeacherConfig, TrainConfig
from diffad_export.exportoptions import ExportOptions
from diffad_export.networks.teacher import Teacher
from diffad_export.recipe import export
from diffad_export.runfolder import open_run
from diffad_export.train import TrainSummary, train
from diffad_runtime.bundle import open_bundle
from diffad_runtime.errors import DataError
from diffad_runtime.synthetic import LineConfig, write_mvtec

CONFIG = TrainConfig(
    size=64,
    holdback=0.3,
    augment=AugmentConfig(samples=32),
    teacher=TeacherConfig(widths=(16, 32), drop_label=0.2),
    optimiser=OptimiserConfig(steps=8, batch=4, learning_rate=1e-3, warmup_steps=2),
)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Plates, 16 good ones, and discs, 12 good ones."""
    folder = tmp_path_factory.mktemp("both")
    for part, count in (("plate", 16), ("disc", 12)):
        line = LineConfig(size=64, part=part)  # type: ignore[arg-type]
        write_mvtec(folder / f"{part}s", line, train_good=count, test_good=4, test_per_kind=1)
    return folder


@pytest.fixture(scope="module")
def trained(both: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainSummary:
    return train(both, tmp_path_factory.mktemp("unified") / "run", CONFIG)


def test_each_category_has_its_own_statistics(trained: TrainSummary, both: Path) -> None:
    run = open_run(trained.run)
    assert run.categories == ["discs", "plates"]
    assert trained.good_images == {"discs": 12, "plates": 16}
    assert [run.label(name) for name in run.categories] == [0, 1]
    teacher = run.teacher()
    assert isinstance(teacher, Teacher)
    assert teacher.categories is not None
    discs, plates = run.score("discs"), run.score("plates")
    assert not torch.equal(discs.fitted.feature_mean, plates.fitted.feature_mean)
    assert discs.thresholds.good_images == len(run.split(open_dataset(both / "discs")).held)
    # Small categories are seen as often as large ones.
    splits = [run.split(dataset) for dataset in open_datasets(both)]
    cache = run.feature_cache(splits, run.extractor())
    assert (cache.labels == 0).sum() == (cache.labels == 1).sum()


def test_the_teacher_is_measured_on_every_category(trained: TrainSummary, both: Path, tmp_path: Path) -> None:
    request = EvalRequest(both, ("padim",), report=tmp_path / "report", bootstrap=Bootstrap(resamples=20))
    outcome = evaluate_lineup(run_lineup(trained.run), request, explain=explain_run(trained.run, 1))
    found: dict[str, Any] = outcome.evaluation.to_json()
    assert set(found["classes"]) == {"discs", "plates"}
    assert set(found["models"]) == {"teacher", "teacher, paper's score", "PaDiM"}
    for figure, value in found["macro"].items():
        if figure != "images":
            assert value == pytest.approx(sum(one[figure] for one in found["classes"].values()) / 2), figure
    page = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    assert "Gradient denoising" in page
    assert page.count("Reverse chain, DDIM") >= 2
    json.dumps(found, allow_nan=False)


def test_what_a_single_category_teacher_would_not_know_is_refused(trained: TrainSummary, both: Path) -> None:
    run = open_run(trained.run)
    dataset = replace(open_dataset(both / "discs"), name="cups")
    with pytest.raises(DataError, match="knows the categories discs, plates, not 'cups'"):
        run.split(dataset)


def test_a_bundle_is_made_for_one_category(trained: TrainSummary, both: Path, tmp_path: Path) -> None:
    options = ExportOptions(precisions=("fp32",), max_aupro_drop=1.0)
    short = options.distil.model_copy(update={"width": 8, "draws": 1, "optimiser": CONFIG.optimiser})
    options = replace(options, distil=short)
    out = tmp_path / "m.diffad"
    with pytest.raises(DataError, match="holds the categories discs, plates, a bundle is made for one"):
        export(trained.run, both, out, options)
    with pytest.raises(DataError, match="no category 'cups' in"):
        export(trained.run, both, out, replace(options, category="cups"))
    export(trained.run, both, out, replace(options, category="plates"))
    manifest = open_bundle(out).manifest
    assert manifest.model_id == "plates-64"
    assert manifest.provenance["data"]["exported"] == "plates"


def test_a_class_blind_teacher_is_told_nothing(both: Path, tmp_path: Path) -> None:
    blind = CONFIG.teacher.model_copy(update={"conditional": False})
    one_step = CONFIG.optimiser.model_copy(update={"steps": 1})
    config = CONFIG.model_copy(
        update={"teacher": blind, "optimiser": one_step, "score": ScoreConfig(feature_score="residual")}
    )
    run = open_run(train(both, tmp_path / "run", config).run)
    assert run.label("plates") is None
    assert run.score("plates").fitted.kind == "residual"
