"""A snapshot as families of metrics for prometheus-client.

Knows names, units, types and labels. Does not know HTTP (endpoint.py), nor how things are counted.

Names follow Prometheus: base units (seconds, bytes, celsius), _total for what only grows. docs/operations.md has all of
them. Counts begin at the start of the run, so a restart sets them back, which rate() and increase() know. Labels take
values from a bounded set only: what a fault says in figures is left to /healthz and the log.
"""

# ruff: noqa: PLC0415  prometheus-client is an extra

import platform
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import metadata
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

from diffad_runtime.health.limits import frame_age, verdict_age
from diffad_runtime.health.machine import disk, temperatures, threads
from diffad_runtime.result import SourceState, Verdict
from diffad_runtime.snapshot import BUCKETS_MS, Snapshot

if TYPE_CHECKING:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

Gauges = Callable[[], Mapping[str, float]]
"""More figures: {"drift_p_value": 0.3, ...}, names without "diffad_"."""

_MOST_KINDS = 20


class Collector:
    """What prometheus-client asks at every scrape.

    Args:
        look: gives a snapshot, and the reasons why the run is not well.
        folders: whose disks are shown.
        gauges: more figures.
        root: of the file system.
    """

    def __init__(
        self,
        look: Callable[[], tuple[Snapshot, tuple[str, ...]]],
        folders: Sequence[Path],
        gauges: Sequence[Gauges],
        root: Path,
    ) -> None:
        self._look = look
        self._folders = tuple(dict.fromkeys(folders))
        self._gauges = tuple(gauges)
        self._root = root
        try:
            self._version = metadata.version("diffad-edge")
        except metadata.PackageNotFoundError:
            self._version = ""

    def collect(self) -> Iterator["Metric"]:
        """All families, of one snapshot."""
        snapshot, reasons = self._look()
        yield from _judged(snapshot)
        yield from _camera(snapshot)
        yield from _stages(snapshot)
        yield from _sinks(snapshot)
        yield from _state(snapshot, reasons)
        yield from self._machine()
        yield from self._about(snapshot)
        yield from self._more()

    def _machine(self) -> Iterator["Metric"]:
        degrees = _gauge("temperature_celsius", "Of the board, where the kernel tells.", ["zone", "type"])
        for each in temperatures(self._root):
            degrees.add_metric([each.zone, each.kind], each.celsius)
        free = _gauge("disk_free_bytes", "Free on the file system of a folder, for those who are not root.", ["folder"])
        size = _gauge("disk_size_bytes", "Size of the file system of a folder.", ["folder"])
        for space in filter(None, map(disk, self._folders)):
            free.add_metric([space.folder], space.free)
            size.add_metric([space.folder], space.size)
        yield from (degrees, free, size)
        number = threads(self._root)
        if number is not None:
            yield _gauge("process_threads", "Threads of this process.", value=number, prefix="")

    def _about(self, snapshot: Snapshot) -> Iterator["Metric"]:
        from prometheus_client.core import InfoMetricFamily

        yield InfoMetricFamily(
            "diffad_build", "Software.", {"version": self._version, "python": platform.python_version()}
        )
        judge = {
            "digest": snapshot.bundle_digest,
            "variant": snapshot.variant,
            "backend": snapshot.backend,
            "recipe": snapshot.recipe,
        }
        yield InfoMetricFamily("diffad_bundle", "What judges.", judge)

    def _more(self) -> Iterator["Metric"]:
        for source in self._gauges:
            for name, value in source().items():
                yield _gauge(name, "See docs/operations.md.", value=value)


def _judged(snapshot: Snapshot) -> Iterator["Metric"]:
    verdicts = _counter("verdicts", "Verdicts, of frames, or of parts where triggers ask for them.", ["verdict"])
    for verdict in Verdict:
        verdicts.add_metric([verdict.value], snapshot.verdicts.get(verdict.value, 0))
    yield verdicts
    yield _counter("frames_dropped", "Frames of a live source that were never judged.", value=snapshot.dropped)
    yield _counter("parts_late", "Parts judged after their deadline, ERROR.", value=snapshot.late)
    yield _gauge("parts_pending", "Triggers without a verdict yet.", value=snapshot.pending)
    waiting = _gauge("queue_length", "Things waiting in a queue.", ["queue"])
    for name, length in snapshot.queues.items():
        waiting.add_metric([name], length)
    yield waiting


def _camera(snapshot: Snapshot) -> Iterator["Metric"]:
    from prometheus_client.core import StateSetMetricFamily

    source = snapshot.source
    yield _counter("frames", "Frames that the source gave.", value=source.frames)
    yield _counter("frames_rejected", "Frames thrown away, corrupt or of another size.", value=source.rejected)
    yield _counter("source_stalls", "Times that no frame came for too long.", value=source.stalls)
    yield _counter("source_freezes", "Times that the picture stood still for too long.", value=source.frozen)
    yield _counter("source_reconnects", "Times that the source was opened again.", value=source.reconnects)
    states = {state.value: state is source.state for state in SourceState}
    yield StateSetMetricFamily("diffad_source_state", "1 for the state that the source is in.", states)


def _stages(snapshot: Snapshot) -> Iterator["Metric"]:
    from prometheus_client.core import HistogramMetricFamily

    family = HistogramMetricFamily(
        "diffad_stage_seconds", "Durations; total: frame to verdict; trigger: trigger to verdict.", labels=["stage"]
    )
    edges = [*(repr(edge / 1000) for edge in BUCKETS_MS), "+Inf"]
    for stage, histogram in snapshot.stages.items():
        buckets = list(zip(edges, accumulate(map(float, histogram.counts)), strict=True))
        family.add_metric([stage], buckets, histogram.total_ms / 1000)
    yield family


def _sinks(snapshot: Snapshot) -> Iterator["Metric"]:
    written = _counter("sink_written", "Results that a sink took.", ["sink"])
    faults = _counter("sink_faults", "Results that a sink failed on or was not given after a failure.", ["sink"])
    dropped = _counter("sink_dropped", "Results that a sink never saw, its queue being full.", ["sink"])
    waiting = _gauge("sink_waiting", "Results in a sink's queue.", ["sink"])
    healthy = _gauge("sink_healthy", "1 while a sink works, 0 while it fails or hangs.", ["sink"])
    used: set[str] = set()
    for sink in snapshot.sinks:
        # Two series of one name would make the whole page invalid.
        name = next(name for name in _numbered(sink.name) if name not in used)
        used.add(name)
        written.add_metric([name], sink.written)
        faults.add_metric([name], sink.faults)
        dropped.add_metric([name], sink.dropped)
        waiting.add_metric([name], sink.waiting)
        healthy.add_metric([name], float(sink.healthy))
    yield from (written, faults, dropped, waiting, healthy)


def _state(snapshot: Snapshot, reasons: tuple[str, ...]) -> Iterator["Metric"]:
    yield _gauge("healthy", "1 while /healthz says so.", value=float(not reasons))
    yield _gauge("frame_age_seconds", "Since the last frame, or the start before the first.", value=frame_age(snapshot))
    age = verdict_age(snapshot)
    yield _gauge("verdict_age_seconds", "Since the last verdict, or the start before the first.", value=age)
    yield _gauge("run_age_seconds", "Since the run began.", value=max(0.0, snapshot.now - snapshot.started))
    faults = _gauge("setup_fault", "1 for each fault of camera or line, apart from any part.", ["fault"])
    for kind in sorted({fault_kind(fault) for fault in snapshot.setup_faults})[:_MOST_KINDS]:
        faults.add_metric([kind], 1)
    yield faults
    yield _gauge("setup_faults", "Faults of camera or line now.", value=len(snapshot.setup_faults))


def fault_kind(fault: str) -> str:
    """What kind a fault is, without its figures: "SETUP: picture blurred: sharpness 0.41 ..." -> "picture blurred"."""
    kind = fault.removeprefix("SETUP:").strip().partition(":")[0].strip()
    return re.sub(r"[\d.]*\d", "N", kind)[:60]


def _numbered(name: str) -> Iterator[str]:
    yield name
    number = 2
    while True:
        yield f"{name} {number}"
        number += 1


def _counter(
    name: str, about: str, labels: Sequence[str] | None = None, *, value: float | None = None
) -> "CounterMetricFamily":
    from prometheus_client.core import CounterMetricFamily

    family = CounterMetricFamily(f"diffad_{name}", about, labels=labels)
    if value is not None:
        family.add_metric([], value)
    return family


def _gauge(
    name: str, about: str, labels: Sequence[str] | None = None, *, value: float | None = None, prefix: str = "diffad_"
) -> "GaugeMetricFamily":
    from prometheus_client.core import GaugeMetricFamily

    return GaugeMetricFamily(f"{prefix}{name}", about, value=value, labels=labels)
