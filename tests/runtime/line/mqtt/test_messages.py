"""What comes in is read strictly and never raises; what goes out is JSON, whatever is in it."""

import json
import math
import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from diffad_runtime.line.job import Job, Request
from diffad_runtime.line.mqtt.messages import (
    MOST_BYTES,
    Preparation,
    Refusal,
    Trigger,
    Why,
    absent_message,
    ack_message,
    read_preparation,
    read_trigger,
    refused_message,
    result_message,
)
from diffad_runtime.line.settings import Address

NOW_MS = 1.8e12
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(["job_id", "part_id", "recipe", "deadline_ms", "sent_ms", "colour"])


def _read(payload: Any) -> Trigger | Refusal:
    data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return read_trigger(data, now_ms=NOW_MS, stale_s=2.0)


def _refused(payload: Any) -> Refusal:
    said = _read(payload)
    assert isinstance(said, Refusal), said
    return said


def test_a_whole_trigger_and_an_empty_one() -> None:
    assert _read({}) == Trigger()
    whole = {"job_id": "j", "part_id": "p", "recipe": 3, "deadline_ms": 250, "sent_ms": NOW_MS - 1999}
    assert _read(whole) == Trigger(job_id="j", part_id="p", recipe=3, deadline_ms=250.0, sent_ms=NOW_MS - 1999)


@pytest.mark.parametrize(
    ("payload", "told"),
    [
        (b"", "Invalid JSON"),
        (b"\xff\xfe\x00", "Invalid JSON"),
        (b"null", "valid dictionary|object"),
        (b"[]", "valid dictionary|object"),
        (b'{"job_id": 7}', "job_id: .*string, got 7"),
        (b'{"job_id": "a", "colour": "red"}', "colour: "),
        (b'{"recipe": true}', "recipe"),
        (b'{"recipe": 1.0}', "recipe"),
        (b'{"deadline_ms": "20"}', "deadline_ms"),
        (b'{"deadline_ms": 0}', "deadline_ms"),
        (b'{"deadline_ms": NaN}', "deadline_ms"),
        (b'{"deadline_ms": Infinity}', "deadline_ms"),
        (b'{"deadline_ms": 1e999}', "deadline_ms"),
        (b'{"sent_ms": -1}', "sent_ms"),
        (json.dumps({"job_id": "j" * 201}).encode(), "job_id"),
        (b'{"job_id": "\\ud800"}', "JSON"),
        (b"[" * 3000, "JSON"),
    ],
)
def test_what_is_wrong_is_named(payload: bytes, told: str) -> None:
    refusal = _refused(payload)
    assert refusal.why is Why.MALFORMED
    assert re.search(told, refusal.reason), refusal.reason


def test_the_answer_finds_whoever_sent_it() -> None:
    assert _refused({"job_id": "j1", "colour": "red"}).job_id == "j1"
    assert _refused({"job_id": ["j1"], "colour": "red"}).job_id == ""


def test_too_long_is_not_even_read() -> None:
    just = json.dumps({"job_id": "j"}).encode().ljust(MOST_BYTES)
    assert _read(just) == Trigger(job_id="j")
    assert _refused(just + b" ").why is Why.TOO_LONG


@pytest.mark.parametrize(("age_ms", "why"), [(2000, None), (2001, Why.STALE), (-2000, None), (-2001, Why.STALE)])
def test_a_trigger_of_a_part_that_has_gone_by(age_ms: float, why: Why | None) -> None:
    said = _read({"job_id": "j", "sent_ms": NOW_MS - age_ms})
    assert (said.why if isinstance(said, Refusal) else None) == why
    assert said.job_id == "j"


def test_a_recipe_by_name_or_index() -> None:
    assert read_preparation(b'{"recipe": "lid"}', now_ms=NOW_MS, stale_s=2) == Preparation(recipe="lid")
    assert read_preparation(b'{"recipe": 3}', now_ms=NOW_MS, stale_s=2) == Preparation(recipe=3)
    for payload in (b"{}", b'{"recipe": null}', b'{"recipe": [3]}', b"3"):
        assert isinstance(read_preparation(payload, now_ms=NOW_MS, stale_s=2), Refusal)


@given(st.binary(max_size=300) | JSON_VALUES.map(lambda value: json.dumps(value).encode()))
@example(b'{"job_id":' * 400)
def test_any_bytes_are_read_or_refused_and_the_answer_is_json(payload: bytes) -> None:
    for kind, read in (("trigger", read_trigger), ("recipe", read_preparation)):
        said = read(payload, now_ms=NOW_MS, stale_s=2.0)  # type: ignore[operator]
        if isinstance(said, Refusal):
            answer = json.loads(refused_message(kind, said, payload, "run"))
            assert answer["why"] == "malformed"
            assert answer["reason"]
            assert len(answer["got"]) <= 4 * 80  # each byte may become \xNN


@given(st.dictionaries(FIELDS, JSON_VALUES, max_size=6))
def test_what_is_accepted_is_what_was_asked_for(fields: dict[str, Any]) -> None:
    said = _read(json.dumps(fields).encode())
    if isinstance(said, Trigger):
        assert set(fields) <= set(Trigger.model_fields)
        for name, value in fields.items():
            assert getattr(said, name) == value
            assert not isinstance(value, bool)
        assert said.deadline_ms is None or (math.isfinite(said.deadline_ms) and said.deadline_ms > 0)


@given(st.text(max_size=50), st.text(max_size=50))
def test_acks_carry_any_name(job_id: str, part_id: str) -> None:
    job = Job(3, job_id, part_id, Request("mqtt", job_id), 0.0)
    said = json.loads(ack_message(job, "run"))
    assert said == {"kind": "trigger", "job_id": job_id, "part_id": part_id, "job": 3, "run_id": "run"}


def test_a_result_without_a_score_is_json_all_the_same(desk: Any) -> None:
    error = desk.own(2)
    said = json.loads(result_message(error, seq=7, run_id="run", repeat=False))
    assert said["verdict"] == "ERROR"
    assert said["score"] is None
    assert (said["seq"], said["run_id"], said["repeat"], said["code_name"]) == (7, "run", False, "LATE")


def test_gone_is_never_ready() -> None:
    said = json.loads(absent_message("offline", Address(), "run"))
    assert said == {
        "site": "site",
        "line": "line",
        "station": "station",
        "state": "offline",
        "ready": False,
        "run_id": "run",
    }
