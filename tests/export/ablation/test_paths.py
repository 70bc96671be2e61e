"""Dotted paths: there and back over all of TrainConfig, and what is said of those that lead nowhere."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffad_export.ablation.paths import changed, check_path, flatten, short_names, value_at, words
from diffad_export.config import PRESETS, TrainConfig
from diffad_runtime.errors import InputError

LEAVES = [path for path, _ in flatten(TrainConfig().model_dump())]


@pytest.mark.parametrize("path", LEAVES)
def test_every_value_of_the_configuration_has_a_path(path: str) -> None:
    check_path(path, "here")
    other = value_at(PRESETS["paper"], path)
    if path in ("teacher.network", "teacher.widths"):
        return  # checked together with other fields
    moved = changed(TrainConfig(), {path: other}, "here")
    assert value_at(moved, path) == other
    untouched = {p: v for p, v in flatten(moved.model_dump()) if p != path}
    assert untouched == {p: v for p, v in flatten(TrainConfig().model_dump()) if p != path}


@settings(deadline=None, max_examples=40)
@given(st.recursive(st.integers(), lambda inner: st.dictionaries(st.sampled_from(["a", "b", "ab"]), inner, min_size=1)))
def test_flattening_keeps_every_value(tree: Any) -> None:
    table = {"top": tree}
    for path, value in flatten(table):
        at: Any = table
        for name in path.split("."):
            at = at[name]
        assert at == value


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("sise", r"s\.toml: grid 1: unknown key 'sise'. Allowed: size, backbone, seed, .*score"),
        ("features.grid", r"unknown key 'features.grid'. Allowed in \[features\]: strides, grid_stride"),
        ("size.x", "unknown key 'size.x'. size is a value, not a table"),
        ("score", r"'score' is a table, got one value. Name one of: score.chain_steps, .*score\.alpha"),
        ("", "unknown key ''"),
    ],
)
def test_a_path_that_leads_nowhere(path: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        changed(TrainConfig(), {path: 1}, "s.toml: grid 1")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features.grid_stride": 5}, "here: features.grid_stride: Input should be 4, 8 or 16, got 5"),
        ({"features.strides": [16, 5]}, r"features.strides: Input should be 2, 4, 8 or 16, got \[16, 5\]"),
        ({"features.strides": [16, 8]}, r"features.strides: .*strides must grow, each named once, got \[16, 8\]"),
        ({"features.strides": 16}, r"got 16. features.strides is a list itself, .* as in \[\[16\]\]"),
        ({"size": 100}, "size: .*multiple of 32, got 100"),
        ({"teacher.prediction": "x0", "teacher.network": "paper"}, "the paper's network predicts eps"),
    ],
)
def test_a_value_that_does_not_fit(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        changed(TrainConfig(), changes, "here")


def test_none_where_a_field_allows_it() -> None:
    assert changed(TrainConfig(), {"score.alpha": "none"}, "here").score.alpha is None
    with pytest.raises(InputError, match="size: "):
        changed(TrainConfig(), {"size": "none"}, "here")


SCALARS = st.one_of(st.floats(allow_nan=False), st.sampled_from(["cosine", "linear"]))


@given(SCALARS, SCALARS)
def test_different_values_get_different_words(one: Any, other: Any) -> None:
    assert (words(one) == words(other)) == (repr(one) == repr(other))


def test_words() -> None:
    assert [words(v) for v in ((2, 4, 16), 0.5, 1.0, None, True, "eps")] == ["2+4+16", "0.5", "1", "none", "yes", "eps"]


def test_short_names_stay_apart() -> None:
    paths = ("score.alpha", "teacher.widths", "other.alpha")
    assert short_names(paths) == {
        "score.alpha": "score.alpha", "teacher.widths": "widths", "other.alpha": "other.alpha",
    }  # fmt: skip
