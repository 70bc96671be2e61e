"""Order statistics for the manifest: all of a few, the extremes and every hundredth of many."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffad_calibration.thresholds.normalscores import MOST, normal_scores
from diffad_runtime.errors import DataError
from diffad_runtime.manifest import NormalScores


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 1000), st.integers(0, 99))
def test_ranks_and_values_agree_with_a_sort(count: int, seed: int) -> None:
    scores = np.random.default_rng(seed).normal(size=count)
    kept = normal_scores(scores)
    ordered = np.sort(scores)
    assert kept.count == count
    assert len(kept.ranks) == min(count, MOST)
    assert (kept.ranks[0], kept.ranks[-1]) == (1, count)
    assert kept.values == [ordered[rank - 1] for rank in kept.ranks]
    steps = np.diff(kept.ranks)
    assert steps.max() - steps.min() <= 1
    assert NormalScores.model_validate_json(kept.model_dump_json()) == kept


@pytest.mark.parametrize("scores", [[], [1.0], [1.0, float("nan")], [1.0, float("inf")]])
def test_too_few_or_not_finite(scores: list[float]) -> None:
    with pytest.raises(DataError, match="at least two finite scores"):
        normal_scores(scores)
