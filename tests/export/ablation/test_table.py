"""The table: what stands in it, what is best, and both files; worked by hand on made-up figures."""

import csv
import io
import json
from typing import Any

from diffad_calibration.metrics import FIGURES
from diffad_export.ablation.expansion import expand
from diffad_export.ablation.record import Category, Figures, ReferenceRecord, RowRecord
from diffad_export.ablation.study import Plan, Row, Study
from diffad_export.ablation.table import Table, make_table
from diffad_export.ablation.tabletext import to_csv, to_markdown

DATA = (Category(name="disc", good="a", whole="b"), Category(name="plate", good="c", whole="d"))
GRID: dict[str, list[Any]] = {"score.alpha": [0.0, 0.5], "size": [64, 128]}


def figures(base: float, *, categories: int = 2) -> Figures:
    """Every figure of the first category `base`, of the second 0.1 more, intervals 0.02 to either side."""
    values = {c.name: base + 0.1 * i for i, c in enumerate(DATA[:categories])}
    mean = sum(values.values()) / categories
    return Figures(
        classes={name: dict.fromkeys(FIGURES, v) for name, v in values.items()},
        macro=dict.fromkeys(FIGURES, mean),
        intervals={
            "classes": {name: {key: [v - 0.02, v + 0.02] for key in FIGURES} for name, v in values.items()},
            "macro": {key: [mean - 0.01, mean + 0.01] for key in FIGURES},
        },
    )


def record(row: Row, seed: int, base: float, *, minutes: float = 1.0, categories: int = 2) -> RowRecord:
    return RowRecord(
        key=f"{row.name}/{seed}",
        name=row.name,
        config=row.config.model_copy(update={"seed": seed}),
        data=DATA[:categories],
        trainings={c.name: "t" for c in DATA[:categories]},
        figures=figures(base, categories=categories),
        minutes=minutes,
        evaluation_minutes=0.5,
        parameters=1_234_567,
        gflops=2.5,
        evaluations=3,
        versions={},
    )


def reference(size: int, base: float) -> ReferenceRecord:
    return ReferenceRecord(
        key=str(size), size=size, backbone="b", data=DATA, models={"PaDiM": figures(base)}, minutes=1.0
    )


def plan(**fields: Any) -> Plan:
    return expand(Study.model_validate({"version": 1, "name": "made | up", **fields}))


def whole() -> Table:
    made = plan(grid=[GRID])
    rows = [(row, [record(row, 0, base)]) for row, base in zip(made.rows, (0.1, 0.3, 0.7, 0.5), strict=True)]
    return make_table(made, rows, [reference(64, 0.75), reference(128, 0.2)])


def test_markdown() -> None:
    text = to_markdown(whole()).splitlines()
    assert text[0] == "# made | up"
    assert text[2] == "4 of 4 rows measured. In brackets: 95 % bootstrap interval. Bold: best of its column."
    assert [line for line in text if line.startswith("##")] == ["## Mean of 2 categories", "## disc", "## plate"]
    head = text.index("## Mean of 2 categories") + 2
    assert text[head] == (
        "| row | alpha | size | AUPRO@0.3 | AUPRO@0.05 | pixel AUROC | image AUROC | evaluations | minutes "
        "| M parameters |"
    )
    assert text[head + 2] == "|  | 0 | 64 | 0.150 (0.140 to 0.160) | 0.150 | 0.150 | 0.150 | 3 | 1.0 | 1.23 |"
    assert text[head + 6] == (
        "| PaDiM | - | 64 | **0.800 (0.790 to 0.810)** | **0.800** | **0.800** | **0.800** | - | - | - |"
    )
    assert sum(line.count("**") for line in text) == 2 * 4 * 3
    disc = text.index("## disc") + 2
    assert text[disc + 2].startswith("|  | 0 | 64 | 0.100 (0.080 to 0.120) |")


def test_csv_loses_nothing() -> None:
    table = whole()
    read = list(csv.DictReader(io.StringIO(to_csv(table))))
    assert len(read) == 6 * 3
    for line in table.lines:
        for scope in ("macro", "disc", "plate"):
            (one,) = [r for r in read if (r["row"], r["scope"], r["size"]) == (line.name, scope, line.values[1])]
            assert one["kind"] == ("reference" if line.reference else "row")
            for figure in FIGURES:
                cell = line.cells[scope][figure]
                assert (float(one[figure]), float(one[f"{figure}_low"]), float(one[f"{figure}_high"])) == (
                    cell.value,
                    *(cell.ends or ()),
                )
    assert {r["parameters"] for r in read} == {"1234567", ""}


def test_json() -> None:
    made = whole().to_json()
    assert json.loads(json.dumps(made)) == json.loads(json.dumps(made, allow_nan=False))
    assert [row["values"] for row in made["rows"]][1] == {"alpha": "0", "size": "128"}
    assert made["rows"][2]["classes"]["plate"]["aupro_30"]["value"] == 0.1 + 0.7
    assert set(made["rows"][0]["macro"]) == set(FIGURES)
    assert [one["name"] for one in made["references"]] == ["PaDiM", "PaDiM"]


def test_seeds_are_averaged_and_spread() -> None:
    made = plan(grid=[{"score.alpha": [0.0, 0.5]}], seeds=[0, 1, 2])
    first, second = made.rows
    rows = [
        (first, [record(first, seed, base, minutes=m, categories=1) for seed, base, m in
                 ((0, 0.2, 1.0), (1, 0.6, 2.0), (2, 0.4, 6.0))]),
        (second, [record(second, 1, 0.5, categories=1)]),
    ]  # fmt: skip
    table = make_table(made, rows, [])
    assert (table.wanted, table.measured, table.spread) == (6, 4, "least and largest over seeds")
    cell = table.lines[0].cells["macro"]["pixel_auroc"]
    assert abs(cell.value - 0.4) < 1e-12
    assert cell.ends == (0.2, 0.6)
    assert (table.lines[0].minutes, table.lines[0].seeds) == (3.0, 3)
    text = to_markdown(table)
    assert "4 of 6 rows measured. Means over seeds 0, 1, 2." in text
    assert "| 0.400 (0.200 to 0.600) |" in text
    assert "| alpha=0.5 [1 of 3 seeds] | 0.5 | **0.500** |" in text
    # a single category is its own mean
    assert table.scopes == ("macro",)
    assert "##" not in text


def test_rows_that_are_not_there_yet() -> None:
    made = plan(row=[{"name": "a|b"}, {"name": "b", "size": 64}])
    table = make_table(made, [(made.rows[0], [record(made.rows[0], 0, 0.5)]), (made.rows[1], [])], [])
    assert [line.name for line in table.lines] == ["a|b"]
    assert "1 of 2 rows measured." in to_markdown(table)
    assert "| a\\|b | 256 | 0.550 (" in to_markdown(table)
    # one line alone is no best
    assert "**" not in to_markdown(table)
    empty = make_table(made, [(row, []) for row in made.rows], [])
    assert "0 of 2 rows measured." in to_markdown(empty)
    assert to_csv(empty).count("\n") == 1


def test_equal_as_printed_are_best_together() -> None:
    made = plan(grid=[{"score.alpha": [0.0, 0.5, 1.0]}])
    values = (0.50001, 0.50002, 0.49)
    table = make_table(made, [(r, [record(r, 0, v)]) for r, v in zip(made.rows, values, strict=True)], [])
    assert [table.is_best(line, "macro", "aupro_30") for line in table.lines] == [True, True, False]


def test_a_figure_that_is_undefined() -> None:
    made = plan(grid=[{"score.alpha": [0.0, 0.5]}])
    one, two = made.rows
    bare = Figures(classes={"disc": {"aupro_30": None}}, macro={"aupro_30": None, "image_auroc": 0.5})
    rows = [(one, [record(one, 0, 0.5).model_copy(update={"figures": bare})]), (two, [record(two, 0, 0.4)])]
    table = make_table(made, rows, [])
    assert "| 0 | - | - | - | **0.500** |" in to_markdown(table)
    assert not table.is_best(table.lines[0], "macro", "aupro_30")


def test_differences() -> None:
    made = plan(row=[{"name": "a"}, {"name": "b", "size": 64}], against="a")
    rows = [(row, [record(row, 0, base, categories=1)]) for row, base in zip(made.rows, (0.5, 0.25), strict=True)]
    lead = {"macro": {"aupro_30": (-0.25, -0.5, -0.125), "image_auroc": (0.0, -0.5, 0.5)}}
    table = make_table(made, rows, [reference(256, 0.1)], {("b", ""): lead, ("256", "PaDiM"): lead})
    text = to_markdown(table)
    assert "Minus 'a', image by image; bold: the interval leaves out zero." in text
    after = text[text.index("Minus") :].splitlines()[2:]
    assert after[0] == "| row | size | AUPRO@0.3 | AUPRO@0.05 | pixel AUROC | image AUROC |"
    assert after[2] == "| b | 64 | **-0.250 (-0.500 to -0.125)** | - | - | +0.000 (-0.500 to +0.500) |"
    assert after[3].startswith("| PaDiM | 256 | **-0.250")
    assert after[4] == ""
    found = {row["name"]: row["lead"] for row in table.to_json()["rows"]}
    assert found == {"a": {}, "b": {"macro": {name: list(one) for name, one in lead["macro"].items()}}}
    assert table.to_json()["against"] == "a"
    read = {row["row"]: row for row in csv.DictReader(io.StringIO(to_csv(table))) if row["scope"] == "macro"}
    assert [read["b"][f"aupro_30_lead{end}"] for end in ("", "_low", "_high")] == ["-0.25", "-0.5", "-0.125"]
    assert read["a"]["aupro_30_lead"] == read["b"]["pixel_ap_lead"] == ""
    # without a row to hold against there is nothing of it
    plain = to_csv(make_table(plan(row=[{"name": "a"}]), [], []))
    assert "lead" not in plain


def test_one_record_for_all_seeds() -> None:
    made = plan(row=[{"name": "teacher"}], seeds=[1, 2], teacher_seed=0)
    (row,) = made.rows
    same = record(row, 0, 0.5, categories=1)
    (line,) = make_table(made, [(row, [same, same])], []).lines
    assert (line.seeds, line.keys, line.cells["macro"]["aupro_30"].ends, line.minutes) == (2, ("teacher/0",), None, 1.0)
    assert line.shown == "teacher"
