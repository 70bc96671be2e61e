"""From a study file to rows: how many, which, how they are called, and what a wrong file is told."""

import math
import sys
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffad_export.ablation.paths import changed, value_at
from diffad_export.ablation.record import Category, training_key
from diffad_export.ablation.study import MOST, Plan, Study, expand, load_plan
from diffad_export.config import TrainConfig
from diffad_runtime.errors import InputError

STUDIES = Path(__file__).parents[3] / "docs" / "studies"
DATA = (Category(name="line", good="a", whole="b"),)

CHOICES: dict[str, list[Any]] = {
    "size": [64, 128, 256],
    "features.grid_stride": [4, 8, 16],
    "features.strides": [[16], [8, 16], [2, 4, 8, 16]],
    "score.alpha": [0.0, 0.25, 1.0, "none"],
    "score.chain_steps": [[5], [5, 50]],
    "optimiser.batch": [2, 8],
}
GRID = st.dictionaries(st.sampled_from(sorted(CHOICES)), st.none(), min_size=1, max_size=3).flatmap(
    lambda keys: st.fixed_dictionaries(
        {key: st.lists(st.sampled_from(CHOICES[key]), min_size=1, max_size=3, unique_by=repr) for key in keys}
    )
)
ROW = st.dictionaries(st.sampled_from(sorted(CHOICES)), st.none(), max_size=3).flatmap(
    lambda keys: st.fixed_dictionaries({key: st.sampled_from(CHOICES[key]) for key in keys})
)


def plan(**fields: Any) -> Plan:
    return expand(Study.model_validate({"version": 1, "name": "test", **fields}))


@settings(deadline=None, max_examples=60)
@given(st.lists(GRID, max_size=2), st.lists(ROW, max_size=3))
def test_expansion(grids: list[dict[str, list[Any]]], singles: list[dict[str, Any]]) -> None:
    wanted = [dict(zip(grid, choice, strict=True)) for grid in grids for choice in product(*grid.values())] + singles
    slow = {changed(TrainConfig(), changes, "") for changes in wanted} or {TrainConfig()}
    made = plan(grid=grids, row=singles)
    # every combination, and none twice
    assert {row.config for row in made.rows} == slow
    assert len(made.rows) == len(slow)
    # names tell rows apart, and so do the values in the table
    assert len({row.name for row in made.rows}) == len(made.rows)
    assert len({row.values for row in made.rows}) == len(made.rows)
    assert sum(len(row.names) for row in made.rows) == len({name for row in made.rows for name in row.names})
    # a column for what differs, and for nothing else
    for path in CHOICES:
        assert (path in made.varied) == (len({value_at(config, path) for config in slow}) > 1)
    # each row is found by its name alone
    for row in made.rows:
        assert made.select([row.name]) == (row,)
    assert made.select(["*"]) == made.rows


@settings(deadline=None, max_examples=40)
@given(GRID)
def test_one_grid_is_crossed(grid: dict[str, list[Any]]) -> None:
    assert len(plan(grid=[grid]).rows) == math.prod(map(len, grid.values()))


def test_rows_of_one_training() -> None:
    made = plan(grid=[{"score.alpha": [0.0, 0.5], "features.grid_stride": [4, 8]}])
    assert len({training_key(row.config, DATA) for row in made.rows}) == 2
    assert made.headings == ("alpha", "grid_stride")
    assert made.rows[1].name == "alpha=0, grid_stride=8"
    assert made.rows[1].values == ("0", "8")


def test_tables_vary_together() -> None:
    made = plan(grid=[{"score": [{"feature_score": "residual", "alpha": 0.5}, {}], "size": [64, 128]}])
    assert len(made.rows) == 4
    assert made.varied == ("score.feature_score", "score.alpha", "size")
    assert [row.config.score.alpha for row in made.rows] == [0.5, 0.5, 0.0, 0.0]


def test_nested_keys_are_paths_too() -> None:
    """In TOML features.grid_stride = ... without quotes is a table in a table."""
    assert plan(grid=[{"features": {"grid_stride": [4, 8]}}]).rows == plan(grid=[{"features.grid_stride": [4, 8]}]).rows


def test_a_named_row_that_a_grid_has_too_is_one_row() -> None:
    made = plan(grid=[{"score.alpha": [0.0, 0.5]}], row=[{"name": "the paper's", "score.alpha": 0.5}])
    assert [row.name for row in made.rows] == ["alpha=0", "the paper's"]
    assert made.select(["alpha=0.5"]) == made.select(["the paper's"]) == made.rows[1:]
    assert made.select(["alpha=*"]) == made.rows


def test_base_and_preset() -> None:
    row = plan(base={"preset": "paper", "optimiser": {"steps": 7}, "score.alpha": 0.25}).rows[0]
    assert (row.name, row.config.backbone, row.config.optimiser.steps) == ("base", "efficientnet_b4", 7)
    assert row.config.optimiser.batch == 2
    assert row.config.score.alpha == 0.25


def test_seeds() -> None:
    made = plan(seeds=[3, 1])
    assert made.seeds == (3, 1)
    assert made.rows[0].at(3).seed == 3
    assert made.rows[0].at(3).model_copy(update={"seed": 0}) == made.rows[0].config
    assert plan(base={"seed": 5}).seeds == (5,)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"version": 2}, "version: .*got 2"),
        ({"rows": []}, "rows: Extra inputs.* Allowed: version, name, base, grid"),
        ({"base": {"preset": "huge"}}, r"s\.yaml: base: unknown preset 'huge'. Choose from: compact, paper"),
        ({"base": {"sise": 64}}, r"s\.yaml: base: unknown key 'sise'. Allowed: size"),
        ({"base": {"backbone": "vgg"}}, "base: unknown backbone 'vgg'. Choose from: efficientnet_lite0"),
        ({"grid": [{"size": [64]}, {"size": [64, 100]}]}, r"s\.yaml: grid 2: size: .*multiple of 32, got 100"),
        ({"grid": [{"size": 64}]}, r"grid 1: size: expected a list of values, got 64"),
        ({"grid": [{"size": []}]}, r"grid 1: size: expected a list of values, got \[\]"),
        ({"row": [{"score.alpha": 2.0}]}, "row 1: score.alpha: .*less than or equal to 1, got 2.0"),
        ({"row": [{"name": 3}]}, "row 1: name: expected a few words, got 3"),
        ({"row": [{"name": "a"}, {"name": "b"}]}, "row 2: the same as the row 'a'"),
        ({"row": [{"name": "a"}, {"name": "a", "size": 64}]}, "two rows are named 'a'"),
        ({"row": [{"score.alpha": 0.1, "score": {"alpha": 0.2}}]}, "row 1: score.alpha is given twice"),
        ({"row": [{"score.chain_steps": [5, 200]}]}, "step 200 is t = 802, and the teacher is trained below t = 450"),
        ({"references": {"names": ["draem"]}}, "unknown draem; choose from padim, patchcore"),
        ({"seeds": [1, 1]}, "a seed is named twice"),
        ({"seeds": []}, "seeds: "),
        ({"seeds": [0], "grid": [{"seed": [1, 2]}]}, "grid 1: seed is varied, and seeds are given"),
        ({"seeds": [0], "base": {"seed": 1}}, "base: a seed, and seeds besides"),
        ({"seeds": list(range(MOST + 1))}, f"asks for {MOST + 1} rows, at most {MOST}"),
        ({"grid": [{"optimiser.steps": list(range(1, 300)), "size": [64, 128]}]}, "asks for 598 rows"),
    ],
)
def test_what_a_study_refuses(fields: dict[str, Any], message: str, tmp_path: Path) -> None:
    pytest.importorskip("yaml")
    (tmp_path / "s.yaml").write_text(str({"version": 1, "name": "test", **fields}))
    with pytest.raises(InputError, match=message):
        load_plan(tmp_path / "s.yaml")


def test_an_unknown_row_is_told_the_names() -> None:
    with pytest.raises(InputError, match=r"no row of test is named 'alpha=1'. Choose from: alpha=0; alpha=0\.5"):
        plan(grid=[{"score.alpha": [0.0, 0.5]}]).select(["alpha=1"])


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python reads TOML from 3.11 on")
@pytest.mark.parametrize(("name", "rows", "trainings"), [("paper-table-2", 24, 12), ("levels-alpha-size", 41, 4)])
def test_the_studies_of_the_documentation(name: str, rows: int, trainings: int) -> None:
    made = load_plan(STUDIES / f"{name}.toml")
    assert len(made.rows) == rows
    assert len({training_key(row.config, DATA) for row in made.rows}) == trainings
