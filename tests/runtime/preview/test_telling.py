"""Words and figures of the page: what comes from outside, what is no number, and what is worth an alert."""

import json
import math
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffad_runtime.line.job import AdapterStatus
from diffad_runtime.preview import About, telling
from diffad_runtime.preview.sink import Mark
from diffad_runtime.result import ErrorCode, RegionScore, Result, SourceState, Verdict
from diffad_runtime.sinks.status import SinkStatus
from diffad_runtime.snapshot import Snapshot

Snap = Callable[..., Snapshot]
AWAY = AdapterStatus("mqtt", connected=False, sent=7, waiting=5, lost=1, last_error="broker gone")


@settings(deadline=None)
@given(st.text(max_size=400))
def test_text_is_one_short_printable_line(given_text: str) -> None:
    shown = telling.text(given_text)
    assert len(shown) <= 200
    assert shown.isprintable()
    if given_text.isprintable() and len(given_text) <= 200:
        assert shown == given_text
    json.dumps(shown).encode()


def test_signs_that_turn_text_around_are_not_shown() -> None:
    assert telling.text("a\u202eb\nc\x00\ud800") == "a\ufffdb\ufffdc\ufffd\ufffd"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (59.9, "59 s"), (60, "1 min 0 s"), (3599, "59 min 59 s"), (7400, "2 h 3 min"), (90000, "1 d 1 h")],
)
def test_durations(seconds: float, words: str) -> None:
    assert telling.duration(seconds) == words


def test_counts_and_figures() -> None:
    assert telling.count(1234567) == "1\u202f234\u202f567"
    assert telling.figure(0.123456789) == 0.12346
    assert [telling.figure(value) for value in (math.nan, math.inf, -math.inf)] == [None, None, None]


def result(**changes: Any) -> Result:
    fields: dict[str, Any] = {
        "frame_id": 7,
        "t_capture": datetime(2026, 1, 1, tzinfo=timezone.utc),
        "score": math.nan,
        "verdict": Verdict.ERROR,
        "mask": np.zeros((0, 0), np.uint8),
        "anomaly_map": np.full((4, 4), math.nan, np.float32),
        "latency_ms": {"total": 3.0},
        "bundle_digest": "d",
        "variant": "fp32",
        "backend": "fake",
        "image_threshold": 0.5,
        "pixel_threshold": 0.5,
        "part_id": "<img src=x onerror=alert(1)>",
        "error": "no\npicture " + "x" * 1000,
        "code": ErrorCode.NO_PICTURE,
    }
    return Result(**{**fields, **changes})


def test_an_error_without_numbers_is_json() -> None:
    told = telling.part(4, result(regions=()), 10.0, 12.5)
    text = json.dumps(told, allow_nan=False)
    assert "NaN" not in text
    assert (told["score"], told["threshold"], told["age_s"]) == (None, 0.5, 2.5)
    assert told["part"] == "<img src=x onerror=alert(1)>"  # put on the page as text; nothing is lost of it
    assert told["error"].startswith("no\ufffdpicture xxx")
    assert len(told["error"]) == 200
    assert told["code"] == "NO_PICTURE"
    assert told["captured_ms"] == 1767225600000


def test_regions_are_bounded(judge: Callable[..., Any]) -> None:
    many = tuple(RegionScore(f"r{number}", math.inf, 0.5, Verdict.NG) for number in range(100))
    frame, judged = judge(np.full((9, 9), 128, np.uint8), regions=many)
    told = telling.newest(1, frame, judged, frame.t_monotonic)
    assert len(told["regions"]) == 16
    assert told["regions"][0] == {"name": "r0", "score": None, "threshold": 0.5, "verdict": "NG"}


def test_the_strip_and_the_rate() -> None:
    marks = [Mark(Verdict.OK, 0.1, 0.5, at) for at in np.arange(0, 10, 0.1)]
    marks[-1] = Mark(Verdict.ERROR, math.nan, 0.5, 9.9)
    marks[-2] = Mark(Verdict.NG, 0.9, 0.5, 9.8)
    told = telling.strip(marks)
    assert told["verdicts"] == "O" * 98 + "NE"
    assert told["scores"][-3:] == [0.1, 0.9, None]
    assert telling.rate(marks, 9.95) == "10.0 /s"
    assert telling.rate(marks[::20], 10.0) == "30.0 /min"  # five in ten seconds
    assert telling.rate(marks, 71.0) == "0 /min"
    assert telling.rate([], 1.0) == "0 /min"


@settings(deadline=None)
@given(st.lists(st.floats(0.001, 1e6), min_size=1, max_size=200))
def test_percentiles_are_of_the_nearest_rank(values: list[float]) -> None:
    card = telling.latency_card([{"total": value, "resize": 0.0, "mask": math.nan} for value in values])
    (row,) = card["rows"]
    ordered = sorted(values)
    for told, share in zip(row["cells"][1:], (0.5, 0.95, 0.99), strict=True):
        exact = ordered[max(1, math.ceil(share * len(values) - 1e-9)) - 1]
        assert float(told) == pytest.approx(exact, abs=0.051 if exact < 100 else 0.51)


def test_sums_come_last() -> None:
    card = telling.latency_card([{"total": 9.0, "resize": 1.0, "trigger": 20.0, "picture": -3.0}])
    assert [row["cells"][0] for row in card["rows"]] == ["resize", "picture", "total", "trigger"]
    assert telling.latency_card([])["rows"] == []


def cells(cards: list[dict[str, Any]], title: str) -> dict[str, list[str]]:
    (card,) = [card for card in cards if card["title"] == title]
    return {row["cells"][0]: [*row["cells"][1:], row["level"]] for row in card["rows"]}


def test_cards_tell_the_state_of_the_run(snap: Snap) -> None:
    shot = snap(line=(AWAY,), triggered=True, pending=2, frozen=6)
    cards = telling.cards(shot, About("bottle", 3, "press 4", "v4l2:///dev/video0"))
    assert [card["title"] for card in cards] == ["Camera", "Outputs", "Line", "Model"]
    camera = cells(cards, "Camera")
    assert camera["state"] == ["streaming", "ok"]
    assert camera["source"] == ["v4l2:///dev/video0", ""]
    assert camera["last frame"] == ["0.1 s ago", ""]
    assert camera["dropped"] == ["3", ""]
    assert camera["frozen"] == ["6", "warn"]
    assert "stalls" not in camera  # none: nothing to look at
    assert cells(cards, "Outputs")["masks"] == ["90", "0", "0", "ok"]
    assert cells(cards, "Line")["mqtt"] == ["away", "7", "5", "1", "bad"]
    assert cards[2]["note"] == "2 parts pending, 1 late"
    model = cells(cards, "Model")
    assert model["model"] == ["bottle, version 3", ""]
    assert model["bundle"] == ["0123456789ab", ""]
    assert model["recipe"] == ["left door", ""]
    assert model["running for"] == ["2 h 3 min", ""]


def test_what_there_is_not_has_no_row(snap: Snap) -> None:
    cards = telling.cards(snap(recipe="", bundle_digest="", last_frame=None), About())
    assert [card["title"] for card in cards] == ["Camera", "Outputs", "Model"]
    assert set(cells(cards, "Model")) == {"variant", "backend", "running for"}
    assert not {"source", "last frame"} & set(cells(cards, "Camera"))


def test_alerts(snap: Snap) -> None:
    assert telling.alerts(snap(), ended=False) == []
    broken = SinkStatus("archive", 1, 2, 0, 0, "disk full", "disk <full>", False)
    shot = snap(
        state=SourceState.STALLED,
        detail="no frame for 3 s",
        setup_faults=("SETUP: lens dirty",),
        sinks=(broken,),
        line=(AWAY,),
    )
    told = telling.alerts(shot, ended=False)
    assert [one["level"] for one in told] == ["bad", "warn", "warn", "warn"]
    assert [one["text"] for one in told] == [
        "The camera is stalled: no frame for 3 s",
        "SETUP: lens dirty",
        "Output archive: disk <full>",
        "Line signal mqtt is not connected: broker gone",
    ]
    assert telling.alerts(snap(), ended=True)[0]["text"].startswith("The run has ended")
    many = telling.alerts(snap(setup_faults=tuple(f"fault {number}" for number in range(30))), ended=False)
    assert len(many) == 9
    assert many[-1]["text"] == "and 22 more"
