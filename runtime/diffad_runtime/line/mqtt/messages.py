"""What is said: JSON of every topic, read strictly and written in one place.

Knows fields. Does not know the wire, nor what a desk makes of a request. docs/mqtt.md shows each message.
"""

import json
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, Final, TypeVar

from pydantic import Field, StringConstraints, ValidationError

from diffad_runtime.line.job import Job, LineState, Outcome
from diffad_runtime.line.settings import Address, Strict

MOST_BYTES: Final = 4096
"""Of a trigger; the longest that makes sense has under 2,000."""
_SHOWN = 80
_MOST_REASON = 300

Label = Annotated[str, StringConstraints(max_length=200)]
Millis = Annotated[float, Field(ge=0, le=2**53)]


class Why(str, Enum):
    """Why a message was refused.

    MALFORMED: not the JSON that is expected. TOO_LONG: more bytes than any message has. STALE: sent too long ago, the
    part has gone by. REFUSED: the station does not take it. INTERNAL: a fault of ours.
    """

    MALFORMED = "malformed"
    TOO_LONG = "too_long"
    STALE = "stale"
    REFUSED = "refused"
    INTERNAL = "internal"


class Trigger(Strict):
    """A part is there. All fields may be left out.

    Attributes:
        job_id, part_id, recipe, deadline_ms: as in Request.
        sent_ms: when it was sent, milliseconds since 1970; None: it is taken as fresh.
    """

    job_id: Label = ""
    part_id: Label = ""
    recipe: Label | int | None = None
    deadline_ms: float | None = Field(default=None, gt=0)
    sent_ms: Millis | None = None


class Preparation(Strict):
    """From the next job on, this recipe."""

    recipe: Label | int
    sent_ms: Millis | None = None


Said = TypeVar("Said", Trigger, Preparation)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a message is not followed: kind, and a line for people; job_id where it could be read."""

    why: Why
    reason: str
    job_id: str = ""


def read_trigger(payload: bytes, *, now_ms: float, stale_s: float) -> Trigger | Refusal:
    """What a trigger's bytes say.

    Args:
        payload: as it came, anything at all.
        now_ms: milliseconds since 1970, UTC.
        stale_s: older than this is refused, and so is what comes from so far in the future: one of two clocks is wrong.
    """
    return _read(Trigger, payload, now_ms=now_ms, stale_s=stale_s)


def read_preparation(payload: bytes, *, now_ms: float, stale_s: float) -> Preparation | Refusal:
    """As `read_trigger`, of a recipe."""
    return _read(Preparation, payload, now_ms=now_ms, stale_s=stale_s)


def _read(model: type[Said], payload: bytes, *, now_ms: float, stale_s: float) -> Said | Refusal:
    if len(payload) > MOST_BYTES:
        return Refusal(Why.TOO_LONG, f"it has {len(payload)} bytes, expected at most {MOST_BYTES}")
    try:
        message = model.model_validate_json(payload, strict=True)
    except ValidationError as error:
        return Refusal(Why.MALFORMED, _told(error), _job_id(payload))
    if message.sent_ms is not None:
        age_s = (now_ms - message.sent_ms) / 1e3
        job_id = getattr(message, "job_id", "")
        if age_s > stale_s:
            reason = f"it was sent {age_s:.1f} s ago, expected at most {stale_s:g} s: the part has gone by"
            return Refusal(Why.STALE, reason, job_id)
        if age_s < -stale_s:
            reason = f"it was sent {-age_s:.1f} s in the future: the clocks of both sides differ"
            return Refusal(Why.STALE, reason, job_id)
    return message


def _told(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    got = "" if first["type"] in {"missing", "json_invalid"} else f", got {first['input']!r:.{_SHOWN}}"
    text = f"{where}: {first['msg']}{got}" if where else f"{first['msg']}{got}"
    return " ".join(text.split())[:_MOST_REASON]


def _job_id(payload: bytes) -> str:
    """Of a message that is wrong elsewhere: whoever sent it must find the answer to it."""
    try:
        job_id = json.loads(payload)["job_id"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return ""
    return job_id[:200] if isinstance(job_id, str) else ""


def result_message(outcome: Outcome, *, seq: int, run_id: str, repeat: bool) -> bytes:
    """A verdict.

    Args:
        outcome: of a job.
        seq: of this station's results, grows for ever.
        run_id: of this run.
        repeat: whether this job's verdict was told before in this run.
    """
    return encoded({"seq": seq, "run_id": run_id, "repeat": repeat, **outcome.to_json()})


def state_message(state: LineState, address: Address, *, waiting: int, lost: int) -> bytes:
    """The station now; `waiting` and `lost` are results that the broker does not have yet, and never will."""
    return encoded({**_who(address), **state.to_json(), "waiting": waiting, "lost": lost})


def absent_message(word: str, address: Address, run_id: str) -> bytes:
    """The station is gone. `word`: "offline" for the last will, "stopped" where it said goodbye."""
    return encoded({**_who(address), "state": word, "ready": False, "run_id": run_id})


def ack_message(job: Job, run_id: str) -> bytes:
    """A trigger was taken."""
    return encoded(
        {"kind": "trigger", "job_id": job.job_id, "part_id": job.part_id, "job": job.number, "run_id": run_id}
    )


def prepared_message(recipe: str | int, run_id: str) -> bytes:
    """A recipe is in force."""
    return encoded({"kind": "recipe", "recipe": recipe, "run_id": run_id})


def refused_message(kind: str, refusal: Refusal, payload: bytes, run_id: str) -> bytes:
    """A message was not followed. The beginning of it goes back, so that its sender can be found."""
    return encoded(
        {
            "kind": kind,
            "job_id": refusal.job_id,
            "why": refusal.why.value,
            "reason": refusal.reason[:_MOST_REASON],
            "got": payload[:_SHOWN].decode("utf-8", "backslashreplace"),
            "run_id": run_id,
        }
    )


def encoded(values: dict[str, Any]) -> bytes:
    """Compact JSON, UTF-8. Lone surrogates and the like are escaped, so any text can be sent."""
    return json.dumps(values, allow_nan=False, separators=(",", ":")).encode()


def _who(address: Address) -> dict[str, str]:
    return {"site": address.site, "line": address.line, "station": address.station}
