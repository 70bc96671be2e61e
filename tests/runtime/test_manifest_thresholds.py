"""The manifest's thresholds and normal scores: what older bundles lack has a default, what disagrees is refused."""

from typing import Any

import pytest
from pydantic import ValidationError

from diffad_runtime.manifest import NormalScores, Thresholds

OLD: dict[str, Any] = {
    "pixel": 1.5,
    "image": 2.5,
    "good_images": 40,
    "false_reject_rate": 0.01,
    "guaranteed_rate": 1 / 41,
    "pixel_rate": 0.001,
}
LABELLED = {"good": 10, "defective": 4, "false_rejects": 1, "found": 3}


def test_thresholds_of_an_older_bundle_promise_nothing_that_they_did_not() -> None:
    limits = Thresholds.model_validate(OLD, strict=True)
    assert (limits.kind, limits.labelled) == ("conformal", None)
    assert limits.confident_rate is limits.pixel_guaranteed_rate is None
    assert limits.shared  # statistics were always fitted on the same images then


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "labelled"},
        {"labelled": LABELLED},
        {"kind": "labelled", "labelled": LABELLED | {"found": 5}},
        {"kind": "labelled", "labelled": LABELLED | {"false_rejects": 11}},
        {"confident_rate": 0.0},
        {"pixel_guaranteed_rate": 1.5},
        {"false_reject_rate": 0.0},
    ],
)
def test_thresholds_that_disagree_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Thresholds.model_validate(OLD | change)


def test_labelled_thresholds_need_no_rate_asked_for() -> None:
    limits = Thresholds.model_validate(
        OLD | {"kind": "labelled", "labelled": LABELLED, "false_reject_rate": 1.0, "guaranteed_rate": 1.0}
    )
    assert Thresholds.model_validate_json(limits.model_dump_json(), strict=True) == limits


@pytest.mark.parametrize(
    ("count", "ranks", "values"),
    [
        (5, [1, 3, 5], [1.0, 2.0]),
        (5, [2, 3, 5], [1.0, 2.0, 3.0]),
        (5, [1, 3, 4], [1.0, 2.0, 3.0]),
        (5, [1, 3, 3, 5], [1.0, 2.0, 2.0, 3.0]),
        (5, [1, 3, 5], [1.0, 3.0, 2.0]),
        (1, [1], [1.0]),
        (102, list(range(1, 103)), [0.0] * 102),
        (2, [1, 2], [0.0, float("nan")]),
    ],
)
def test_normal_scores_out_of_order_are_refused(count: int, ranks: list[int], values: list[float]) -> None:
    with pytest.raises(ValidationError):
        NormalScores(count=count, ranks=ranks, values=values)
