"""Flat variables for who polls: the station and its last result, one value a node, with names to type by hand.

Knows which variables there are and what they hold: the table is the documentation. Does not know events or methods.
Imported only when used: needs asyncua.

A Read of several variables in one request gives values of one and the same result, never of two.
"""

# asyncua's hints: names that are not exported, and Int32 or String where a plain int or str is what it takes.
# mypy: disable-error-code="attr-defined, arg-type"

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from json import dumps
from typing import Any, Final, NamedTuple

from asyncua import ua

from diffad_runtime.line.job import LineState, Outcome, Phase
from diffad_runtime.line.opcua.results import result_state
from diffad_runtime.line.opcua.space import SYSTEM, Space
from diffad_runtime.result import Verdict

LINE: Final = "Line"
LAST: Final = "LastResult"
_T = ua.VariantType

VERDICTS: Final = {Verdict.OK: 0, Verdict.NG: 1, Verdict.ERROR: 2}
"""LastResult.VerdictNumber, for a PLC without strings."""
_MOST_UINT32: Final = 0xFFFFFFFF


class Row(NamedTuple):
    """A variable: its type, whether it is an array, and what it holds of whatever is told."""

    kind: Any
    array: bool
    value: Callable[[Any], Any]


class Told(NamedTuple):
    """An outcome as it is told.

    Attributes:
        outcome: of the job.
        result_id: its name.
        sequence: counts what was told, repeats too.
    """

    outcome: Outcome
    result_id: str
    sequence: int


class Stand(NamedTuple):
    """The station as it is told, with its recipes."""

    state: LineState
    recipes: Sequence[tuple[str, int | None]]


def count(value: int) -> int:
    """For a UInt32, which stops at its end."""
    return min(max(value, 0), _MOST_UINT32)


STATION: Final[Mapping[str, Row]] = {
    "Ready": Row(_T.Boolean, False, lambda told: told.state.phase is Phase.READY),
    "State": Row(_T.String, False, lambda told: told.state.phase.value),
    "Heartbeat": Row(_T.UInt32, False, lambda told: told.state.heartbeat & _MOST_UINT32),
    "BeatSeconds": Row(_T.Double, False, lambda told: told.state.beat_s),
    "OpenJobs": Row(_T.UInt32, False, lambda told: count(told.state.open)),
    "LastJob": Row(_T.UInt32, False, lambda told: count(told.state.last_job)),
    "CountOK": Row(_T.UInt32, False, lambda told: count(told.state.counts.get("OK", 0))),
    "CountNG": Row(_T.UInt32, False, lambda told: count(told.state.counts.get("NG", 0))),
    "CountERROR": Row(_T.UInt32, False, lambda told: count(told.state.counts.get("ERROR", 0))),
    "Duplicates": Row(_T.UInt32, False, lambda told: count(told.state.duplicates)),
    "Faults": Row(_T.String, True, lambda told: list(told.state.faults)),
    "Recipe": Row(_T.String, False, lambda told: told.state.recipe),
    "RecipeIndex": Row(
        _T.Int32, False, lambda told: -1 if told.state.recipe_index is None else told.state.recipe_index
    ),
    "Recipes": Row(_T.String, True, lambda told: [name for name, _ in told.recipes]),
    "RecipeIndices": Row(_T.Int32, True, lambda told: [-1 if at is None else at for _, at in told.recipes]),
    "ModelId": Row(_T.String, False, lambda told: told.state.model_id),
    "ModelVersion": Row(_T.UInt32, False, lambda told: count(told.state.model_version)),
    "BundleDigest": Row(_T.String, False, lambda told: told.state.bundle_digest),
    "RunId": Row(_T.String, False, lambda told: told.state.run_id),
}

RESULT: Final[Mapping[str, Row]] = {
    "Sequence": Row(_T.UInt32, False, lambda told: told.sequence & _MOST_UINT32),
    "ResultId": Row(_T.String, False, lambda told: told.result_id),
    "JobNumber": Row(_T.UInt32, False, lambda told: count(told.outcome.job.number)),
    "JobId": Row(_T.String, False, lambda told: told.outcome.job.job_id),
    "PartId": Row(_T.String, False, lambda told: told.outcome.job.part_id),
    "Recipe": Row(_T.String, False, lambda told: told.outcome.result.recipe),
    "Verdict": Row(_T.String, False, lambda told: told.outcome.verdict.value),
    "VerdictNumber": Row(_T.Byte, False, lambda told: VERDICTS[told.outcome.verdict]),
    "Reject": Row(_T.Boolean, False, lambda told: told.outcome.reject),
    "Code": Row(_T.Int32, False, lambda told: int(told.outcome.code)),
    "CodeName": Row(_T.String, False, lambda told: told.outcome.code.name),
    "Error": Row(_T.String, False, lambda told: told.outcome.result.error),
    "ResultState": Row(_T.Int32, False, lambda told: int(result_state(told.outcome))),
    "Score": Row(_T.Double, False, lambda told: score(told.outcome)),
    "Threshold": Row(_T.Double, False, lambda told: float(told.outcome.result.image_threshold)),
    "Defects": Row(_T.UInt32, False, lambda told: len(told.outcome.result.defects)),
    "CaptureTime": Row(_T.DateTime, False, lambda told: told.outcome.result.t_capture),
    "Json": Row(_T.String, False, lambda told: dumps(told.outcome.to_json(), separators=(",", ":"))),
}

RESULT_READY: Final = "ResultReady"
"""Boolean beside them: False from a trigger by OPC UA until the verdict of the job that was asked for last."""


def score(outcome: Outcome) -> float:
    """For a variable: NaN where there is none."""
    return float(outcome.result.score) if outcome.verdict is not Verdict.ERROR else math.nan


def data(value: Any, kind: Any, array: bool = False) -> ua.DataValue:
    """A value with its type and time."""
    now = datetime.now(timezone.utc)
    return ua.DataValue(ua.Variant(value, kind, is_array=array), SourceTimestamp=now, ServerTimestamp=now)


def nothing(code: int) -> ua.DataValue:
    """No value, and why."""
    now = datetime.now(timezone.utc)
    return ua.DataValue(StatusCode=ua.StatusCode(code), SourceTimestamp=now, ServerTimestamp=now)


class Flat:
    """Both tables as nodes; only the server writes them.

    Args:
        space: whose.
    """

    def __init__(self, space: Space) -> None:
        self._space = space

    async def build(self) -> None:
        """Make the nodes: Line and Line.LastResult under the vision system. Values are bad until they are known."""
        parent = self._space.node(SYSTEM)
        line = await parent.add_object(self._space.own(LINE), ua.QualifiedName(LINE, self._space.line))
        await self._variables(line, LINE, STATION)
        last = await line.add_object(self._space.own(f"{LINE}.{LAST}"), ua.QualifiedName(LAST, self._space.line))
        await self._variables(last, f"{LINE}.{LAST}", RESULT)
        await self._variable(last, f"{LINE}.{LAST}.{RESULT_READY}", RESULT_READY, Row(_T.Boolean, False, bool))
        await self.ready(False)

    async def station(self, stand: Stand) -> None:
        """Write the station."""
        for name, row in STATION.items():
            await self._space.write(f"{LINE}.{name}", data(row.value(stand), row.kind, row.array))

    async def result(self, told: Told) -> None:
        """Write a result."""
        for name, row in RESULT.items():
            await self._space.write(f"{LINE}.{LAST}.{name}", data(row.value(told), row.kind, row.array))

    async def ready(self, ready: bool) -> None:
        """Write ResultReady."""
        await self._space.write(f"{LINE}.{LAST}.{RESULT_READY}", data(ready, _T.Boolean))

    async def _variables(self, parent: Any, path: str, rows: Mapping[str, Row]) -> None:
        for name, row in rows.items():
            await self._variable(parent, f"{path}.{name}", name, row)

    async def _variable(self, parent: Any, path: str, name: str, row: Row) -> None:
        first: Any = [] if row.array else ua.get_default_value(row.kind)
        node = await parent.add_variable(
            self._space.own(path),
            ua.QualifiedName(name, self._space.line),
            ua.Variant(first, row.kind, is_array=row.array),
        )
        await node.write_value_rank(ua.ValueRank.OneDimension if row.array else ua.ValueRank.Scalar)
        await self._space.write(path, nothing(ua.StatusCodes.BadWaitingForInitialData))
