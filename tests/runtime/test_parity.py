"""Parity figures by hand, and the gate on each of them."""

import json
import math

import numpy as np
import pytest

from diffad_runtime.errors import DataError, GateError
from diffad_runtime.parity import TOLERANCES, FrameOutcome, check, compare

# Values -1 and 1 in equal number: the spread is exactly 1, so differences read as they are.
BASE = np.tile(np.array([[-1, 1], [1, -1]], np.float32), (4, 4))


def outcome(shift: float = 0.0, pixel: float = 0.0, score: float = 0.5, ng: bool = False) -> FrameOutcome:
    values = BASE + np.float32(shift)
    values[3, 3] += np.float32(pixel)
    return FrameOutcome(values, score, ng)


def test_figures_by_hand() -> None:
    reference = [outcome(), outcome()]
    parity = compare(reference, [outcome(shift=0.25), outcome(pixel=2.0, score=0.4, ng=True)])
    assert parity.spread == 1.0
    assert [frame.map_max for frame in parity.frames] == [0.25, 2.0]
    assert [frame.map_mean for frame in parity.frames] == [0.25, 2 / 64]
    assert [frame.flipped for frame in parity.frames] == [False, True]
    assert (parity.map_max, parity.map_mean) == (2.0, (0.25 + 2 / 64) / 2)
    assert (parity.score_max, parity.flips) == (pytest.approx(0.1), 1)
    assert json.loads(json.dumps(parity.to_dict())) == parity.to_dict()


def test_scale_of_the_map_does_not_matter() -> None:
    scaled = [FrameOutcome(7 * o.map, 7 * o.score, o.ng) for o in (outcome(), outcome(shift=0.25))]
    assert compare(scaled[:1], scaled[1:]).map_max == pytest.approx(0.25)


@pytest.mark.parametrize("precision", TOLERANCES)
def test_equal_runs_pass(precision: str) -> None:
    check(compare([outcome()], [outcome()]), precision)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (outcome(pixel=0.02), "map_max of frame 1 differs by 0.02 units, at most 0.01"),
        (outcome(shift=0.005), "map_mean of frame 1"),
        (outcome(score=0.6), "score of frame 1"),
        (outcome(ng=True), "decision flips on 1 of 2 frames, at most 0 allowed: frame 1"),
        (outcome(score=math.nan), "score of frame 1 differs by nan"),
        (outcome(shift=math.nan), "map_max of frame 1 differs by nan"),
    ],
)
def test_the_gate_names_frame_and_figure(other: FrameOutcome, message: str) -> None:
    parity = compare([outcome(), outcome()], [outcome(), other])
    with pytest.raises(GateError, match=message):
        check(parity, "fp32")


def test_of_few_frames_one_may_flip_where_any_may() -> None:
    check(compare([outcome()] * 2, [outcome(ng=True), outcome()]), "fp16")
    with pytest.raises(GateError, match="2 of 2 frames, at most 1 allowed"):
        check(compare([outcome()] * 2, [outcome(ng=True)] * 2), "fp16")


def test_int8_may_flip_a_small_share() -> None:
    reference = [outcome()] * 10
    check(compare(reference, [outcome(ng=True), *reference[1:]]), "int8")
    with pytest.raises(GateError, match="2 of 10"):
        check(compare(reference, [outcome(ng=True)] * 2 + reference[2:]), "int8")


def test_bad_input_is_refused() -> None:
    with pytest.raises(DataError, match="got 1 and 2"):
        compare([outcome()], [outcome()] * 2)
    with pytest.raises(DataError, match="got 0 and 0"):
        compare([], [])
    with pytest.raises(DataError, match="frame 0 has maps of shape"):
        compare([outcome()], [FrameOutcome(np.zeros((2, 2), np.float32), 0.5, False)])
    with pytest.raises(DataError, match="int4"):
        check(compare([outcome()], [outcome()]), "int4")


def test_constant_reference_is_measured_in_map_units() -> None:
    flat = FrameOutcome(np.ones((4, 4), np.float32), 1.0, False)
    assert compare([flat], [FrameOutcome(flat.map + 0.5, 1.0, False)]).map_max == 0.5
