"""From a study file to rows: how many, which, how they are called, and what a wrong file is told."""

import json
import math
import shutil
import sys
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffad_export.ablation.expansion import MOST, expand, load_plan
from diffad_export.ablation.paths import changed, value_at
from diffad_export.ablation.record import Category, training_key
from diffad_export.ablation.study import Plan, Study
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
    assert made.at(made.rows[0], 3).train.seed == 3
    assert made.at(made.rows[0], 3).train.model_copy(update={"seed": 0}) == made.rows[0].config
    assert plan(base={"seed": 5}).seeds == (5,)


STUDENT = {"name": "student", "distil.width": 16}


def test_rows_of_students_and_of_teachers() -> None:
    made = plan(
        base={"size": 64, "score": {"alpha": 0.5}, "distil": {"width": 32, "losses": {"map": 0.25}}},
        row=[{"name": "teacher"}, {"name": "base", "precision": "torch"}, STUDENT, {"name": "long", "chain": 3}],
    )
    teacher, base, student, long = (row.setting for row in made.rows)
    assert (teacher.student, long.student, teacher.chain, long.chain) == (None, None, 0, 3)
    assert base.student is not None
    assert student.student is not None
    assert (base.student.distil.width, base.student.distil.losses.map) == (32, 0.25)
    assert (student.student.distil.width, student.student.distil.losses.map) == (16, 0.25)
    assert {row.config for row in made.rows} == {teacher.train}
    assert made.varied == ("distil.width", "chain")
    assert [row.values for row in made.rows] == [("-", "0"), ("32", "-"), ("16", "-"), ("-", "3")]
    assert made.has_students
    assert made.score == teacher.train.score
    assert not plan().has_students


def test_names_stay_apart() -> None:
    """Both would be called "base" besides; who names his rows needs not know."""
    made = plan(row=[{"name": "shipped", "precision": "torch"}, {"name": "teacher"}])
    assert [row.names for row in made.rows] == [("shipped",), ("teacher",)]
    with pytest.raises(InputError, match="two rows are named 'base'"):
        plan(row=[{"precision": "torch"}, {}])


def test_a_grid_of_students() -> None:
    made = plan(grid=[{"precision": ["torch", "int8"], "student_score.draws": [1, 2]}])
    assert [row.name for row in made.rows] == [f"precision={p}, draws={d}" for p in ("torch", "int8") for d in (1, 2)]
    assert {len(row.values) for row in made.rows} == {2}


def test_seeds_of_students() -> None:
    both = plan(seeds=[3, 1], row=[STUDENT, {"name": "teacher"}])
    found = both.at(both.rows[0], 3)
    assert found.student is not None
    assert (found.train.seed, found.student.distil.seed) == (3, 3)
    held = plan(seeds=[3, 1], teacher_seed=7, row=[STUDENT, {"name": "teacher"}])
    settings = [held.at(row, seed) for row in held.rows for seed in (3, 1)]
    assert {one.train.seed for one in settings} == {7}
    assert [one.student.distil.seed for one in settings if one.student is not None] == [3, 1]
    assert settings[2] == settings[3]
    # one seed, given where it belongs
    alone = plan(base={"seed": 5, "distil": {"seed": 2}}, row=[STUDENT])
    single = alone.at(alone.rows[0], alone.seeds[0])
    assert single.student is not None
    assert (single.train.seed, single.student.distil.seed) == (5, 2)


def test_against_and_columns() -> None:
    made = plan(against="student", columns=False, row=[STUDENT, {"name": "teacher"}])
    assert made.against is not None
    assert made.against.name == "student"
    assert (made.headings, made.varied, [row.values for row in made.rows]) == ((), (), [(), ()])
    grid = plan(against="width=32", grid=[{"distil.width": [16, 32]}])
    assert grid.against == grid.rows[1]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """What of a run a study looks at before any work."""
    folder = tmp_path / "run"
    folder.mkdir()
    config = changed(TrainConfig(), {"size": 64, "score.alpha": 0.25, "seed": 4}, "")
    facts = {"config": config.model_dump(mode="json"), "categories": [{"name": "disc", "data_digest": "d"}]}
    (folder / "config.json").write_text(json.dumps(facts))
    return folder


def test_a_run_that_is_given(run: Path) -> None:
    rows = [STUDENT, {"name": "teacher"}, {"name": "other", "score.alpha": 1.0}]
    made = plan(base={"run": str(run), "distil": {"draws": 2}}, seeds=[8, 9], row=rows)
    assert made.runs is not None
    assert made.runs.categories == ["disc"]
    student, teacher, other = (made.at(row, 9) for row in made.rows)
    assert (student.train, teacher.train.score.alpha, other.train.score.alpha) == (teacher.train, 0.25, 1.0)
    assert (teacher.train.seed, teacher.train.size) == (4, 64)
    assert student.student is not None
    assert (student.student.distil.seed, student.student.distil.draws) == (9, 2)


def test_a_run_takes_the_place_of_a_base(run: Path) -> None:
    study = Study.model_validate(
        {
            "version": 1,
            "name": "test",
            "base": {"preset": "paper", "size": 128, "run": "elsewhere", "score.draws": 2, "distil.width": 16},
            "seeds": [0],
            "teacher_seed": 3,
        }
    )
    made = expand(study, run=run)
    (row,) = made.rows
    assert (row.config.size, row.config.score.draws, row.config.score.alpha) == (64, 2, 0.25)


def test_runs_that_score_differently(run: Path, tmp_path: Path) -> None:
    both = tmp_path / "both"
    shutil.copytree(run, both / "a")
    shutil.copytree(run, both / "b")
    text = (both / "b" / "config.json").read_text().replace('"alpha": 0.25', '"alpha": 0.5').replace("disc", "plate")
    (both / "b" / "config.json").write_text(text)
    with pytest.raises(InputError, match=r"runs in .*both differ in score: b and a. Study them one by one"):
        plan(base={"run": str(both)})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"row": [{"size": 64}]}, r"row 1: size is a setting of training, and .*run is trained already. Beside a run"),
        ({"grid": [{"teacher.blocks": [1, 2]}]}, "grid 1: teacher.blocks is a setting of training"),
        ({"base": {"size": 64}}, "base: size is a setting of training"),
        ({"base": {"seed": 1}}, "base: seed is a setting of training"),
        ({"base": {"preset": "compact"}}, "base: preset, and a run that is trained already. Leave one of them out"),
        ({"seeds": [1], "teacher_seed": 1}, "base: teacher_seed, and a run that is trained already"),
        ({"base": {"run": "nowhere"}}, "no run folder nowhere"),
        ({"base": {"run": 3}}, "base: run: expected a folder, got 3. Write it as in: run ="),
    ],
)
def test_what_a_run_refuses(fields: dict[str, Any], message: str, run: Path) -> None:
    with pytest.raises(InputError, match=message):
        plan(**{**fields, "base": {"run": str(run), **fields.get("base", {})}})


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
        ({"row": [{"distil.wdith": 16}]}, r"row 1: unknown key 'distil.wdith'. Allowed in \[distil\]: steps, .*width"),
        ({"row": [{"distil.width": 17}]}, "row 1: distil.width: .*choose from 8, 16, .*, got 17. Change distil.width"),
        ({"row": [{"precision": "fp16"}]}, "precision: Input should be 'torch', 'fp32' or 'int8', got 'fp16'"),
        ({"row": [{"distil": 1}]}, "'distil' is a table, got one value. Name one of: distil.steps"),
        (
            {"row": [{"distil.steps": 2, "distil.chain_steps": [50]}]},
            "row 1: distil: .*2 steps need as many different chain_steps.* Change distil.steps or distil.chain_steps",
        ),
        ({"row": [{"distil.width": 16, "score.alpha": 0.5}]}, "score.alpha is of a teacher's row, and this is a stud"),
        ({"row": [{"precision": "int8", "chain": 5}]}, "chain is of a teacher's row, and this is a student's"),
        ({"row": [{"student_score.chain_steps": [5]}]}, "a student is scored at its own levels. Set distil.steps"),
        (
            {"row": [{"distil.chain_steps": [200], "distil.losses.teacher": 1.0}]},
            "distil.chain_steps: step 200 is t = 802, and the teacher is",
        ),
        ({"row": [{"distil.chain_steps": [50], "distil.losses.consistency": 1.0}]}, "needs more than one, and steps"),
        ({"row": [{"chain": 52}]}, "chain: from step 50 there are at most 51 evaluations, got 52"),
        ({"seeds": [0], "row": [{"distil.seed": 1}]}, "row 1: seed is varied, and seeds are given"),
        ({"teacher_seed": 1}, r"s\.yaml: .*teacher_seed holds the teacher's while seeds vary.*Change one of them"),
        ({"against": "x"}, "against: no row of test is named 'x'. Choose from: base"),
        ({"against": "*", "grid": [{"size": [64, 128]}]}, r"against: '\*' fits 2 rows, expected one"),
        ({"against": "base", "confidence": False}, "against compares by intervals: leave confidence on"),
        ({"columns": False, "grid": [{"size": [64, 128]}]}, "every row needs a name, and 'size=64' has none"),
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
@pytest.mark.parametrize(
    ("name", "rows", "trainings"),
    [("paper-table-2", 24, 12), ("levels-alpha-size", 41, 4), ("student-controls", 23, 1)],
)
def test_the_studies_of_the_documentation(name: str, rows: int, trainings: int) -> None:
    made = load_plan(STUDIES / f"{name}.toml")
    assert len(made.rows) == rows
    assert len({training_key(row.config, DATA) for row in made.rows}) == trainings
