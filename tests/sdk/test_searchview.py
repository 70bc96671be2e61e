"""What a search prints: while it works, at its end, where nothing fits, and what `inspect` makes of it."""

import json
from typing import Any

import pytest

from diffad_edge.cli.export import _numbers
from diffad_edge.cli.searchview import Watch, is_search, search_in_words, search_table, show_search

typer = pytest.importorskip("typer")

SEARCH: dict[str, Any] = {
    "budget_ms": 10.0,
    "max_aupro_drop": 0.005,
    "teacher_aupro_30": 0.91,
    "covers": "median of one frame",
    "measured_on": "[bold] CPU, 2 threads",
    "disturbed": 0.031,
    "judged_on": "pasted defects",
    "candidates": [
        {
            "steps": 1, "width": 24, "precision": "int8", "evaluations": 1, "gmacs": 0.2, "estimate_ms": 7.5,
            "latency_ms": {"p50": 7.914, "p95": 9.0}, "aupro_30": 0.9071, "drop": 0.0029, "verdict": "chosen",
            "why": "",
        },
        {
            "steps": 4, "width": 64, "precision": "fp32", "evaluations": 4, "gmacs": 7.0, "estimate_ms": 61.23,
            "latency_ms": None, "aupro_30": None, "drop": None, "verdict": "estimated too slow", "why": "",
        },
    ],
}  # fmt: skip


def cells(search: dict[str, Any]) -> list[list[str]]:
    columns = [[str(cell) for cell in column._cells] for column in search_table(search).columns]
    return [list(row) for row in zip(*columns, strict=True)]


def test_one_row_a_candidate() -> None:
    assert cells(SEARCH) == [
        ["1", "24", "int8", "7.91", "9.00", "0.9071", "0.0029", "chosen"],
        ["4", "64", "fp32", "~61.2", "-", "-", "-", "estimated too slow"],
    ]
    failed = SEARCH | {"candidates": [SEARCH["candidates"][0] | {"verdict": "failed gate", "why": "parity"}]}
    assert cells(failed)[0][-1] == "failed gate"
    assert search_in_words(failed)[-1] == "1 x 24 int8: parity"


def test_it_says_what_the_figures_are_of(capsys: pytest.CaptureFixture[str]) -> None:
    show_search(SEARCH)
    printed = capsys.readouterr().out
    assert "Candidates for 10 ms and a drop of 0.005" in printed
    assert "latency: median of one frame; [bold] CPU, 2 threads" in printed
    assert "other processes took at worst 3% of the time of a timing" in printed
    assert "AUPRO@0.3: pasted defects; the teacher has 0.9100" in printed


@pytest.mark.parametrize(
    "other",
    [
        None,
        "text",
        {},
        {key: value for key, value in SEARCH.items() if key != "covers"},
        SEARCH | {"candidates": "none"},
        SEARCH | {"candidates": [{"steps": 1}]},
        SEARCH | {"candidates": [None]},
    ],
)
def test_another_form_is_left_to_the_provenance(other: object) -> None:
    assert is_search(SEARCH)
    assert not is_search(other)


def test_where_nothing_fits_all_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with Watch(json=True) as watch:
        watch.table(SEARCH)
    assert json.loads(capsys.readouterr().out)["search"] == SEARCH
    with Watch(json=False) as watch:
        watch.table(SEARCH)
    assert "~61.2" in capsys.readouterr().out


def interrupted(*, searching: bool) -> None:
    with Watch(json=False) as watch:
        if searching:
            watch.say("student 1 step x width 8")
            watch.rounds(1, 3)
        raise KeyboardInterrupt


def test_ctrl_c_says_how_to_go_on(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["diffad-edge", "export", "my run", "--budget-ms", "10"])
    with pytest.raises(KeyboardInterrupt):
        interrupted(searching=True)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "student 1 step x width 8"
    assert lines[-1].endswith("Go on with: diffad-edge export 'my run' --budget-ms 10")
    # an export without a search has nothing of the kind to say
    with pytest.raises(KeyboardInterrupt):
        interrupted(searching=False)
    assert capsys.readouterr().err == ""


def test_numbers_by_comma() -> None:
    assert [_numbers(text) for text in (None, "24", "24, 32")] == [None, (24,), (24, 32)]
    for wrong in ("", "24,", "x", "1.5", "-1"):
        with pytest.raises(typer.BadParameter, match="whole numbers by comma"):
            _numbers(wrong)
