"""`diffad-edge ablate`: one real row through the command line, what is said on the way, and what is refused."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from diffad_edge.cli import main
from diffad_edge.cli.ablateview import Watch, duration, row_line, show_ablation
from diffad_export import commands
from diffad_export.ablation.table import Cell, Line, Table
from diffad_runtime.errors import DiffadError
from diffad_runtime.synthetic import LineConfig, write_mvtec

STUDY = """
version: 1
name: tiny
confidence: false
base:
  size: 64
  teacher: {widths: [16, 32]}
  augment: {samples: 1}
  optimiser: {steps: 2, batch: 2, warmup_steps: 0}
  score: {chain_steps: [50], feature_score: residual}
row:
  - {name: first, score.alpha: 0.0}
  - {name: second, score.alpha: 0.5}
"""


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    monkeypatch.setattr(sys, "argv", ["diffad-edge", *map(str, arguments)])
    with pytest.raises(SystemExit) as leaving:
        main()
    return int(leaving.value.code or 0)


def line(name: str, value: float, ends: tuple[float, float] | None = None, **fields: Any) -> Line:
    cells = {"macro": {key: Cell(value, ends) for key in ("aupro_30", "aupro_05", "pixel_auroc", "image_auroc")}}
    return Line(name, name, ("0.5",), cells, 1, 12.34, 6_400_000, 3.5, ("k",), **fields)


def summary(*lines: Line, **fields: Any) -> Any:
    table = Table("tiny", ("alpha",), ("macro",), lines, 3, len(lines), (0,), "95 % bootstrap interval")
    return SimpleNamespace(table=table, out=Path("out"), failures=(), **fields)


def test_a_study_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("yaml")
    data = write_mvtec(tmp_path / "line", LineConfig(size=64), train_good=8, test_good=1, test_per_kind=1)
    (tmp_path / "study.yaml").write_text(STUDY)
    ablate = ("ablate", tmp_path / "study.yaml", "--data", data, "--out", tmp_path / "out")
    assert run(monkeypatch, *ablate, "--only", "sec*", "--json") == 0
    said = capsys.readouterr()
    found = json.loads(said.out.splitlines()[-1])
    assert [row["name"] for row in found["rows"]] == ["second"]
    assert (found["trained"], found["measured"], found["wanted"]) == (1, 1, 2)
    assert set(found["rows"][0]["macro"]["aupro_30"]) == {"value", "ends"}
    assert "row 1/1: alpha 0.5\n" in said.err
    assert Path(found["table"]).read_text().startswith("# tiny\n")

    assert run(monkeypatch, *ablate) == 0
    said = capsys.readouterr()
    assert "row 1/2: alpha 0; about half a minute left" in said.err
    assert "tiny: 2 of 2 rows" in said.out
    assert "first" in said.out


def test_ctrl_c_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(**_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "ablate", interrupted)
    arguments = ("ablate", "a study.toml", "--data", "d", "--out", "o", "--only", "size=*")
    assert run(monkeypatch, *arguments) == 130
    said = capsys.readouterr().err.splitlines()
    assert said[0].endswith("Go on with: diffad-edge ablate 'a study.toml' --data d --out o --only 'size=*'")
    assert said[1] == "interrupted"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("version: 1\nname: x\nbase: {sise: 1}\n", "base: unknown key 'sise'. Allowed: size, backbone"),
        ("version: 1\nname: x\ngrid: [{size: [63]}]\n", "grid 1: size: "),
        ("version: [", "is not valid YAML"),
    ],
)
def test_a_wrong_study(
    content: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("yaml")
    (tmp_path / "study.yaml").write_text(content)
    assert run(monkeypatch, "ablate", tmp_path / "study.yaml", "--data", tmp_path, "--out", tmp_path / "out") == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert said.err.startswith(f"error: {tmp_path / 'study.yaml'}")
    assert words in said.err


def test_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    show_ablation(summary(line("[bold]a", 0.5, (0.41, 0.62)), line("b", 0.75)), json=False)
    said = capsys.readouterr().out
    assert "[bold]a" in said
    assert "*0.750" in said
    assert said.count(".410-.620") == 1
    assert "12.3" in said
    assert "6.4" in said
    assert "table: out/table.md" in said


def test_differences_in_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    sure = {"macro": {"aupro_30": (0.125, 0.0625, 0.25), "pixel_auroc": (0.0, -0.5, 0.5)}}
    made = summary(line("a", 0.5), line("b", 0.75, evaluations=3, lead=sure))
    made.table = replace(made.table, against="a")
    show_ablation(made, json=False)
    first, second = capsys.readouterr().out.split("minus 'a', image by image")
    assert "calls" in first
    assert " 3 " in first
    assert second.split()[second.split().index("b") :][:5] == ["b", "0.5", "*+.125", "-", "+.000"]
    assert "*: the 95 % interval leaves out zero" in second
    # without a row to hold against, the size of networks instead
    show_ablation(summary(line("a", 0.5)), json=False)
    assert "param." in capsys.readouterr().out


def test_a_failed_row_fails_the_command_after_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    made = summary(line("a", 0.5))
    made.failures = (("wild", "loss became nan"), ("worse", "x"))
    with pytest.raises(DiffadError, match="2 rows failed; the first, 'wild': loss became nan"):
        show_ablation(made, json=False)
    assert "0.500" in capsys.readouterr().out


def begins(**fields: Any) -> Any:
    values = {"number": 3, "total": 12, "name": "third", "values": (), "seed": None, "minutes_left": None}
    return SimpleNamespace(**{**values, **fields})


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "row 3/12: third"),
        ({"values": (("alpha", "0.5"), ("strides", "8+16"))}, "row 3/12: alpha 0.5, strides 8+16"),
        ({"seed": 2, "minutes_left": 80.4}, "row 3/12: third, seed 2; about 1 h 20 min left"),
    ],
)
def test_what_a_row_is_announced_with(fields: dict[str, Any], words: str) -> None:
    assert row_line(begins(**fields)) == words


@pytest.mark.parametrize(
    ("minutes", "words"),
    [
        (0.1, "half a minute"),
        (0.8, "a minute"),
        (1.0, "1 min"),
        (59.4, "59 min"),
        (59.6, "1 h 0 min"),
        (125, "2 h 5 min"),
    ],
)
def test_durations(minutes: float, words: str) -> None:
    assert duration(minutes) == words


def test_parts_are_announced_again_for_every_row(capsys: pytest.CaptureFixture[str]) -> None:
    with Watch() as watch:
        for number in (1, 2):
            watch.row(begins(number=number))
            watch.part("Scoring", 0, 2)
            watch.part("Scoring", 1, 2)
    assert capsys.readouterr().err.splitlines() == ["row 1/12: third", "Scoring", "row 2/12: third", "Scoring"]
