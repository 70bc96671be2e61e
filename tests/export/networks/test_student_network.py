"""The student's shapes, its levels, and that folding changes its form and not its answers."""

import pytest
import torch
from torch import Tensor, nn

from diffad_export.denoiser import Denoised
from diffad_export.grids import GridLayout
from diffad_export.networks.student import Student
from diffad_export.widths import WIDTHS

ONE_GRID = GridLayout((4,), (5,))
PYRAMID = GridLayout((4, 8, 16), (5, 3, 2))
FORMS = [(1, False), (2, False), (2, True), (4, False), (4, True)]  # levels, shared


def lived_in(layout: GridLayout = PYRAMID, levels: int = 1, *, shared: bool = False, width: int = 8) -> Student:
    """A student whose BatchNorms have seen something: statistics, weights and biases are not those of the start."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        student = Student(layout, width, levels, shared=shared)
        for module in student.modules():
            if isinstance(module, nn.BatchNorm2d):
                assert module.running_mean is not None
                assert module.running_var is not None
                module.running_mean.normal_(0, 0.5)
                module.running_var.uniform_(0.3, 3)
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, std=0.3)
        if student.shift is not None:
            nn.init.normal_(student.shift)
    return student.eval()


def images(count: int, size: int = 64) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))


def tensors(denoised: Denoised) -> list[Tensor]:
    return [denoised.x0, denoised.v, *denoised.f, *denoised.f_log_var]


def assert_close(found: Denoised, expected: Denoised) -> None:
    for one, other in zip(tensors(found), tensors(expected), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layout", [ONE_GRID, PYRAMID, GridLayout((8, 16), (3, 2)), GridLayout((16,), (7,))])
@pytest.mark.parametrize("size", [64, 96])
@torch.no_grad()
def test_features_lie_on_the_grids_of_the_layout(layout: GridLayout, size: int) -> None:
    out = lived_in(layout)(images(2, size), torch.zeros(2, dtype=torch.int64))
    assert out.x0.shape == out.v.shape == (2, 48, size // 4, size // 4)
    expected = [(2, c, size // s, size // s) for s, c in zip(layout.strides, layout.channels, strict=True)]
    assert [f.shape for f in out.f] == [f.shape for f in out.f_log_var] == expected


@pytest.mark.parametrize("width", list(WIDTHS))
@pytest.mark.parametrize(("levels", "shared"), FORMS)
@torch.no_grad()
def test_every_width_of_the_table(width: int, levels: int, shared: bool) -> None:
    student = Student(PYRAMID, width, levels, shared=shared).eval()
    out = student(images(levels, 32), torch.arange(levels))
    assert [f.shape for f in out.f] == [(levels, 5, 8, 8), (levels, 3, 4, 4), (levels, 2, 2, 2)]
    assert len(student.trunks) == (1 if shared else levels)
    for trunk in student.trunks:
        weights, units = trunk.state_dict(), ("first", "down1.1", "down2.1", "down3.1")
        assert tuple(len(weights[f"{unit}.conv.weight"]) for unit in units) == WIDTHS[width]
    assert all(channels % 8 == 0 for channels in WIDTHS[width])
    assert WIDTHS[width][0] == width


@pytest.mark.parametrize(("levels", "shared"), FORMS)
@torch.no_grad()
def test_mixed_levels_are_answered_row_by_row(levels: int, shared: bool) -> None:
    student, x = lived_in(levels=levels, shared=shared), images(6)
    t = torch.tensor([3, 0, 2, 1, 0, 3]) % levels
    mixed = student(x, t)
    for row, k in enumerate(t.tolist()):
        alone = student.at_level(k, x[row : row + 1], torch.tensor([999]), torch.tensor([5]))
        for whole, one in zip(tensors(mixed), tensors(alone), strict=True):
            torch.testing.assert_close(whole[row : row + 1], one, rtol=1e-4, atol=1e-5)
    if levels > 1:
        first, second = (student.at_level(k, x[:1], t[:1]).f[0] for k in (0, 1))
        assert (first - second).abs().max() > 0.01


def test_a_level_that_is_not_asked_about_learns_nothing() -> None:
    """All rows of a batch may lie at one level: the other trunks' BatchNorms and weights then stay as they are."""
    student = lived_in(levels=2).train()
    before = {name: value.clone() for name, value in student.trunks[1].state_dict().items()}
    out = student(images(4), torch.zeros(4, dtype=torch.int64))
    torch.stack([part.square().mean() for part in tensors(out)]).sum().backward()  # type: ignore[no-untyped-call]
    after = student.trunks[1].state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before if "num_batches" not in name)
    assert not any(p.grad is not None and p.grad.any() for p in student.trunks[1].parameters())
    assert all(p.grad is not None and p.grad.isfinite().all() for p in student.trunks[0].parameters())


@torch.no_grad()
def test_a_student_of_one_level_is_told_none() -> None:
    student, x = lived_in(levels=1, shared=True), images(1)
    assert student.shift is None
    assert torch.equal(student(x, torch.tensor([0])).f[0], student(x, torch.tensor([400])).f[0])


@pytest.mark.parametrize("layout", [ONE_GRID, PYRAMID])
@pytest.mark.parametrize(("levels", "shared"), FORMS)
@torch.no_grad()
def test_folding_leaves_the_outputs_equal(layout: GridLayout, levels: int, shared: bool) -> None:
    student, x, t = lived_in(layout, levels, shared=shared, width=16), images(4), torch.tensor([1, 0, 3, 2]) % levels
    before = student(x, t)
    kept = {name: value.clone() for name, value in student.state_dict().items()}
    folded = student.fold()
    assert all(f.std() > 0.05 for f in before.f)
    assert_close(folded(x, t), before)
    for k in range(levels):
        assert_close(folded.at_level(k, x, t), student.at_level(k, x, t))
    # The student itself is left as it was, to be trained on or stored.
    assert folded is not student
    assert all(torch.equal(kept[name], value) for name, value in student.state_dict().items())


@torch.no_grad()
def test_a_student_in_training_is_folded_as_it_will_be_used() -> None:
    student = lived_in(levels=2, shared=True).train()
    folded, x, t = student.fold(), images(2), torch.arange(2)
    assert not folded.training
    assert_close(folded(x, t), student.eval()(x, t))


@pytest.mark.parametrize(("levels", "shared"), FORMS)
def test_a_folded_student_is_plain_convolutions(levels: int, shared: bool) -> None:
    folded = lived_in(levels=levels, shared=shared).fold()
    kinds = {type(module) for module in folded.modules() if not list(module.children())}
    assert kinds == {nn.Conv2d, nn.Identity}
    assert all(m.bias is not None for m in folded.modules() if isinstance(m, nn.Conv2d))
    assert sum(isinstance(m, nn.Conv2d) for m in folded.modules()) == levels * (17 + 2 + 2 * 3)
    # Levels that shared their weights differ in the bias of the first layer, which no extra addition gives them.
    assert folded.shift is None
    assert len(folded.trunks) == levels
    assert folded.fold() is folded  # twice is harmless
