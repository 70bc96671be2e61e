"""What the registers say of a station and of the outcome that is shown.

Knows the meaning of each field of registermap.READ. Does not know threads, nor when it changes (adapter.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from diffad_runtime.line.handshake import Handshake, signals
from diffad_runtime.line.job import LineState, Outcome, Phase
from diffad_runtime.line.modbus.registermap import (
    MAP_VERSION,
    NO_RECIPE,
    PHASES,
    STATUS_BITS,
    VERDICTS,
    WordOrder,
    registers,
)

RECIPE_REFUSED: Final = 1
TRIGGER_REFUSED: Final = 2
"""Values of `request_error`."""


@dataclass(frozen=True, slots=True)
class Kept:
    """An outcome, and what of it is known on this channel only.

    Attributes:
        outcome: as it was told.
        trigger: the trigger number that asked for it, 0 where it was an edge or another channel.
        recipe: the index of its recipe, NO_RECIPE without one.
    """

    outcome: Outcome
    trigger: int
    recipe: int


@dataclass(frozen=True, slots=True)
class Requests:
    """What became of a PLC's requests.

    Attributes:
        recipe: that was asked for last and is not there, None where it is.
        trigger: the last trigger was not taken.
        refused: requests since the start.
    """

    recipe: int | None = None
    trigger: bool = False
    refused: int = 0

    @property
    def error(self) -> int:
        """See above; 0: nothing stands refused."""
        return RECIPE_REFUSED if self.recipe is not None else TRIGGER_REFUSED if self.trigger else 0


def picture(
    state: LineState, handshake: Handshake[Kept], requests: Requests, station: str, order: WordOrder
) -> tuple[int, ...]:
    """All registers of one moment."""
    shown = handshake.shown
    kept = shown.outcome if shown else None
    values: dict[str, int | float | str] = {
        "status": _status(state, handshake, requests, kept),
        "heartbeat": state.heartbeat,
        "phase": PHASES[state.phase.value],
        "recipe": NO_RECIPE if state.recipe_index is None else state.recipe_index,
        "request_error": requests.error,
        "requests_refused": requests.refused,
        "trigger_taken": handshake.trigger_number,
        "open": handshake.open,
        "waiting": handshake.kept,
        "acks_lost": handshake.counts.lost + handshake.counts.overflowed,
        "triggers_early": handshake.counts.early,
        "map_version": MAP_VERSION,
        "beat_ms": min(65535, round(1e3 * state.beat_s)),
        "count_ok": state.counts.get("OK", 0),
        "count_ng": state.counts.get("NG", 0),
        "count_error": state.counts.get("ERROR", 0),
        "duplicates": state.duplicates,
        "last_job": state.last_job,
        "model_version": state.model_version,
        "model_id": state.model_id,
        "station": station,
        "bundle_digest": state.bundle_digest,
        "run_id": state.run_id,
    }
    if shown is not None:
        values.update(_result(shown.outcome, shown.number))
    return registers(values, order)


def _status(state: LineState, handshake: Handshake[Kept], requests: Requests, kept: Kept | None) -> int:
    lines = signals(kept.outcome if kept else None)
    bits: Mapping[str, bool] = {
        "trigger_ready": handshake.trigger_ready,
        "results_ready": handshake.results_ready,
        "ok": lines.ok,
        "ng": lines.ng,
        "error": lines.error,
        "reject": kept is not None and kept.outcome.reject,
        "heartbeat": bool(state.heartbeat & 1),
        "ready": state.phase is Phase.READY,
        "fault": state.phase in (Phase.FAULT, Phase.STOPPED),
        "request_refused": requests.error != 0,
        "plc_silent": handshake.silent,
    }
    return sum(bits[name] << place for place, name in enumerate(STATUS_BITS))


def _result(kept: Kept, number: int) -> dict[str, int | float | str]:
    outcome, result = kept.outcome, kept.outcome.result
    latency_ms = result.latency_ms.get("trigger", 1e3 * (outcome.decided - outcome.job.asked))
    return {
        "result_number": number,
        "verdict": VERDICTS[outcome.verdict.value],
        "code": int(outcome.code),
        "reject": int(outcome.reject),
        "result_trigger": kept.trigger,
        "result_recipe": kept.recipe,
        "job": outcome.job.number,
        "score": result.score,
        "threshold": result.image_threshold,
        "defects": min(65535, len(result.defects)),
        "latency_ms": min(65535, max(0, round(latency_ms))),
        "result_part": outcome.job.part_id,
    }
