"""The guess of memory: what it grows with, when it fits, and plan sizes that were seen."""

from dataclasses import replace

import pytest

from diffad_calibration.roofline.boards import BOARDS
from diffad_calibration.roofline.memory import guess_memory, plan_mib
from diffad_calibration.roofline.work import GraphWork, Kernel

NANO, THOR = BOARDS["orin-nano-8gb"], BOARDS["thor-t5000"]
KERNEL = Kernel("k", "Conv", ("k",), {}, 0, 0, 0)
SMALL = GraphWork((KERNEL,) * 40, live=2 << 20, weights=10 << 20, float_weights=10 << 20, guessed=())
HUGE = replace(SMALL, float_weights=4 << 30)


def test_a_small_network_fits_and_a_huge_one_does_not() -> None:
    assert guess_memory([SMALL, SMALL], NANO).fits is True
    assert guess_memory([SMALL, HUGE], NANO).fits is False
    assert guess_memory([SMALL, replace(SMALL, float_weights=1 << 30)], NANO).fits is None
    assert guess_memory([SMALL, HUGE], THOR).fits is True
    assert guess_memory([HUGE], NANO).to_json()["build"] == "does not fit"


def test_graphs_are_built_one_after_another_and_run_together() -> None:
    one, two = guess_memory([SMALL], NANO), guess_memory([SMALL, SMALL], NANO)
    assert two.build_mb == one.build_mb
    assert two.plan_mb.low == 2 * one.plan_mb.low
    assert two.run_mb.high > one.run_mb.high


def test_all_ranges_are_in_order_and_within_the_board() -> None:
    for board in BOARDS.values():
        guess = guess_memory([SMALL, SMALL], board)
        for span in (guess.plan_mb, guess.run_mb, guess.build_mb, guess.free_mb):
            assert 0 < span.low <= span.high
        assert guess.free_mb.high < 1024 * board.memory_gb
        assert guess.run_mb.low < guess.build_mb.low


@pytest.mark.parametrize(
    ("weights_mb", "kernels", "seen_mb"),
    [
        # TensorRT-RTX on the demo's bundle: bytes / 1e6 of weights, kernels, plan
        (2.77, (36, 36), 3.51),
        (10.70, (40, 40), 12.13),
        (1.39, (40, 40), 2.26),
        (5.47, (40, 40), 6.92),
        (0.92, (36, 68), 4.62),
        (2.86, (40, 63), 5.93),
    ],
)
def test_plans_that_were_seen(weights_mb: float, kernels: tuple[int, int], seen_mb: float) -> None:
    apart = kernels[1] - kernels[0]
    layers = (replace(KERNEL, apart=1),) * apart + (KERNEL,) * (kernels[0] - apart)
    found = plan_mib(GraphWork(layers, 0, int(weights_mb * 1e6), 0, ()))
    assert found.low <= seen_mb * 1e6 / (1 << 20) <= found.high
