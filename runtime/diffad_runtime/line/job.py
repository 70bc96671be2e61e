"""What a PLC asks for and what it is told: the words that all line signals share.

Knows values. Does not know protocols, threads or cameras. Names as in OPC 40100-1 where it has one: job, recipe,
result.
"""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from diffad_runtime.result import ErrorCode, Result, Verdict


@dataclass(frozen=True, slots=True)
class Request:
    """One trigger as it came in.

    Attributes:
        channel: the adapter that it came by, as in "mqtt"; "" from Python.
        job_id: the asker's name for it, at most 200 characters; "": the desk gives one. The same id from the same
            channel again is the same job: a line may repeat itself, a part is still judged once.
        part_id: of the part, at most 200 characters; "": the job id.
        recipe: by name or index; None: the one in force.
        deadline_ms: from now; None: the station's.
    """

    channel: str
    job_id: str = ""
    part_id: str = ""
    recipe: str | int | None = None
    deadline_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """An accepted request.

    Attributes:
        number: counts from 1 within one run, across channels; a PLC without strings knows a job by it.
        job_id, part_id: never "".
        request: as it came.
        asked: when, seconds on the monotonic clock.
    """

    number: int
    job_id: str
    part_id: str
    request: Request
    asked: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """A job's one verdict.

    Attributes:
        job: what was asked.
        result: what was found. Its arrays are shared: read, never write.
        decided: when, seconds on the monotonic clock.
    """

    job: Job
    result: Result
    decided: float

    @property
    def verdict(self) -> Verdict:
        """OK, NG or ERROR."""
        return self.result.verdict

    @property
    def reject(self) -> bool:
        """What drives the reject gate: NG, and ERROR like it."""
        return self.result.verdict is not Verdict.OK

    @property
    def code(self) -> ErrorCode:
        """Why it is ERROR."""
        return self.result.code

    def to_json(self) -> dict[str, Any]:
        """Plain values for a message; no arrays, no NaN."""
        result = self.result
        return {
            "job": self.job.number,
            "job_id": self.job.job_id,
            "part_id": self.job.part_id,
            "channel": self.job.request.channel,
            "verdict": result.verdict.value,
            "reject": self.reject,
            "code": int(result.code),
            "code_name": result.code.name,
            "error": result.error,
            "score": result.score if result.verdict is not Verdict.ERROR else None,
            "threshold": result.image_threshold,
            "recipe": result.recipe,
            "defects": [
                {"area_px": one.area_px, "box": list(one.box), "peak": one.peak, "region": one.region}
                for one in result.defects[:MOST_DEFECTS]
            ],
            "regions": [
                {"region": one.region, "score": one.score, "threshold": one.threshold, "verdict": one.verdict.value}
                for one in result.regions
            ],
            "frame_id": result.frame_id,
            "t_trigger": result.t_trigger.isoformat() if result.t_trigger else None,
            "t_capture": result.t_capture.isoformat(),
            "latency_ms": {name: round(value, 3) for name, value in result.latency_ms.items()},
            "bundle_digest": result.bundle_digest,
            "variant": result.variant,
        }


MOST_DEFECTS = 20
"""Defects named in a message, those with the largest peaks; the results file has them all."""


class Phase(str, Enum):
    """What the station can do.

    STARTING: camera or engine are not there yet. READY: a trigger will be judged. FAULT: a trigger would be ERROR, as
    the camera gives nothing or the engine fails; triggers are taken nevertheless. STOPPED: closing, triggers are ERROR.
    """

    STARTING = "starting"
    READY = "ready"
    FAULT = "fault"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class LineState:
    """The station at one moment.

    Attributes:
        phase: see above.
        heartbeat: grows by one at every beat; whoever sees it stand still for three beats knows that nobody is home.
        beat_s: between beats.
        open: jobs without a verdict.
        recipe: in force, "" without one; recipe_index: its index, None without one.
        counts: verdicts since the start, {"OK": n, "NG": n, "ERROR": n}.
        duplicates: triggers that repeated a job.
        faults: what is wrong, one line each.
        model_id, model_version, bundle_digest: what judges.
        last_job: number of the last job that was decided, 0 before the first.
        run_id: of this run, changes at every start; (run_id, job number) is unique for ever.
    """

    phase: Phase
    heartbeat: int
    beat_s: float
    open: int
    recipe: str
    recipe_index: int | None
    counts: dict[str, int]
    duplicates: int
    faults: tuple[str, ...]
    model_id: str
    model_version: int
    bundle_digest: str
    last_job: int
    run_id: str

    def to_json(self) -> dict[str, Any]:
        """Plain values for a message."""
        return {
            "state": self.phase.value,
            "ready": self.phase is Phase.READY,
            "heartbeat": self.heartbeat,
            "beat_s": self.beat_s,
            "open": self.open,
            "recipe": self.recipe,
            "recipe_index": self.recipe_index,
            "counts": dict(self.counts),
            "duplicates": self.duplicates,
            "faults": list(self.faults),
            "model_id": self.model_id,
            "model_version": self.model_version,
            "bundle_digest": self.bundle_digest,
            "last_job": self.last_job,
            "run_id": self.run_id,
        }


@dataclass(frozen=True, slots=True)
class AdapterStatus:
    """How one adapter is doing. Counts are since the start.

    Attributes:
        name: as in "mqtt".
        connected: its broker is there, or it listens for clients; outputs: the lines could be set.
        peers: clients connected now, None where the protocol does not tell.
        sent: outcomes that were handed on.
        waiting: outcomes that are kept until they can be (spool, acknowledgement).
        lost: outcomes that were given up: a bounded spool was full, an acknowledgement never came.
        faults: failures of its own.
        last_error: "" where nothing failed.
    """

    name: str
    connected: bool
    peers: int | None = None
    sent: int = 0
    waiting: int = 0
    lost: int = 0
    faults: int = 0
    last_error: str = ""
    details: dict[str, float] = field(default_factory=dict)
