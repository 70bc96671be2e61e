"""What commands print, part by part, without a process of their own."""

import io
import json
import math
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest
import typer

from diffad_edge.cli import main
from diffad_edge.cli.arguments import frame_size_of
from diffad_edge.cli.benchview import ratio
from diffad_edge.cli.bundleview import flat, parity_rows
from diffad_edge.cli.doctorview import show_findings
from diffad_edge.cli.output import print_json, size
from diffad_edge.cli.runview import Worst, exit_code
from diffad_edge.cli.sensitivityview import layer_tables
from diffad_edge.cli.sinks import open_sinks
from diffad_edge.cli.status import StatusLine
from diffad_edge.cli.workstation import workstation
from diffad_runtime.bench import Timing
from diffad_runtime.delivery import SinkFault
from diffad_runtime.doctor import Finding
from diffad_runtime.errors import GateError, InputError, MissingExtraError
from diffad_runtime.result import Frame, Result, Verdict
from diffad_runtime.tally import RunSummary


def result(score: float, verdict: Verdict = Verdict.OK, frame_id: int = 0, total_ms: float = 10.0) -> Result:
    return Result(
        frame_id=frame_id,
        t_capture=datetime(2026, 1, 1, tzinfo=timezone.utc),
        score=score,
        verdict=verdict,
        mask=np.zeros((2, 2), np.uint8),
        anomaly_map=np.zeros((2, 2), np.float32),
        latency_ms={"total": total_ms},
        bundle_digest="",
        variant="fp32",
        backend="fake",
        image_threshold=1.0,
        pixel_threshold=1.0,
        name=f"{frame_id}.png",
    )


def summary(
    *, errors: int = 0, problems: tuple[str, ...] = (), faults: tuple[SinkFault, ...] = (), interrupted: bool = False
) -> RunSummary:
    return RunSummary(
        frames=1,
        ng=0,
        errors=errors,
        dropped=0,
        seconds=1.0,
        frames_per_second=1.0,
        latency_ms={"p50": 1.0, "p95": 1.0, "p99": 1.0},
        stages={},
        sink_faults=list(faults),
        problems=list(problems),
        interrupted=interrupted,
    )


def test_exit_codes_of_a_run() -> None:
    assert exit_code(summary(), live=True) == exit_code(summary(), live=False) == 0
    assert exit_code(summary(interrupted=True), live=True) == 0
    assert exit_code(summary(interrupted=True), live=False) == 130
    assert exit_code(summary(errors=1), live=True) == 1
    assert exit_code(summary(problems=("a.png",), interrupted=True), live=False) == 1
    assert exit_code(summary(faults=(SinkFault("masks", 1, "disk full"),)), live=True) == 1


def test_worst_keeps_the_highest_scores_in_order() -> None:
    worst = Worst(keep=2)
    frame = Frame(np.zeros((2, 2, 3), np.uint8), 0, 0.0, datetime.now(timezone.utc))
    for frame_id, score in enumerate([1.0, 5.0, math.nan, 5.0, 3.0]):
        worst.write(frame, result(score, frame_id=frame_id))
    assert [(name, score) for name, _, score in worst.rows()] == [("1.png", 5.0), ("3.png", 5.0)]


def test_status_line_counts_over_a_window_of_two_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    now = -3.0
    status = StatusLine(total=100, clock=lambda: now)
    for number in range(60):
        # the first frame came long before the rest, which ran at 10 FPS
        now = number * 0.1 + (0 if number else -3)
        verdict = Verdict.ERROR if number == 3 else Verdict.NG if number % 10 == 0 else Verdict.OK
        status.update(result(1.0, verdict))
    words = status.line()
    assert words.startswith("60/100 frames   NG 6   ERROR 1   10.0 FPS   4 s left   p95 10.")
    # not a terminal: one plain line, five seconds after the start
    printed = capsys.readouterr().err.splitlines()
    assert len(printed) == 1
    assert printed[0].startswith("21/100 frames NG 3")


def test_status_line_before_the_first_frame() -> None:
    assert StatusLine().line() == "0 frames   NG 0"


@pytest.mark.parametrize(("text", "expected"), [("1920x1080", (1080, 1920)), ("64X32", (32, 64)), ("input", None)])
def test_frame_size_is_width_first(text: str, expected: tuple[int, int] | None) -> None:
    assert frame_size_of(text) == expected


@pytest.mark.parametrize("text", ["", "x", "64", "0x10", "10x-1", "64x32x3", "20000x1"])
def test_frame_sizes_that_are_none(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="WIDTHxHEIGHT"):
        frame_size_of(text)


def test_ratio_says_which_way() -> None:
    def timing(p50: float) -> Timing:
        return Timing("onnxruntime", "v", 1.0, {"total": {"p50": p50, "p95": p50, "p99": p50}})

    reference = timing(2.0)
    assert ratio(reference, reference) == "1x"
    assert ratio(timing(5.0), reference) == "2.50x slower"
    assert ratio(timing(0.5), reference) == "4.00x faster"


def test_json_is_one_strict_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"a": math.nan, "b": [math.inf, {"c": (1.5, "x\ny")}]})
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1
    assert json.loads(printed) == {"a": None, "b": [None, {"c": [1.5, "x\ny"]}]}


def test_sizes_in_words() -> None:
    assert [size(count) for count in (999, 1500, 2_500_000, 3e9)] == ["999 B", "1.5 KB", "2.5 MB", "3.0 GB"]


def test_parity_rows_of_both_forms() -> None:
    record = {"map_max": 0.01, "map_mean": 1e-4, "score_max": 0.002, "flips": 0, "frames": [{}, {}]}
    expected = [["int8", "0.01", "0.0001", "0.002", "0", "2"]]
    assert list(parity_rows({"int8": record})) == expected
    assert list(parity_rows({"variants": {"int8": record}, "spread": 1.0})) == expected
    assert list(parity_rows({"note": "none"})) == list(parity_rows({})) == []


def test_layer_tables_show_the_worst_and_pass_over_what_they_do_not_know() -> None:
    def effect(node: str, noise: float) -> dict[str, object]:
        figures = {"sqnr_db": 30.0, "map_noise": noise, "aupro_drop": -0.001}
        return {"graph": "extractor", "node": node, "weight": f"{node}.w", **figures}

    layers = {"int8": [effect(f"n{i}", 1 / (i + 1)) for i in range(7)], "other": [{"graph": 1}], "odd": "text"}
    kept = {"int8": {"extractor": ["n0"], "reconstructor": 3}}
    (shown,) = layer_tables({"layers": layers, "kept_out_of_int8": kept})
    columns = [[str(cell) for cell in column.cells] for column in shown.columns]
    assert columns[1] == [f"n{i}.w" for i in range(5)]
    assert columns[3] == ["1.000", "0.500", "0.333", "0.250", "0.200"]
    assert columns[5] == ["kept out", "", "", "", ""]
    assert "of 7 layers" in str(shown.title)
    assert list(layer_tables({"layers": layers, "kept_out_of_int8": "odd"}))
    assert list(layer_tables({})) == list(layer_tables({"layers": 3})) == []


def test_provenance_is_flat() -> None:
    assert list(flat({"a": {"b": 1, "c": {}}, "d": [1, 2]})) == ["a.b: 1", "a.c: {}", "d: [1, 2]"]


def test_findings_show_the_mend_where_one_is_due(capsys: pytest.CaptureFixture[str]) -> None:
    show_findings([Finding("python", "ok", "3.11", "unneeded"), Finding("disk", "fail", "full", "Make room")])
    printed = capsys.readouterr().out
    assert "Make room" in printed
    assert "unneeded" not in printed
    assert "1 of 2 must be mended" in printed


def test_sinks_opened_before_a_bad_one_are_closed_again(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="gif"):
        open_sinks(results=tmp_path / "r.jsonl", overlay=tmp_path / "o.gif")
    # an open file would warn when collected, and warnings are errors
    assert (tmp_path / "r.jsonl").read_text() == ""


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (GateError("INT8 lost 0.02 AUPRO, at most 0.005 allowed", mend="Lower the gate"), 3, "error: INT8 lost"),
        (MissingExtraError("torch", extra="export", purpose="training"), 1, "error: training needs"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_errors_leave_as_one_line_with_their_code(
    error: BaseException, code: int, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr("diffad_runtime.doctor.examine", fail)
    monkeypatch.setattr("sys.argv", ["diffad-edge", "doctor"])
    with pytest.raises(SystemExit) as leaving:
        main()
    assert leaving.value.code == code
    printed = capsys.readouterr().err
    assert printed.startswith(line)
    assert printed.count("\n") == 1


def test_a_fault_of_ours_is_not_called_a_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: str) -> None:
        raise ImportError("cannot import name 'x' from 'diffad_export.networks'", name="diffad_export.networks")

    monkeypatch.setattr("diffad_edge.cli.workstation.import_module", broken)
    with pytest.raises(ImportError, match="networks"):
        workstation("train", "training")


def test_long_error_lines_are_not_wrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr("sys.stderr", screen)
    path = "/very/long/[bold]/path/" * 20

    def fail() -> None:
        raise InputError(f"image {path} is empty", mend="Replace it")

    monkeypatch.setattr("diffad_runtime.doctor.examine", fail)
    monkeypatch.setattr("sys.argv", ["diffad-edge", "doctor"])
    with pytest.raises(SystemExit):
        main()
    assert screen.getvalue() == f"error: image {path} is empty. Replace it.\n"
