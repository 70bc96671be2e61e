"""The last results, bounded, and what is looked for among them.

Knows outcomes and the result states of OPC 40100-1, clause 12.19. Pure: knows neither nodes nor structures of OPC UA.
"""

import threading
from collections import OrderedDict
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Final

import numpy as np

from diffad_runtime.line.job import Outcome
from diffad_runtime.result import ErrorCode, Verdict

_NO_MASK: Final = np.empty((0, 0), np.uint8)
_NO_MAP: Final = np.empty((0, 0), np.float32)


class ResultState(IntEnum):
    """ResultStateDataType. UNDEFINED: there is no such result. COMPLETED: judged, OK or NG. ABORTED: the station was
    closed before. FAILED: no judgement could be made."""

    UNDEFINED = 0
    COMPLETED = 1
    ABORTED = 3
    FAILED = 4


def result_state(outcome: Outcome) -> ResultState:
    """Of an outcome."""
    if outcome.verdict is not Verdict.ERROR:
        return ResultState.COMPLETED
    return ResultState.ABORTED if outcome.code is ErrorCode.CLOSED else ResultState.FAILED


def result_id(run_id: str, number: int) -> str:
    """The name of a result, unique for ever: the run and the job's number."""
    return f"{run_id}-{number}"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What GetResultListFiltered looks for. "" and UNDEFINED mean any."""

    state: int = ResultState.UNDEFINED
    job_id: str = ""
    part_id: str = ""
    recipe: str = ""

    def fits(self, outcome: Outcome) -> bool:
        """Whether an outcome is among them."""
        return (
            self.state in (ResultState.UNDEFINED, result_state(outcome))
            and self.job_id in ("", outcome.job.job_id)
            and self.part_id in ("", outcome.job.part_id)
            and self.recipe in ("", outcome.result.recipe)
        )


@dataclass(frozen=True, slots=True)
class Found:
    """A page of results. `complete`: none that fits was left off behind it."""

    results: tuple[tuple[str, Outcome], ...]
    complete: bool


class Results:
    """The last so many, by their names; of one job the last that was told. Any thread."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[str, Outcome] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        with self._lock:
            return len(self._kept)

    def keep(self, name: str, outcome: Outcome) -> None:
        """Keep one, without its mask and map: megabytes each. The oldest leaves where there are too many."""
        light = replace(outcome, result=replace(outcome.result, mask=_NO_MASK, anomaly_map=_NO_MAP))
        with self._lock:
            self._kept[name] = light
            if len(self._kept) > self._most:
                self._kept.popitem(last=False)

    def get(self, name: str) -> Outcome | None:
        """The one of that name; None where there is none, or none any more."""
        with self._lock:
            return self._kept.get(name)

    def find(self, wanted: Wanted, most: int = 0, start: int = 0) -> Found:
        """Those that fit, newest first.

        Args:
            wanted: what to look for.
            most: at most so many; 0: all.
            start: so many that fit are passed over.
        """
        with self._lock:
            kept = list(self._kept.items())
        fitting = [(name, outcome) for name, outcome in reversed(kept) if wanted.fits(outcome)]
        end = start + most if most else len(fitting)
        return Found(tuple(fitting[start:end]), end >= len(fitting))
