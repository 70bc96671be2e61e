"""The student's shapes, and that folding changes its form and not its answers."""

import pytest
import torch
from torch import nn

from diffad_export.networks.student import Student


def lived_in(width: int, channels: int) -> Student:
    """A student whose BatchNorms have seen something: statistics, weights and biases are not those of the start."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        student = Student(channels, width)
        for module in student.modules():
            if isinstance(module, nn.BatchNorm2d):
                assert module.running_mean is not None
                assert module.running_var is not None
                module.running_mean.normal_(0, 0.5)
                module.running_var.uniform_(0.3, 3)
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, std=0.3)
    return student.eval()


@pytest.mark.parametrize("size", [64, 96])
@torch.no_grad()
def test_shapes(size: int) -> None:
    out = lived_in(8, 5)(torch.zeros(2, 3, size, size), torch.zeros(2, dtype=torch.int64))
    grid = size // 4
    assert out.x0.shape == out.v.shape == (2, 48, grid, grid)
    assert out.f.shape == out.f_log_var.shape == (2, 5, grid, grid)


@torch.no_grad()
def test_folding_leaves_the_outputs_equal() -> None:
    student = lived_in(16, 5)
    x, t = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)), torch.zeros(2, dtype=torch.int64)
    before = student(x, t)
    after = student.fold()(x, t)
    assert before.f.std() > 0.05
    for name in ("x0", "v", "f", "f_log_var"):
        torch.testing.assert_close(getattr(after, name), getattr(before, name), rtol=1e-4, atol=1e-5)


def test_a_folded_student_is_plain_convolutions() -> None:
    student = lived_in(8, 5).fold()
    kinds = {type(module) for module in student.modules() if not list(module.children())}
    assert kinds == {nn.Conv2d, nn.Identity}
    assert all(m.bias is not None for m in student.modules() if isinstance(m, nn.Conv2d))
    student.fold()  # twice is harmless


@torch.no_grad()
def test_the_student_knows_one_level_only() -> None:
    student, x = lived_in(8, 5), torch.ones(1, 3, 64, 64)
    assert torch.equal(student(x, torch.tensor([1])).f, student(x, torch.tensor([400])).f)
