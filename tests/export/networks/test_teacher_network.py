"""The teacher's shapes, what it makes of a noise prediction, and that it tells levels apart."""

import pytest
import torch
from torch import Tensor, nn

from diffad_export.config import PRESETS, TeacherConfig, TrainConfig
from diffad_export.denoiser import to_blocks
from diffad_export.diffusion.schedule import add_noise, linear_schedule
from diffad_export.networks import make_teacher
from diffad_export.networks.paper import PaperTeacher
from diffad_export.networks.teacher import Teacher, time_embedding


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("widths", [(16,), (16, 32), (16, 32, 48, 48)])
@pytest.mark.parametrize("prediction", ["eps", "x0"])
@torch.no_grad()
def test_shapes(widths: tuple[int, ...], prediction: str) -> None:
    teacher = Teacher(7, widths, blocks=2, prediction=prediction)
    out = teacher(draw(2, 3, 64, 64), torch.tensor([0, 449]))
    assert out.x0.shape == out.v.shape == (2, 48, 16, 16)
    assert [f.shape for f in (*out.f, *out.f_log_var)] == [(2, 7, 16, 16)] * 2
    assert {t.dtype for t in (out.x0, out.v, *out.f, *out.f_log_var)} == {torch.float32}


class Answer(nn.Module):
    """A pixel head that knows the answer."""

    def __init__(self, pixels: Tensor) -> None:
        super().__init__()
        self.pixels = pixels

    def forward(self, h: Tensor) -> Tensor:  # noqa: ARG002
        return torch.cat([self.pixels, torch.zeros_like(self.pixels)], 1)


@pytest.mark.parametrize("t", [0, 201, 449])
@torch.no_grad()
def test_the_clean_image_comes_back_from_the_true_noise(t: int) -> None:
    teacher = Teacher(7, (16,), prediction="eps")
    x0, noise = draw(2, 3, 64, 64).tanh(), draw(2, 3, 64, 64, seed=1)
    x_t = add_noise(x0, noise, linear_schedule().abar[[t, t]])
    teacher.pixel_head = Answer(to_blocks(noise))  # type: ignore[assignment]
    torch.testing.assert_close(teacher(x_t, torch.tensor([t, t])).x0, to_blocks(x0), rtol=0, atol=2e-5)


@torch.no_grad()
def test_an_x0_head_is_taken_at_its_word() -> None:
    teacher = Teacher(7, (16,), prediction="x0")
    x0 = draw(1, 48, 16, 16)
    teacher.pixel_head = Answer(x0)  # type: ignore[assignment]
    assert torch.equal(teacher(draw(1, 3, 64, 64), torch.tensor([9])).x0, x0)


def test_time_embedding_tells_all_levels_apart() -> None:
    embedded = time_embedding(torch.arange(1000), 64)
    assert embedded.shape == (1000, 64)
    distance = torch.cdist(embedded, embedded) + 10 * torch.eye(1000)
    assert distance.min() > 0.1
    torch.testing.assert_close(embedded.square().sum(1), torch.full((1000,), 32.0))


@torch.no_grad()
def test_the_answer_depends_on_the_level() -> None:
    teacher = Teacher(7, (16, 32))
    nn.init.normal_(teacher.middle.conv2.weight, std=0.1)  # residual blocks begin as identities
    x = draw(1, 3, 64, 64).expand(2, -1, -1, -1)
    features = teacher(x, torch.tensor([20, 401])).f[0]
    assert (features[0] - features[1]).abs().max() > 1e-4


def test_initial_weights_come_from_the_seed_and_leave_the_global_state_alone() -> None:
    config = TrainConfig(teacher=TeacherConfig(widths=(16,)))
    before = torch.random.get_rng_state()
    a, b, c = (
        make_teacher(config.model_copy(update={"seed": seed}), 7).state_dict()["stem.weight"] for seed in (3, 3, 4)
    )
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("grid_stride", [4, 8, 16])
@torch.no_grad()
def test_features_lie_on_the_grid_asked_for(grid_stride: int) -> None:
    out = Teacher(7, (16, 32), grid_stride=grid_stride)(draw(1, 3, 64, 64), torch.tensor([20]))
    assert [f.shape for f in (*out.f, *out.f_log_var)] == [(1, 7, 64 // grid_stride, 64 // grid_stride)] * 2
    assert out.x0.shape == (1, 48, 16, 16)


@torch.no_grad()
def test_a_category_that_is_not_said_is_a_category_of_its_own() -> None:
    teacher = Teacher(7, (16, 32), classes=2)
    nn.init.normal_(teacher.middle.conv2.weight, std=0.1)
    x, t = draw(1, 3, 64, 64), torch.tensor([20])
    none, minus, first, second = (
        teacher(x, t, label).f[0] for label in (None, torch.tensor([-1]), torch.tensor([0]), torch.tensor([1]))
    )
    assert torch.equal(none, minus)
    assert not torch.equal(none, first)
    assert not torch.equal(first, second)


@pytest.mark.parametrize(("categories", "conditional", "told"), [(1, True, False), (3, True, True), (3, False, False)])
def test_a_network_is_told_categories_where_there_are_several(categories: int, conditional: bool, told: bool) -> None:
    config = TrainConfig(teacher=TeacherConfig(widths=(16,), conditional=conditional))
    teacher = make_teacher(config, 7, categories)
    assert isinstance(teacher, Teacher)
    assert (teacher.categories is not None) == told


def test_the_preset_of_the_paper_is_the_network_of_the_paper() -> None:
    with torch.device("meta"):
        teacher = make_teacher(PRESETS["paper"], 272, 15)
    assert isinstance(teacher, PaperTeacher)
    assert sum(p.numel() for p in teacher.parameters()) == 552_814_086 + 280_096 + 15 * 1024
