"""The quantisation-aware finish: what it compares, that it undoes what rounding did, and resumes."""

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from diffad_calibration.precision.int8ranges import ConvRanges, int8_ranges
from diffad_calibration.precision.variants import Graphs
from diffad_export.backbone import Extractor
from diffad_export.backbone.extractor import BackboneFacts
from diffad_export.config import OptimiserConfig
from diffad_export.denoiser import Denoised
from diffad_export.finishing import finish_int8
from diffad_export.networks.student import Student
from diffad_export.reconstructor import FeatureNorm, Reconstructor, fixed_noise, levels_of
from diffad_export.score import FittedScore
from diffad_export.training.loop import step_generator
from diffad_export.training.qat import Chain, Finished, FinishObjective, finish, heads_mse, sums_of
from diffad_export.variants import build_graphs

SIZE = 64
FACTS = BackboneFacts("small", (4, 6, 0, 0), (0.5,) * 3, (0.5,) * 3, "none")
CONFIG = OptimiserConfig(steps=40, batch=4, learning_rate=1e-3, warmup_steps=5, weight_decay=0, ema=0.8)
CPU = torch.device("cpu")


class Sum(nn.Module):
    """A block that ends in a sum, as an inverted residual does."""

    residual = True

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        return h + self.conv(h)


class Plain(nn.Module):
    residual = False

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inside, outside, 3, stride=2, padding=1)

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.conv(h))


@pytest.fixture(scope="module")
def parts() -> tuple[Extractor, Reconstructor, np.ndarray]:
    """An extractor of three blocks, a student of width 8, and 16 noisy images."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        stages = [nn.Sequential(Plain(3, 4), Sum(4)), nn.Sequential(Plain(4, 6), Sum(6))]
        extractor = Extractor(stages, FACTS, strides=(2, 4), pyramid=True)
        student = Student(extractor.layout, 8).eval().fold()
    model = Reconstructor(
        student,
        FeatureNorm(torch.zeros(10), torch.full((10,), 0.3)),
        levels_of((50,)),
        fixed_noise(1, SIZE, 1),
        FittedScore.neutral("likelihood", 1, 10, alpha=0.0, floor=0.1),
        sigma=1.0,
        layout=extractor.layout,
    ).eval()
    images = np.random.default_rng(0).integers(60, 200, (16, SIZE, SIZE, 3), dtype=np.uint8)
    return extractor, model, images


@pytest.fixture(scope="module")
def graphs(parts: tuple[Extractor, Reconstructor, np.ndarray]) -> tuple[bytes, bytes]:
    extractor, model, images = parts
    made = build_graphs(extractor, model, ["int8"], images[:4]).graphs["int8"]
    return made.extractor, made.reconstructor


def off(ranges: dict[str, ConvRanges]) -> dict[str, ConvRanges]:
    """With biases that are wrong, as rounding may leave them; so small a network loses too little otherwise."""
    return {name: replace(own, bias=None if own.bias is None else own.bias + 0.1) for name, own in ranges.items()}


def tune(
    parts: tuple[Extractor, Reconstructor, np.ndarray],
    graphs: tuple[bytes, bytes],
    config: OptimiserConfig,
    folder: Path | None = None,
) -> Finished:
    extractor, model, images = parts
    ranges = off(int8_ranges(graphs[0])), off(int8_ranges(graphs[1]))
    return finish(extractor, model, ranges, images, config, folder, 0, CPU, resume=True)


def test_exact_networks_have_nothing_to_learn(parts: tuple[Extractor, Reconstructor, np.ndarray]) -> None:
    extractor, model, images = parts
    chains = [Chain(copy.deepcopy(extractor), copy.deepcopy(model)) for _ in range(2)]
    objective = FinishObjective(chains[0], images, 4, CPU)
    loss, told = objective(chains[1], step_generator(0, 0))
    assert told.keys() == {"features", "heads", "map"}
    assert loss.item() == 0
    with torch.no_grad():  # 0.1 more in every feature, which are of deviation 0.3
        chains[1].extractor.stages[1][1].conv.bias.add_(0.1)
    loss, told = objective(chains[1], step_generator(0, 0))
    assert told["features"].item() == pytest.approx(6 / 10 * (0.1 / 0.3) ** 2, rel=1e-4)
    assert told["heads"].item() == 0
    assert told["map"].item() > 0


def test_heads_are_compared_in_deviations() -> None:
    zeros = torch.zeros(1, 2, 4, 4)
    wanted = Denoised(zeros, zeros, (zeros,), (torch.full_like(zeros, np.log(4.0)),))
    off = replace(wanted, f=(zeros + 1,))
    assert heads_mse(off, wanted, 0.0, pixels=False).item() == pytest.approx(0.25)
    assert heads_mse(off, wanted, 12.0, pixels=False).item() == pytest.approx(1 / 16)
    wider = replace(wanted, f_log_var=(torch.full_like(zeros, np.log(16.0)),))
    assert heads_mse(wider, wanted, 0.0, pixels=False).item() == pytest.approx(np.log(2) ** 2)
    pale = replace(wanted, x0=zeros + 0.5)
    assert heads_mse(pale, wanted, 0.0, pixels=False).item() == 0
    assert heads_mse(pale, wanted, 0.0, pixels=True).item() == pytest.approx(0.25)


def test_the_finish_lowers_its_loss_and_leaves_what_it_was_given(
    parts: tuple[Extractor, Reconstructor, np.ndarray], graphs: tuple[bytes, bytes], tmp_path: Path
) -> None:
    extractor, model, _ = parts
    before = {name: tensor.clone() for name, tensor in (extractor.state_dict() | model.state_dict()).items()}
    done = tune(parts, graphs, CONFIG, tmp_path)
    for name, tensor in (extractor.state_dict() | model.state_dict()).items():
        assert torch.equal(tensor, before[name]), name
    assert done.model.state_dict().keys() == model.state_dict().keys()
    assert done.extractor.state_dict().keys() == extractor.state_dict().keys()
    assert torch.equal(done.model.noise, model.noise)
    losses = [loss for _, loss in done.outcome.losses]
    assert np.mean(losses[-2:]) < 0.1 * losses[0], losses
    # A second call with the folder finds it done.
    again = tune(parts, graphs, CONFIG, tmp_path)
    assert again.outcome.seconds == done.outcome.seconds
    for one, other in zip(done.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_finished_graphs_are_int8_and_others(
    parts: tuple[Extractor, Reconstructor, np.ndarray], graphs: tuple[bytes, bytes], tmp_path: Path
) -> None:
    extractor, model, images = parts
    short = CONFIG.model_copy(update={"steps": 4})
    before = Graphs(*graphs)
    tuned, facts = finish_int8(extractor, model, before, images, images[:4], tmp_path, CPU, seed=0, config=short)
    assert facts["steps"] == 4
    assert facts.keys() == {"steps", "seconds", "first_loss", "last_loss"}
    for one, other in ((tuned.graphs.extractor, graphs[0]), (tuned.graphs.reconstructor, graphs[1])):
        assert one != other
        assert int8_ranges(one).keys() == int8_ranges(other).keys()
    assert [folder.name.startswith("finish-") for folder in tmp_path.iterdir()] == [True]


def test_a_sum_is_rounded_as_the_convolution_that_reads_it(
    parts: tuple[Extractor, Reconstructor, np.ndarray], graphs: tuple[bytes, bytes]
) -> None:
    ranges = int8_ranges(graphs[0])
    assert sums_of(parts[0], ranges) == {"stages.0.1": ranges["stages.1.0.conv.weight"].input}
