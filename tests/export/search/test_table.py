"""What a search says of its candidates, and of the nearest misses."""

import json
from dataclasses import replace

from diffad_export.search.candidates import Candidate, Shape
from diffad_export.search.pareto import Limits, Row
from diffad_export.search.stopwatch import Timing
from diffad_export.search.table import below_the_floor, nothing_fits, table_of

LIMITS = Limits(budget_ms=10, max_drop=0.005, teacher=0.9)


def row(width: int, p50: float | None, aupro: float | None = None, refused: str = "") -> Row:
    own = Candidate(Shape(1, width), "int8")
    p95 = None if p50 is None else p50 + 1
    return Row(own, 0.1 * width, 2.0 * width, p50, p95, aupro=aupro, torch_aupro=aupro, refused=refused)


def test_the_table_is_plain_and_the_fastest_comes_first() -> None:
    rows = [row(64, None), row(48, 12.0), row(32, 9.0, 0.899), row(16, 8.0, 0.7, "parity: far off")]
    made = table_of(rows, LIMITS, draws=2, measured_on="a machine", judged=True)
    assert json.loads(json.dumps(made, allow_nan=False)) == made
    assert (made["budget_ms"], made["max_aupro_drop"], made["teacher_aupro_30"]) == (10, 0.005, 0.9)
    found = made["candidates"]
    assert [one["width"] for one in found] == [16, 32, 48, 64]
    assert [one["verdict"] for one in found] == ["failed gate", "chosen", "too slow", "estimated too slow"]
    assert found[0]["why"] == "parity: far off"
    assert found[1]["latency_ms"] == {"p50": 9.0, "p95": 10.0}
    assert (found[1]["drop"], found[1]["evaluations"]) == (0.001, 2)
    assert (found[3]["latency_ms"], found[3]["estimate_ms"], found[3]["aupro_30"]) == (None, 128.0, None)


def test_without_a_training_nothing_is_said_of_the_teacher() -> None:
    made = table_of([row(8, 12.0)], LIMITS, draws=1, measured_on="", judged=False)
    assert made["teacher_aupro_30"] is None


def test_all_are_too_slow() -> None:
    error = nothing_fits([row(8, 10.26), row(16, 14.0), row(64, None)], LIMITS)
    assert error.exit_code == 3
    assert "fastest is 1 step x width 8, int8 with 10.26 ms and not trained" in error.what
    assert error.mend.startswith("Give --budget-ms 10.3 or more")


def test_trained_graphs_that_are_slower_than_the_others_overrule_them() -> None:
    slow = replace(row(16, 8.0, 0.899), confirmed=11.0)
    (one,) = table_of([slow], LIMITS, draws=1, measured_on="", judged=True)["candidates"]
    assert (one["verdict"], one["why"], one["trained_ms"]) == ("too slow", "its trained graphs take 11.00 ms", 11.0)
    assert nothing_fits([slow], LIMITS).mend.startswith("Give --budget-ms 11.1 or more")
    quick = replace(slow, confirmed=9.0)
    (one,) = table_of([quick], LIMITS, draws=1, measured_on="", judged=True)["candidates"]
    assert (one["verdict"], one["latency_ms"]["p50"], one["trained_ms"]) == ("chosen", 8.0, 9.0)


def test_all_are_too_inaccurate() -> None:
    error = nothing_fits([row(8, 6.0, 0.8), row(16, 8.0, 0.87313), row(64, 14.0)], LIMITS)
    assert "teacher's 0.9000; fastest is 1 step x width 8, int8 with 6.00 ms and a drop of 0.1000; " in error.what
    assert "most accurate is 1 step x width 16, int8 with 8.00 ms and a drop of 0.0269" in error.what
    assert error.mend.startswith("Give --max-aupro-drop 0.0269 or more")


def test_what_is_advised_is_enough() -> None:
    for drop in (0.01234, 0.01235, 0.01239, 0.0124):
        error = nothing_fits([row(8, 6.0, 0.9 - drop)], LIMITS)
        advised = float(error.mend.split()[2])
        assert drop <= advised + 1e-12
        assert advised - drop < 2e-4


def test_a_gate_that_refused_is_named() -> None:
    error = nothing_fits([row(8, 6.0, 0.9, "int8 parity: map_max of frame 3 differs")], LIMITS)
    assert "1 step x width 8, int8 failed a gate: int8 parity: map_max of frame 3 differs" in error.what


def test_a_budget_that_no_student_can_keep() -> None:
    timings = [
        ("1 step x width 8, fp32", Timing(p50=9.0, p95=10, around=7.0, rounds=3)),
        ("1 step x width 8, int8", Timing(p50=6.01, p95=8, around=5.0, rounds=3)),
    ]
    error = below_the_floor(Limits(4.0, 0.005, 0.0), timings)
    assert error.exit_code == 3
    assert (
        "a budget of 4 ms is below what extractor, image score and mask take without any student: 5.00 ms" in error.what
    )
    assert "Give --budget-ms 6.1 or more (1 step x width 8, int8 takes 6.01 ms)" in error.mend
