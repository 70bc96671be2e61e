"""The gates: golden frames whose decision is clear, and what is refused with which figure."""

from dataclasses import replace

import numpy as np
import pytest

from diffad_export.gates import Golden, certify, pick_golden
from diffad_export.pasted import PastedSet
from diffad_runtime.errors import GateError
from diffad_runtime.parity import FrameOutcome

SIZE = 32


def outcome(score: float, threshold: float = 1.0, level: float = 0.0) -> FrameOutcome:
    return FrameOutcome(np.full((SIZE, SIZE), level, np.float32), score, score > threshold)


def test_golden_frames_are_far_from_the_threshold() -> None:
    rng = np.random.default_rng(0)
    scores = np.concatenate([rng.uniform(0, 1.2, 20), rng.uniform(0.9, 5, 20)])
    labels = np.repeat(np.array([0, 1], np.int64), 20)
    golden = pick_golden([outcome(score) for score in scores], labels, 1.0)
    assert len(golden.rows) == len(set(golden.rows)) == 8
    assert [int(labels[row]) for row in golden.rows] == [0] * 4 + [1] * 4
    assert [g.score for g in golden.outcomes] == [scores[row] for row in golden.rows]
    for label in (0, 1):
        distance = np.abs(scores[labels == label] - 1)
        picked = [abs(scores[row] - 1) for row in golden.rows if labels[row] == label]
        assert min(picked) >= np.median(distance)


@pytest.mark.parametrize(("kind", "expected"), [(1, 2), (2, 2), (4, 4), (9, 8)])
def test_few_frames_give_few_golden_ones(kind: int, expected: int) -> None:
    labels = np.repeat(np.array([0, 1], np.int64), kind)
    found = pick_golden([outcome(float(i)) for i in range(2 * kind)], labels, 0.5)
    assert len(found.rows) == expected


@pytest.fixture
def pasted() -> PastedSet:
    """Twenty frames, ten with a square defect."""
    masks = np.zeros((20, SIZE, SIZE), np.uint8)
    masks[10:, 8:16, 8:16] = 255
    return PastedSet(np.zeros((20, SIZE, SIZE, 3), np.uint8), masks, np.repeat(np.array([0, 1], np.int64), 10))


@pytest.fixture
def reference(pasted: PastedSet) -> list[FrameOutcome]:
    """Maps with standard deviation near 1, brighter where the defect is."""
    rng = np.random.default_rng(0)
    maps = rng.normal(0, 0.9, pasted.masks.shape).astype(np.float32) + 3 * (pasted.masks > 0)
    return [FrameOutcome(m.astype(np.float32), float(m.max()), float(m.max()) > 4.0) for m in maps]


GOLDEN_ROWS = [0, 4, 9, 10, 15, 19]


@pytest.fixture
def golden(reference: list[FrameOutcome]) -> Golden:
    return Golden(GOLDEN_ROWS, [reference[row] for row in GOLDEN_ROWS])


def test_equal_answers_pass_and_are_recorded(reference: list[FrameOutcome], pasted: PastedSet, golden: Golden) -> None:
    record = certify(reference, {"fp32": reference, "int8": reference}, pasted, golden, max_aupro_drop=0.0)
    assert record["reference"] == "torch fp32"
    assert record["aupro_30"] > 0.9
    assert set(record["variants"]) == {"fp32", "int8"}
    for variant in record["variants"].values():
        assert (variant["map_max"], variant["score_max"], variant["flips"], variant["golden_flips"]) == (0, 0, 0, 0)
        assert variant["aupro_30"] == record["aupro_30"]
        assert len(variant["frames"]) == 20


def test_one_wrong_pixel_in_fp32_is_refused(reference: list[FrameOutcome], pasted: PastedSet, golden: Golden) -> None:
    wrong = reference[7].map.copy()
    wrong[3, 3] += 0.1
    found = [*reference[:7], replace(reference[7], map=wrong), *reference[8:]]
    with pytest.raises(GateError, match="fp32 parity: map_max of frame 7"):
        certify(reference, {"fp32": found}, pasted, golden, max_aupro_drop=1.0)
    certify(reference, {"int8": found}, pasted, golden, max_aupro_drop=1.0)


def test_nan_never_passes(reference: list[FrameOutcome], pasted: PastedSet, golden: Golden) -> None:
    found = [*reference[:5], replace(reference[5], score=float("nan")), *reference[6:]]
    with pytest.raises(Exception, match=r"(?i)nan"):
        certify(reference, {"int8": found}, pasted, golden, max_aupro_drop=1.0)


def flipped(reference: list[FrameOutcome], rows: list[int]) -> list[FrameOutcome]:
    return [replace(one, ng=one.ng ^ (row in rows)) for row, one in enumerate(reference)]


def test_int8_may_flip_near_the_threshold_but_no_golden_frame(
    reference: list[FrameOutcome], pasted: PastedSet, golden: Golden
) -> None:
    record = certify(reference, {"int8": flipped(reference, [3])}, pasted, golden, max_aupro_drop=0.0)
    assert (record["variants"]["int8"]["flips"], record["variants"]["int8"]["golden_flips"]) == (1, 0)
    with pytest.raises(GateError, match="int8: the decision flips on 1 of 6 golden frames"):
        certify(reference, {"int8": flipped(reference, [4])}, pasted, golden, max_aupro_drop=0.0)
    with pytest.raises(GateError, match="int8 parity: the decision flips on 3 of 20 frames"):
        certify(reference, {"int8": flipped(reference, [3, 5, 6])}, pasted, golden, max_aupro_drop=0.0)
    with pytest.raises(GateError, match="fp32 parity: the decision flips on 1 of 20 frames"):
        certify(reference, {"fp32": flipped(reference, [3])}, pasted, golden, max_aupro_drop=0.0)


def test_a_loss_of_accuracy_is_refused_with_both_figures(
    reference: list[FrameOutcome], pasted: PastedSet, golden: Golden
) -> None:
    dull = [
        replace(one, map=one.map - np.float32(1.8) * (m > 0)) for one, m in zip(reference, pasted.masks, strict=True)
    ]
    with pytest.raises(GateError, match=r"int8: AUPRO@0\.3 on pasted defects is 0\.\d+, torch has 0\.\d+, a drop of"):
        certify(reference, {"int8": dull}, pasted, golden, max_aupro_drop=0.02)
    certify(reference, {"int8": dull}, pasted, golden, max_aupro_drop=0.9)
    # Better than torch is no loss.
    certify(dull, {"int8": reference}, pasted, golden, max_aupro_drop=0.0)
