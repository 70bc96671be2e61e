"""The paper's network through `train`: one real step, from a checkpoint's weights; a bad one leaves no run behind."""

import json
from pathlib import Path

import pytest
import torch

from diffad_calibration.dataset import open_dataset
from diffad_export.config import PAPER_SCORE, AugmentConfig, OptimiserConfig, TeacherConfig, TrainConfig
from diffad_export.networks import make_teacher
from diffad_export.networks.paper import PaperTeacher
from diffad_export.runfolder import open_run
from diffad_export.train import TrainPaths, train
from diffad_runtime.errors import InputError

CONFIG = TrainConfig(
    size=64,
    augment=AugmentConfig(samples=40),
    # Four levels, so that the coarsest grid has attention, in place of the preset's six.
    teacher=TeacherConfig(network="paper", widths=(32, 32, 64, 64), blocks=1, max_timestep=1000, checkpointing=True),
    optimiser=OptimiserConfig(steps=1, batch=2, learning_rate=1e-4, warmup_steps=0, weight_decay=0, anneal="linear"),
    score=PAPER_SCORE,
)


def test_one_step_from_a_checkpoint(line_data: Path, tmp_path: Path) -> None:
    donor = make_teacher(CONFIG.model_copy(update={"seed": 5}), 192)
    trunk = {k: v for k, v in donor.state_dict().items() if not k.startswith(("feature_", "variance_", "abar"))}
    torch.save(trunk, tmp_path / "weights.pt")
    summary = train(line_data, tmp_path / "run", CONFIG, paths=TrainPaths(init_weights=tmp_path / "weights.pt"))
    assert summary.steps == 1
    assert summary.parameters == sum(p.numel() for p in donor.parameters())
    assert "tensors loaded" in summary.init_weights[1]
    report = json.loads((tmp_path / "run" / "init-weights.json").read_text())
    assert report["share"] > 0.8
    run = open_run(tmp_path / "run")
    teacher = run.teacher()
    assert isinstance(teacher, PaperTeacher)
    # One step of 1e-4 from the donor's weights, not from the run's own seed.
    own, other = teacher.state_dict(), make_teacher(CONFIG, 192).state_dict()
    name = "middle_block.0.in_layers.2.weight"
    assert (own[name] - trunk[name]).abs().max() < 1e-3 < (own[name] - other[name]).abs().max()
    score = run.score("line")
    model = run.reconstructor(teacher, "line", score.config, score.fitted)
    images = torch.from_numpy(run.split(open_dataset(line_data)).held[:1])
    with torch.no_grad():
        x, *f = run.extractor()(images)
        assert torch.isfinite(model(x, tuple(f))[0]).all()


def test_a_checkpoint_that_does_not_fit_leaves_no_run(line_data: Path, tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pt")
    with pytest.raises(InputError):
        train(line_data, tmp_path / "run", CONFIG, paths=TrainPaths(init_weights=tmp_path / "other.pt"))
    assert not (tmp_path / "run").exists()
