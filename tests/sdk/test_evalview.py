"""What `eval` prints, and how it finds out what it is asked to measure."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffad_calibration.dataset import Dataset
from diffad_calibration.evaluation import ClassResult, EvalOutcome, Evaluation, Lineup, Scored, VariantFacts
from diffad_calibration.metrics import FIGURES, Bootstrap, ClassMetrics
from diffad_edge.cli import evaluate
from diffad_edge.cli.evalview import show_evaluation
from diffad_runtime.errors import InputError


def scored(value: float | None, seed: int, *, sure: bool) -> Scored:
    metrics = ClassMetrics(value, value, value, value, value, None, value, 12)
    if not sure:
        return Scored(metrics, np.zeros(12))
    replicates = {name: (value or 0) + np.random.default_rng(seed).normal(0, 0.02, 100) for name in FIGURES}
    return Scored(metrics, np.zeros(12), intervals={"aupro_30": (0.7, 0.7468)}, replicates=replicates)


def evaluation(classes: int, *, sure: bool = True) -> Evaluation:
    results = [
        ClassResult(
            f"[red] {number}",
            np.zeros(12, np.int64),
            ["good"] * 12,
            [str(i) for i in range(12)],
            {"student": scored(0.75, 2 * number, sure=sure), "PaDiM": scored(0.5, 2 * number + 1, sure=sure)},
        )
        for number in range(classes)
    ]
    return Evaluation(256, "student", results, Bootstrap(resamples=100) if sure else None)


def printed(one: Evaluation, capsys: pytest.CaptureFixture[str], *, report: Path | None = None) -> str:
    show_evaluation(EvalOutcome(one, report), json=False)
    out: str = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80 or report
    return out


def test_figures_stand_above_half_their_interval(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(evaluation(1), capsys).splitlines()
    row = next(number for number, line in enumerate(lines) if line.strip().startswith("student"))
    assert lines[row].split() == ["student", *["0.750"] * 5, "-", "0.750"]
    assert lines[row + 1].split() == ["±.023"]
    assert any("95 % bootstrap interval over images, 100 resamples" in line for line in lines)
    assert "[red] 0: 12 test images at 256 px" in lines[0]
    assert not any("mean of" in line for line in lines)


def test_the_lead_over_each_other_model(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(evaluation(1), capsys)
    lead = text[text.index("student minus the others") :].splitlines()
    row = next(number for number, line in enumerate(lead) if line.strip().startswith("PaDiM"))
    assert lead[row].split() == ["PaDiM", "+0.250", "+0.250", "+0.250"]
    low, _, high = lead[row + 1].split()[:3]
    assert float(low) < 0.25 < float(high)


def test_several_categories_have_a_mean(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    text = printed(evaluation(3), capsys, report=tmp_path)
    assert text.count("test images at 256 px") == 3
    assert "mean of 3 categories, 36 test images" in text
    assert f"report: {tmp_path}" in text


def test_without_intervals_nothing_is_said_about_them(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(evaluation(2, sure=False), capsys)
    assert "±" not in text
    assert "minus" not in text
    assert "mean of 2 categories" in text


def test_variants_stand_beside_each_other_to_the_fourth_digit(capsys: pytest.CaptureFixture[str]) -> None:
    one = evaluation(2, sure=False)
    for result in one.classes:
        for name, high, megabytes in (("student", 5, 14.25), ("student int8-fp16-trt", 3, 4.5)):
            scores = np.concatenate([np.zeros(12 - high), np.full(high, 9.0)])
            facts = VariantFacts(megabytes, "student")
            result.models[name] = Scored(result.models["student"].metrics, scores, threshold=2.0, variant=facts)
    text = printed(one, capsys)
    table = text[text.index("variants; decision flips against student") :].splitlines()
    rows = {line.split("  ")[0].strip(): line.split()[-7:] for line in table if line.strip().startswith("student")}
    assert rows["student"][-7:] == ["0.7500", "0.7500", "0.7500", "0", "of", "24", "14.2"]
    assert rows["student int8-fp16-trt"] == ["0.7500", "0.7500", "0.7500", "4", "of", "24", "4.5"]
    assert "PaDiM" not in "".join(table)
    del one.classes[0].models["student int8-fp16-trt"], one.classes[1].models["student int8-fp16-trt"]
    assert "variants" not in printed(one, capsys)


def test_json_holds_every_promised_key(capsys: pytest.CaptureFixture[str]) -> None:
    show_evaluation(EvalOutcome(evaluation(2), None), json=True)
    record = json.loads(capsys.readouterr().out)
    assert record["report"] is None
    assert list(record["classes"]) == ["[red] 0", "[red] 1"]
    assert record["macro"].keys() == {*FIGURES, "images"}
    assert record["intervals"]["classes"]["[red] 0"] == {"aupro_30": [0.7, 0.7468]}


def test_a_run_folder_is_measured_by_the_workstation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, Path]] = []

    def workstation(name: str, _purpose: str) -> Callable[[Path], Any]:
        def call(path: Path) -> Lineup:
            asked.append((name, path))
            return Lineup("teacher", 64, lambda _: [])

        return call

    monkeypatch.setattr(evaluate, "workstation", workstation)
    assert evaluate.open_lineup(tmp_path, None, backend="auto", threads=None).title == "teacher"
    assert asked == [("run_lineup", tmp_path)]
    with pytest.raises(InputError, match=r"is a run folder, its own teacher is measured\. Leave out --teacher"):
        evaluate.open_lineup(tmp_path, tmp_path, backend="auto", threads=None)
    with pytest.raises(InputError, match=r"is a run folder, it has no variants\. Leave out --variant"):
        evaluate.open_lineup(tmp_path, None, ["fp32"], backend="auto", threads=None)


def test_named_variants_of_a_bundle(tiny_bundle: Path) -> None:
    lineup = evaluate.open_lineup(tiny_bundle, None, ["second", "fp32"], backend="auto", threads=1)
    dataset = Dataset(tiny_bundle, "parts", [], [], "plain")
    assert [one.name for one in lineup.contestants(dataset)] == ["student second", "student fp32"]
    lineup.close()


def test_eval_on_the_command_line(tiny_bundle: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "diffad_edge", "eval", str(tiny_bundle), "--data", str(tmp_path), "--no-confidence"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(f"error: {tmp_path} holds no images")
    assert done.stderr.count("\n") == 1
