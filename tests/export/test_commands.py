"""Options as typed in: what does not fit is refused before any work, in one line that names the option."""

from pathlib import Path
from typing import Any

import pytest
import torch

from diffad_calibration.dataset import open_dataset
from diffad_export import commands
from diffad_export.commands import export_run, teacher_contestant, teacher_timing, train_teacher
from diffad_export.device import pick_device
from diffad_export.recipe import ExportSummary
from diffad_runtime.bundle import open_bundle
from diffad_runtime.errors import DataError, InputError

NOWHERE = Path("nowhere")
TRAIN: dict[str, Any] = {
    "data": NOWHERE, "out": NOWHERE, "preset": "compact", "backbone": "efficientnet_lite0", "size": 64,
    "max_minutes": None, "resume": False, "seed": 0, "backbone_weights": None, "same_size": False, "device": "cpu",
}  # fmt: skip
EXPORT: dict[str, Any] = {
    "run": NOWHERE, "data": NOWHERE, "out": NOWHERE, "steps": (1,), "precision": "fp32", "width": (16,),
    "max_minutes": None, "max_aupro_drop": 0.1, "false_reject_rate": 0.1, "seed": 0, "device": "cpu",
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"preset": "huge"}, "unknown preset 'huge'"),
        ({"size": 100}, "size: .*multiple of 32, got 100"),
        ({"size": 32}, "size: .*64, got 32"),
        ({"seed": -1}, "seed: "),
        ({"max_minutes": 0.0}, "max_minutes: .*greater than 0"),
        ({"device": "tpu"}, "unknown device 'tpu'"),
        ({"settings": ["score.draws"]}, "names no value"),
        ({"settings": ["score.drafts=4"]}, "--set: unknown key 'score.drafts'"),
        ({"settings": ["score.draws=0"]}, "--set: score.draws: .*got 0"),
        ({"settings": ["score.feature_score=loud"]}, "--set: score.feature_score: "),
        ({"init_weights": NOWHERE}, "paper's network"),
    ],
)
def test_train_refuses(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        train_teacher(**(TRAIN | change))
    assert not NOWHERE.exists()


def test_train_without_data() -> None:
    with pytest.raises(DataError, match=r"expected a data folder at .*nowhere, found nothing"):
        train_teacher(**TRAIN)


def test_an_unknown_backbone_claims_no_folder(line_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(InputError, match="unknown backbone 'vgg'"):
        train_teacher(**(TRAIN | {"data": line_data, "out": out, "backbone": "vgg"}))
    assert not out.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": (3,)}, "steps: .*1, 2 or 4, got 3"),
        ({"steps": (1, 2)}, "--steps names 2 values, expected one"),
        ({"width": (20,)}, "width: .*choose from 8, 16, .*got 20"),
        ({"width": (16, 24)}, "--width names 2 values, expected one"),
        ({"draws": 0}, "draws: .*got 0"),
        ({"pasted": 1.5}, "pasted: .*got 1.5"),
        ({"settings": ["losses.teachers=1"]}, "--set: unknown key 'losses.teachers'"),
        ({"settings": ["losses.map=-1"]}, "--set: losses.map: .*got -1"),
        ({"steps": (2,), "settings": ["chain_steps=[5]"]}, "--set: .*2 steps need as many different chain_steps"),
        (
            {"steps": (2,), "settings": ["chain_steps=[5, 5, 50]"]},
            "--set: .*2 steps need as many different chain_steps",
        ),
        ({"frame_size": (1080, 1920)}, "--frame-size says what a budget is for"),
        ({"budget_ms": 5.0, "settings": ["width=16"]}, "--set width is what a search chooses"),
        ({"budget_ms": float("nan")}, "a budget of nan ms cannot be kept"),
        ({"budget_ms": 5.0, "steps": ()}, "no steps to choose from"),
        ({"budget_ms": 5.0, "width": (20,)}, "20 is not one of the widths"),
        ({"budget_ms": 5.0, "precision": "fp64"}, "unknown precision 'fp64'"),
        ({"budget_ms": 5.0, "device": "tpu"}, "unknown device 'tpu'"),
        ({"budget_ms": 5.0}, "no run folder nowhere"),
        ({"false_reject_rate": 1.0}, "false_reject_rate: .*less than 1"),
        ({"precision": "fp32, fp64"}, "unknown precision 'fp64'"),
        ({"device": "tpu"}, "unknown device 'tpu'"),
        ({}, "no run folder nowhere"),
    ],
)
def test_export_refuses(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        export_run(**(EXPORT | change))


@pytest.mark.parametrize(("given", "searched"), [({}, False), ({"budget_ms": 5.0}, True)])
def test_export_settings_arrive(given: dict[str, Any], searched: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[Any] = []
    monkeypatch.setattr(commands, "export", lambda *parts: found.extend(parts))
    monkeypatch.setattr(commands, "search_export", lambda *parts: found.extend(parts))
    own = {
        "steps": (2,),
        "shared": True,
        "draws": 2,
        "pasted": 0.25,
        "settings": ["losses.map=0.5"],
        "max_minutes": 3.0,
    }
    export_run(**(EXPORT | own | given))
    options = found[3]
    assert (options.distil.shared, options.distil.pasted, options.distil.losses.map) == (True, 0.25, 0.5)
    assert (options.distil.chain_steps, options.distil.optimiser.max_minutes, options.score.draws) == (None, 3.0, 2)
    if searched:
        wanted = found[4]
        assert (wanted.budget_ms, wanted.steps, wanted.widths, wanted.precisions) == (5.0, (2,), (16,), ("fp32",))
    else:
        assert (options.distil.steps, options.distil.width) == (2, 16)


def test_device_names() -> None:
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="torch finds no CUDA GPU"):
            pick_device("cuda")


@torch.no_grad()
def test_the_teacher_as_a_contestant(tiny_export: ExportSummary, tiny_run: Path, line_data: Path) -> None:
    bundle = open_bundle(tiny_export.bundle)
    images = torch.randint(0, 256, (3, 64, 64, 3), dtype=torch.uint8).numpy()
    contestant = teacher_contestant(tiny_run, bundle)(open_dataset(line_data))
    maps = contestant.maps(images)
    assert (contestant.name, maps.shape, str(maps.dtype)) == ("teacher", (3, 64, 64), "float32")
    assert contestant.score(maps[0]) <= maps[0].max()
    ((name, judge),) = teacher_timing(tiny_run, bundle).items()
    assert name.startswith("teacher, 3 calls")
    stages = judge(images[0])
    assert stages.keys() == {"resize", "extract", "reconstruct", "total"}
    assert stages["total"] == pytest.approx(sum(stages[k] for k in ("resize", "extract", "reconstruct")))


def test_a_teacher_of_another_size_is_no_contestant(tiny_bundle: Path, tiny_run: Path, tmp_path: Path) -> None:
    import json
    import shutil

    run = Path(shutil.copytree(tiny_run, tmp_path / "run", ignore=shutil.ignore_patterns("cache", "student-*")))
    value = json.loads((run / "config.json").read_text())
    value["config"]["size"] = 96
    (run / "config.json").write_text(json.dumps(value))
    for command in (teacher_contestant, teacher_timing):
        with pytest.raises(InputError, match="trained at 96 px, the bundle works at 64 px"):
            command(run, open_bundle(tiny_bundle))
