"""What networks cost, against sums by hand and published figures; and that asking leaves the network alone."""

import json

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from diffad_export.grids import GridLayout
from diffad_export.networks.cost import NetworkCost, network_cost
from diffad_export.networks.paper import PaperTeacher
from diffad_export.networks.student import Student
from diffad_export.networks.teacher import Teacher


def test_the_paper_s_network() -> None:
    with torch.device("meta"):
        teacher = PaperTeacher(272)
    cost = network_cost(teacher, 256)
    # 1120 G multiply-adds is the published figure of the 256 px model; the two feature heads are ours.
    heads = 64 * 64 * 512 * 272 * 2 / 1e9
    assert cost.gmacs - heads == pytest.approx(1120, rel=1e-3)
    assert cost.gflops == 2 * cost.gmacs
    assert cost.parameters == 552_814_086 + 2 * 512 + 2 * (512 * 272 + 272)


def test_a_student_s_convolutions_by_hand() -> None:
    w, c4, c8, c16 = 8, 5, 3, 2
    by_grid = {
        16: [(3, w, 4), (w, w, 3), (w, w, 3), (w, 2 * w, 3), *[(2 * w, n, 1) for n in (48, 48, c4, c4)]],
        8: [(w, 2 * w, 3), *[(2 * w, 2 * w, 3)] * 3, (2 * w, w, 1), *[(2 * w, c8, 1)] * 2],
        4: [(2 * w, 4 * w, 3), *[(4 * w, 4 * w, 3)] * 3, (4 * w, 2 * w, 1), *[(4 * w, c16, 1)] * 2],
        2: [(4 * w, 4 * w, 3)] * 3,
    }
    macs = sum(side**2 * a * b * k**2 for side, convolutions in by_grid.items() for a, b, k in convolutions)
    student = Student(GridLayout((4, 8, 16), (c4, c8, c16)), w)
    assert network_cost(student, 64).gmacs * 1e9 == pytest.approx(macs, rel=1e-9)


def test_shapes_alone_give_the_count_of_a_real_run() -> None:
    student = Student(GridLayout((4,), (7,)), 16).eval()
    x, t = torch.zeros(1, 3, 96, 96), torch.zeros(1, dtype=torch.int64)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        student(x, t)
    assert network_cost(student, 96).gflops * 1e9 == counter.get_total_flops()


def test_attention_is_counted() -> None:
    """Four times the places: 16 times the pairs, against 4 times everything else."""
    teacher = PaperTeacher(
        5, (8, 8, 16), 1, attention=(), head_width=4, groups=4
    )  # attention in the middle only, at S / 4, 16 channels
    small, large = (network_cost(teacher, size).gmacs * 1e9 for size in (32, 64))
    pairs = (32 // 4) ** 4 * 16 * 2
    condition = sum(m.weight.numel() for m in teacher.modules() if isinstance(m, torch.nn.Linear))
    assert large - condition == pytest.approx(4 * (small - condition - pairs) + 16 * pairs, rel=1e-9)


@pytest.mark.parametrize("training", [True, False])
def test_asking_changes_nothing(training: bool) -> None:
    for network in (Teacher(6).train(training), Student(GridLayout((4,), (6,)), 8).train(training)):
        before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        cost = network_cost(network, 64)
        assert cost.parameters == sum(p.numel() for p in network.parameters())
        assert cost.gmacs > 0
        assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
        assert network.training == training


def test_what_is_stored_and_printed() -> None:
    cost = NetworkCost(size=256, parameters=12_345_678, gmacs=1.25)
    assert json.loads(json.dumps(cost.to_json())) == {
        "size": 256,
        "parameters": 12_345_678,
        "gmacs": 1.25,
        "gflops": 2.5,
    }
    assert cost.line() == "12.3 M parameters, 2.5 GFLOPs an evaluation at 256 px"
