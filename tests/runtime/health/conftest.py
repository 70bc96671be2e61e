"""Snapshots of a run that is well, with whatever a test changes."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from diffad_runtime.result import SourceState
from diffad_runtime.sinks.status import SinkStatus
from diffad_runtime.snapshot import BUCKETS_MS, Histogram, Snapshot
from diffad_runtime.sources.base import SourceStatus

WELL = Snapshot(
    started=0.0,
    now=1000.0,
    verdicts={"OK": 90, "NG": 8, "ERROR": 2},
    dropped=3,
    late=1,
    pending=0,
    queues={"capture": 1, "sinks": 0},
    last_verdict=999.95,
    stages={"total": Histogram((1,) * (len(BUCKETS_MS) + 1), 1234.5)},
    source=SourceStatus(
        SourceState.STREAMING, frames=103, last_frame=999.9, reconnects=4, stalls=5, frozen=6, rejected=7
    ),
    sinks=(
        SinkStatus("masks", 90, 0, 0, 0, "", "", True),
        SinkStatus("masks", 80, 10, 2, 1, "first", "disk full", False),
    ),
    setup_faults=(),
    recipe="",
    bundle_digest="abc",
    variant="fp32",
    backend="fake",
)


@pytest.fixture
def snap() -> Callable[..., Snapshot]:
    """snap(now=..., state=..., last_frame=...): fields of the snapshot, and of its source."""

    def make(**changes: Any) -> Snapshot:
        source = {name: changes.pop(name) for name in ("last_frame", "detail", "frames") if name in changes}
        if "state" in changes:
            source["state"] = changes.pop("state")
        return replace(WELL, source=replace(WELL.source, **source), **changes)

    return make


@pytest.fixture
def events() -> Callable[[pytest.LogCaptureFixture], list[str]]:
    """Names of events that were logged, each once: tests of other rooms may leave loggers that pass one on twice."""

    def names(caplog: pytest.LogCaptureFixture) -> list[str]:
        records = {id(record): record for record in caplog.records}
        return [record.diffad_event for record in records.values()]  # type: ignore[attr-defined]

    return names
