"""The roofline on numbers by hand, what must hold for any board, and published times of other networks."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffad_calibration.roofline.boards import BOARDS, Board, boards_named
from diffad_calibration.roofline.estimate import (
    TERMS,
    Assumptions,
    Span,
    estimate_graph,
    estimate_kernel,
    frames_per_second,
    shares_of,
)
from diffad_calibration.roofline.work import RATES, GraphWork, Kernel
from diffad_runtime.errors import InputError

BOARD = Board("b", "B", int8=20.0, fp16=10.0, cuda=1.0, gb_per_s=50.0, memory_gb=8, source="[I]")
ASSUMED = Assumptions(
    int8=Span(0.1, 0.2), fp16=Span(0.1, 0.5), memory=Span(0.5, 1.0), launch_us=Span(2, 10), cuda=Span(0.1, 0.5)
)
counts = st.integers(0, 10**9)
kernels = st.builds(
    Kernel,
    name=st.just("k"),
    kind=st.just("Conv"),
    nodes=st.just(("k",)),
    operations=st.dictionaries(st.sampled_from(RATES), counts),
    read=counts,
    weights=counts,
    written=counts,
    apart=counts,
)
factors = st.floats(1.0, 100.0)


def kernel(rate: str, operations: int, moved: int = 0, apart: int = 0) -> Kernel:
    return Kernel("k", "Conv", ("k",), {rate: operations}, moved, 0, 0, apart)


def graph(*layers: Kernel) -> GraphWork:
    return GraphWork(layers, 0, 0, 0, ())


def test_bound_by_compute() -> None:
    # 1e9 operations at 10e12 x 0.5 and x 0.1: 0.2 and 1 ms; 1e6 bytes at 50e9 and 25e9: 0.02 and 0.04
    found = estimate_kernel(kernel("fp16", 10**9, 10**6), BOARD, ASSUMED)
    assert found.compute_ms == Span(pytest.approx(0.2), pytest.approx(1.0))
    assert found.memory_ms == Span(pytest.approx(0.02), pytest.approx(0.04))
    assert found.ms == Span(pytest.approx(0.202), pytest.approx(1.01))
    assert found.bound == "compute"


def test_bound_by_memory_then_by_launch() -> None:
    found = estimate_kernel(kernel("cuda", 10**6, 10**8), BOARD, ASSUMED)
    assert found.ms == Span(pytest.approx(2.002), pytest.approx(4.01))
    assert found.bound == "memory"
    assert estimate_kernel(kernel("cuda", 10, 10), BOARD, ASSUMED).bound == "launch"


def test_ends_of_the_range_may_be_bound_by_different_things() -> None:
    # compute 0.2 to 1 ms, memory 0.4 to 0.8 ms
    assert estimate_kernel(kernel("fp16", 10**9, 2 * 10**7), BOARD, ASSUMED).bound == "memory or compute"


def test_operations_of_two_kinds_take_one_after_the_other() -> None:
    both = replace(kernel("fp16", 10**9), operations={"fp16": 10**9, "cuda": 10**8})
    assert estimate_kernel(both, BOARD, ASSUMED).compute_ms == Span(pytest.approx(0.4), pytest.approx(2.0))


def test_a_second_kernel_counts_at_the_slow_end_only() -> None:
    one = estimate_kernel(kernel("cuda", 0, 10**6), BOARD, ASSUMED)
    two = estimate_kernel(kernel("cuda", 0, 10**6, apart=10**6), BOARD, ASSUMED)
    assert two.ms.low == one.ms.low
    assert two.ms.high == pytest.approx(one.ms.high + 0.04 + 0.01)


def test_shares_and_rates() -> None:
    found = estimate_graph(graph(kernel("fp16", 10**9), kernel("cuda", 0, 10**7)), BOARD, ASSUMED)
    assert found.ms == Span(pytest.approx(0.2 + 0.2 + 0.004), pytest.approx(1.0 + 0.4 + 0.02))
    assert sum(found.shares.values()) == pytest.approx(1)
    assert found.shares["compute"] == pytest.approx((0.2 / 0.404 + 1.0 / 1.42) / 2)
    assert frames_per_second(Span(2, 4)) == Span(250, 500)
    assert shares_of([]) == dict.fromkeys(TERMS, 0.0)


@given(kernels, factors, factors, factors, factors)
def test_a_better_board_is_never_slower(one: Kernel, int8: float, fp16: float, cuda: float, bandwidth: float) -> None:
    better = replace(
        BOARD,
        int8=BOARD.int8 * int8,
        fp16=BOARD.fp16 * fp16,
        cuda=BOARD.cuda * cuda,
        gb_per_s=BOARD.gb_per_s * bandwidth,
    )
    before, after = (estimate_kernel(one, board, ASSUMED).ms for board in (BOARD, better))
    assert after.low <= before.low
    assert after.high <= before.high
    assert 0 < before.low <= before.high


@given(st.lists(kernels, max_size=6), kernels)
def test_more_layers_never_cost_less_and_layers_add_up(some: list[Kernel], more: Kernel) -> None:
    before = estimate_graph(graph(*some), BOARD, ASSUMED)
    after = estimate_graph(graph(*some, more), BOARD, ASSUMED)
    assert after.ms.low > before.ms.low
    assert after.ms.high > before.ms.high
    assert before.ms.low == pytest.approx(sum(layer.ms.low for layer in before.layers))
    assert before.ms.high == pytest.approx(sum(layer.ms.high for layer in before.layers))


# Nothing is known of their layers but that each has at least 64 convolutions, a kernel each. What moves is left out.
@pytest.mark.parametrize(
    ("board", "rate", "gflop", "ms", "share"),
    [
        ("orin-nano-8gb", "fp16", 8.7, 7.3, 0.12),  # YOLOv8n, 640 px, the0807/YOLOv8-ONNX-TensorRT
        ("orin-nano-8gb", "int8", 8.7, 5.8, 0.075),  # half a point below the range: its launches are in the time
        ("orin-nano-8gb", "fp16", 78.9, 23.6, 0.33),  # YOLOv8m
        ("orin-nano-8gb", "int8", 78.9, 17.1, 0.23),
        ("orin-nano-8gb-super", "fp16", 21.5, 7.30, 0.18),  # YOLO11s, Ultralytics' Jetson guide
        ("orin-nano-8gb-super", "int8", 21.5, 5.25, 0.12),
        ("orin-nano-8gb-super", "tf32", 21.5, 13.29, 0.19),
        ("orin-nano-8gb-super", "fp16", 86.9, 17.57, 0.30),  # YOLO11l
        ("orin-nano-8gb-super", "int8", 86.9, 12.37, 0.21),
        ("orin-nano-8gb-super", "tf32", 86.9, 35.59, 0.29),
    ],
)
def test_published_times_lie_in_the_range(board: str, rate: str, gflop: float, ms: float, share: float) -> None:
    assert gflop / (ms * BOARDS[board].peak(rate)) == pytest.approx(share, abs=0.006)
    layers = [kernel(rate, int(gflop * 1e9 / 64))] * 64
    found = estimate_graph(graph(*layers), BOARDS[board], Assumptions()).ms
    assert found.low <= ms <= found.high


def test_published_fp32_of_yolo11x_is_more_than_cuda_cores_can() -> None:
    assert BOARDS["orin-nano-8gb-super"].cuda < 194.9 / 67.32


@pytest.mark.parametrize("wrong", [Span(0.0, 0.5), Span(0.5, 0.2), Span(0.5, 1.1), Span(float("nan"), 0.5)])
def test_efficiencies_that_make_no_sense_are_refused(wrong: Span) -> None:
    with pytest.raises(InputError, match="for fp16"):
        Assumptions(fp16=wrong)
    with pytest.raises(InputError, match="microseconds"):
        Assumptions(launch_us=Span(-1, 2))


def test_the_table_of_boards() -> None:
    assert list(BOARDS) == [board.name for board in boards_named(["all"])]
    assert [board.name for board in boards_named(["thor-t5000", "orin-nano-8gb", "thor-t5000"])] == [
        "thor-t5000",
        "orin-nano-8gb",
    ]
    for board in BOARDS.values():
        assert board.int8 == pytest.approx(2 * board.fp16, rel=0.01)
        assert board.cuda < board.tf32 < board.fp16
        assert board.source
    with pytest.raises(InputError, match=r"unknown board 'tx2'\. Name one of orin-nano-8gb, .*thor-t5000, or all"):
        boards_named(["tx2"])
    with pytest.raises(InputError, match="no board"):
        boards_named([])
