"""The pages of a run: /metrics for Prometheus, /healthz and /readyz for whoever asks whether it is well.

Knows what makes a run well or ready, and which page says so. Does not know the metrics (families.py), nor HTTP
(endpoint.py). Needs prometheus-client, the extra [metrics].
"""

import json
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from diffad_runtime.errors import MissingExtraError
from diffad_runtime.health.endpoint import Endpoint, Page
from diffad_runtime.health.families import Collector, Gauges
from diffad_runtime.health.limits import Limits, Progress, follow, verdict_of_health
from diffad_runtime.result import SourceState
from diffad_runtime.snapshot import Snapshot

_TEXT = "text/plain; version=0.0.4; charset=utf-8"

SHOWN = Limits(camera_away_s=10.0)
"""What /healthz calls well: a camera that is away is something to know long before a restart is worth trying."""


def serve_metrics(
    take: Callable[[], Snapshot],
    address: str,
    *,
    limits: Limits = SHOWN,
    folders: Sequence[Path] = (),
    gauges: Sequence[Gauges] = (),
    root: Path = Path("/"),
) -> Endpoint:
    """Serve the pages of a run from now on.

    /metrics    for Prometheus.
    /healthz    200 while the run is well, else 503; JSON {"healthy", "reasons", "warnings"}. Warnings are faults that
                leave the run well: sinks, and the set-up of camera and line.
    /readyz     200 while parts are judged or would be, if they came: well, streaming, one verdict reached. Else 503.

    Args:
        take: gives a snapshot; called on the server's thread, once for each page asked for.
        address: HOST:PORT; 127.0.0.1 where no host is given. Whoever reaches it may read.
        limits: of /healthz, /readyz and diffad_healthy.
        folders: whose disks are shown.
        gauges: more figures, asked for at every scrape.
        root: of the file system, for tests.

    Raises:
        MissingExtraError: prometheus-client is not installed.
        InputError: the address cannot be used.
    """
    try:
        from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest  # noqa: PLC0415  an extra
    except ImportError as error:
        raise MissingExtraError("prometheus_client", extra="metrics", purpose="the page for Prometheus") from error
    health = _Health(take, limits)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Collector(health.look, folders, gauges, root))
    ProcessCollector(registry=registry)
    return Endpoint(
        address,
        {
            "/metrics": lambda: Page(generate_latest(registry), _TEXT),
            "/healthz": lambda: _healthz(*health.look()),
            "/readyz": lambda: _readyz(*health.look()),
        },
    )


class _Health:
    """Snapshots with the reasons why the run is not well; keeps what one snapshot does not tell."""

    def __init__(self, take: Callable[[], Snapshot], limits: Limits) -> None:
        self._take = take
        self._limits = limits
        self._progress: Progress | None = None
        self._lock = threading.Lock()

    def look(self) -> tuple[Snapshot, tuple[str, ...]]:
        snapshot = self._take()
        with self._lock:
            self._progress = follow(self._progress, snapshot)
            return snapshot, verdict_of_health(snapshot, self._limits, self._progress)


def _healthz(snapshot: Snapshot, reasons: tuple[str, ...]) -> Page:
    warnings = [f"sink {sink.name}: {sink.last_error}" for sink in snapshot.sinks if not sink.healthy]
    return _answer(not reasons, healthy=not reasons, reasons=reasons, warnings=[*warnings, *snapshot.setup_faults])


def _readyz(snapshot: Snapshot, reasons: tuple[str, ...]) -> Page:
    state = snapshot.source.state
    why = list(reasons)
    if state is not SourceState.STREAMING:
        why.append(f"the camera is {state.value}")
    if snapshot.last_verdict is None and not snapshot.triggered:
        why.append("no verdict yet")
    return _answer(not why, ready=not why, reasons=why)


def _answer(well: bool, **facts: object) -> Page:
    return Page(json.dumps(facts).encode() + b"\n", "application/json", 200 if well else 503)
