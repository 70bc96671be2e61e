"""`estimate` on the command line: what it prints, that it says everywhere what it is, and what it leaves with."""

import json
from importlib import import_module
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from diffad_calibration.roofline import estimate_bundle
from diffad_edge.cli import workstation
from diffad_edge.cli.app import app
from diffad_edge.cli.estimateview import show_estimate
from diffad_edge.cli.workstation import reading_graphs
from diffad_runtime.bundle import open_bundle
from diffad_runtime.errors import MissingExtraError


def estimate(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["estimate", *map(str, arguments)])


def lines(result: Result) -> list[str]:
    return [" ".join(line.split()) for line in result.stdout.splitlines()]


def test_one_board(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    done = estimate(tiny_bundle, "--board", "orin-nano-8gb")
    assert done.exit_code == 0, done.output
    shown = lines(done)
    assert shown[0].startswith("ESTIMATE, nothing here is measured")
    text = " ".join(shown)
    for said in (
        "FP16 10 to 35 %",
        "INT8 8 to 25 %",
        "3 to 10 microseconds",
        "'diffad-edge bench' on the board",
        "resize",
    ):
        assert said in text
    titles = [line for line in shown if "variant fp32" in line or "slowest" in line or line.endswith("memory")]
    assert len(titles) == 3
    assert all(title.startswith("ESTIMATE") for title in titles)
    rows = {line.split()[0]: line.split() for line in shown if line.startswith(("extractor", "reconstructor", "both"))}
    assert list(rows) == ["extractor", "reconstructor", "both"]
    kernels = [int(row[3]) for row in rows.values()]
    assert kernels[2] == kernels[0] + kernels[1]
    assert rows["both"][-1].endswith("%")
    low, high = (float(part) for part in rows["both"][4].split("-"))
    assert 0 < low < high
    assert any(line.endswith("fits") for line in shown)


def test_several_boards_and_no_layers_unless_asked_for(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    shown = lines(estimate(tiny_bundle, "--board", "orin-nano-8gb,orin-nx-16gb", "--board", "thor-t5000"))
    assert [line for line in shown if line in {"orin-nano-8gb", "orin-nx-16gb", "thor-t5000"}] == [
        "orin-nano-8gb",
        "orin-nx-16gb",
        "thor-t5000",
    ]
    assert not any("slowest" in line for line in shown)
    shown = lines(estimate(tiny_bundle, "--board", "all", "--layers", "2"))
    assert sum("slowest" in line for line in shown) == 6


def test_json(tiny_bundle: Path) -> None:
    done = estimate(tiny_bundle, "--board", "orin-nano-8gb", "--layers", "3", "--json")
    record = json.loads(done.stdout.splitlines()[-1])
    assert record["estimate"] is True
    variant = record["boards"]["orin-nano-8gb"]["variants"]["fp32"]
    assert variant["estimate"] is True
    assert len(variant["slowest_layers"]) == 3
    assert variant["ms"]["low"] < variant["ms"]["high"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--board", "tx2"), "unknown board 'tx2'. Name one of orin-nano-8gb, orin-nano-8gb-super"),
        (("--board", ","), "no board to estimate for"),
        (("--board", "all", "--variant", "second"), "variant 'second' is made for cpu"),
        (("--board", "all", "--variant", "nine"), "no variant 'nine'"),
    ],
)
def test_wrong_use_leaves_with_2(tiny_bundle: Path, arguments: tuple[str, ...], words: str) -> None:
    done = estimate(tiny_bundle, *arguments)
    assert done.exit_code == 2
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_board_must_be_named(tiny_bundle: Path) -> None:
    done = estimate(tiny_bundle)
    assert done.exit_code == 2
    assert "--board" in done.stderr


def test_operators_that_are_guessed_are_named(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("diffad_calibration.roofline.work.is_guessed", lambda node: node.op_type == "AveragePool")
    show_estimate(estimate_bundle(open_bundle(tiny_bundle), ["orin-nano-8gb"]), 0)
    assert "counted as one a value: AveragePool" in capsys.readouterr().out


@pytest.mark.parametrize(("missing", "package"), [("onnx.helper", "onnx"), (None, "onnx"), ("numpy", "numpy")])
def test_a_missing_package_is_said_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, missing: str | None, package: str
) -> None:
    def fail(_: str) -> None:
        raise ImportError("gone", name=missing)

    monkeypatch.setattr(workstation, "import_module", fail)
    with pytest.raises(MissingExtraError, match=rf"profiling needs the package '{package}'.*diffad-edge\[export\]"):
        reading_graphs("diffad_calibration.profile", "profile_bundle", "profiling")


def test_a_fault_of_ours_is_not_a_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: str) -> None:
        raise ImportError("gone", name="diffad_calibration.nothing")

    monkeypatch.setattr(workstation, "import_module", fail)
    with pytest.raises(ImportError, match="gone"):
        reading_graphs("diffad_calibration.profile", "profile_bundle", "profiling")


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("diffad_calibration.profile", "profile_bundle"),
        ("diffad_calibration.bundlelint", "lint_bundle"),
        ("diffad_calibration.roofline", "estimate_bundle"),
    ],
)
def test_what_commands_ask_for_is_there(module: str, name: str) -> None:
    assert reading_graphs(module, name, "work") is getattr(import_module(module), name)
