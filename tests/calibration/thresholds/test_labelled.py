"""The labelled threshold against every threshold tried in turn, and by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffad_calibration.metrics import f1_max
from diffad_calibration.thresholds.labelled import labelled_threshold
from diffad_runtime.errors import DataError


def test_the_middle_of_the_gap_between_good_and_defective() -> None:
    chosen = labelled_threshold([1, 2, 3, 5, 6], [0, 0, 0, 1, 1])
    assert (chosen.threshold, chosen.f1, chosen.recall, chosen.false_reject_rate) == (4.0, 1.0, 1.0, 0.0)
    assert chosen.figures().model_dump() == {"good": 3, "defective": 2, "false_rejects": 0, "found": 2}


def test_overlap_by_hand() -> None:
    # good 1 2 4 6, defective 3 5 7. Above 2.5 all three and two good ones: 6 / 8; above 4.5 two and one: 4 / 6.
    scores, labels = [1, 2, 4, 6, 3, 5, 7], [0, 0, 0, 0, 1, 1, 1]
    chosen = labelled_threshold(scores, labels)
    assert (chosen.threshold, chosen.found, chosen.false_rejects) == (2.5, 3, 2)
    assert chosen.f1 == pytest.approx(6 / 8)
    # At most one good one in four: above 4.5.
    chosen = labelled_threshold(scores, labels, max_false_reject_rate=0.25)
    assert (chosen.threshold, chosen.found, chosen.false_rejects) == (4.5, 2, 1)
    chosen = labelled_threshold(scores, labels, max_false_reject_rate=0)
    assert (chosen.threshold, chosen.found, chosen.false_rejects) == (6.5, 1, 0)


def test_of_equal_f1_the_one_that_rejects_fewer() -> None:
    # Above 0.5: 2 found, 2 rejects, F1 4 / 6. Above 2.5: 1 found, 0 rejects, F1 2 / 3.
    chosen = labelled_threshold([0, 1, 2, 2, 3], [0, 1, 0, 0, 1])
    assert (chosen.threshold, chosen.found, chosen.false_rejects) == (2.5, 1, 0)


def test_a_model_that_ranks_the_wrong_way_round() -> None:
    chosen = labelled_threshold([5, 6, 1], [0, 0, 1])
    assert chosen.threshold < 1  # all are rejected: F1 1 / 2, better than none
    assert (chosen.found, chosen.false_rejects) == (1, 2)
    chosen = labelled_threshold([5, 6, 1], [0, 0, 1], max_false_reject_rate=0)
    assert (chosen.threshold, chosen.found, chosen.false_rejects, chosen.f1) == (6.0, 0, 0, 0.0)


def test_no_number_between_neighbours_in_binary() -> None:
    low = 1.0
    high = float(np.nextafter(low, 2))
    assert labelled_threshold([low, high], [0, 1]).threshold == low


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 1)), min_size=2, max_size=25).filter(
        lambda rows: {label for _, label in rows} == {0, 1}
    ),
    st.sampled_from([None, 0.0, 0.1, 0.34, 1.0]),
    st.randoms(),
)
def test_no_other_threshold_is_better(rows: list[tuple[int, int]], ceiling: float | None, random: object) -> None:
    scores, labels = np.array([s for s, _ in rows], float), np.array([label for _, label in rows])
    chosen = labelled_threshold(scores, labels, max_false_reject_rate=ceiling)
    good, bad = scores[labels == 0], scores[labels == 1]
    assert chosen.false_rejects == (good > chosen.threshold).sum()
    assert chosen.found == (bad > chosen.threshold).sum()
    best = 0.0
    for threshold in np.arange(-0.5, 13):
        false, found = (good > threshold).sum(), (bad > threshold).sum()
        if ceiling is None or false <= ceiling * good.size + 1e-9:
            best = max(best, 2 * found / (found + false + bad.size))
    assert chosen.f1 == pytest.approx(best)
    if ceiling is None:
        assert chosen.f1 == pytest.approx(f1_max(bad, good))
    random.shuffle(rows)  # type: ignore[attr-defined]
    again = labelled_threshold([s for s, _ in rows], [label for _, label in rows], max_false_reject_rate=ceiling)
    assert again == chosen


@pytest.mark.parametrize(
    ("scores", "labels", "ceiling", "message"),
    [
        ([1.0], [0, 1], None, "1 scores for 2 labels"),
        ([1.0, np.nan], [0, 1], None, "NaN"),
        ([1.0, 2.0], [0, 0], None, r"labels 0 and 1, got \[0\]"),
        ([1.0, 2.0], [0, 2], None, r"got \[0, 2\]"),
        ([1.0, 2.0], [0, 1], 1.5, "false reject rate is 1.5"),
    ],
)
def test_what_cannot_be_used_is_refused(
    scores: list[float], labels: list[int], ceiling: float | None, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        labelled_threshold(scores, labels, max_false_reject_rate=ceiling)
