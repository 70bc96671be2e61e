"""Whoever watches a run that lives for months: signals, systemd, the metrics page, camera, scores, edited recipes.

Knows which of them are wanted and how they begin and end together. Does not know what any of them looks at (health/),
nor how frames are judged.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from diffad_runtime.health.camera import CameraHealth
from diffad_runtime.health.driftwatch import DriftWatch
from diffad_runtime.health.logs import event
from diffad_runtime.health.notify import Notifier
from diffad_runtime.health.reference import load_reference
from diffad_runtime.health.signals import Stop, stop_on_signals
from diffad_runtime.health.watchdog import Watchdog
from diffad_runtime.inspector import Inspector
from diffad_runtime.monitor import Monitor
from diffad_runtime.result import Frame, Result
from diffad_runtime.sinks.base import Sink
from diffad_runtime.sources import Source

if TYPE_CHECKING:
    from diffad_runtime.preview.settings import About

_LOG = logging.getLogger(__name__)
STOP_S = 5.0
"""A run that was asked to end has ended after so many seconds, in good order or not."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What is watched.

    Attributes:
        metrics: HOST:PORT of the page for Prometheus; None: no page.
        folders: whose disks the page shows.
        reference: NAME.json, the camera's reference picture: read where it is, learned and kept there where it is not.
            None: the camera's picture is not watched.
        triggered: as in Monitor.
        preview: HOST:PORT of the page for people; None: no page.
        preview_token: as in open_preview.
    """

    metrics: str | None = None
    folders: tuple[Path, ...] = ()
    reference: Path | None = None
    triggered: bool = False
    preview: str | None = None
    preview_token: str | None = None


class PictureWatch(Sink):
    """Shows frames to CameraHealth, off the line's own path."""

    def __init__(self, camera: CameraHealth) -> None:
        self.name = "watch over the picture"
        self._camera = camera

    def write(self, frame: Frame, result: Result) -> None:
        self._camera.look(frame, result.verdict)

    def close(self) -> None:
        pass


class ScoreWatch(Sink):
    """Shows scores to DriftWatch, off the line's own path. A new model is watched by its own good parts' scores."""

    def __init__(self, inspector: Inspector) -> None:
        self.name = "watch over the scores"
        self._inspector = inspector
        self._digest = inspector.bundle_digest
        self._drift = _drift_of(inspector)

    def write(self, frame: Frame, result: Result) -> None:  # noqa: ARG002
        if result.bundle_digest != self._digest:
            if result.bundle_digest != self._inspector.bundle_digest:  # of a model that has gone meanwhile
                return
            self._digest, self._drift = result.bundle_digest, _drift_of(self._inspector)
        if self._drift is not None:
            self._drift.add(result.score, result.verdict)

    def faults(self) -> tuple[str, ...]:
        """As DriftWatch."""
        return () if self._drift is None else self._drift.faults()

    def gauges(self) -> dict[str, float]:
        """As DriftWatch."""
        return {} if self._drift is None else self._drift.gauges()

    def close(self) -> None:
        pass


def _drift_of(inspector: Inspector) -> DriftWatch | None:
    normal = inspector.manifest.normal_scores if inspector.manifest is not None else None
    return None if normal is None else DriftWatch(normal, inspector.rules.image_threshold)


class Attendance:
    """What a run is given: `monitor`, `stop` and `on_tick` for run_stream, and `sinks` beside its own.

    Attributes:
        monitor: counts.
        stop: set when SIGTERM or Ctrl-C came.
        sinks: the watches.
    """

    def __init__(self, inspector: Inspector, source: Source, wishes: Wishes) -> None:
        self.monitor = Monitor(inspector, source, triggered=wishes.triggered)
        self.stop = threading.Event()
        self.sinks: list[Sink] = []
        self.signal: Stop | None = None
        self._inspector = inspector
        self.gauges: list[Callable[[], Mapping[str, float]]] = []
        if wishes.reference is not None:
            kept = load_reference(wishes.reference) if wishes.reference.exists() else None
            camera = CameraHealth(kept, save_to=wishes.reference)
            self.sinks.append(PictureWatch(camera))
            self.monitor.setup.append(camera.faults)
            self.gauges.append(camera.gauges)
        if source.live and inspector.recipes is None:
            # A region's scores have another distribution than whole frames: the bundle's say nothing of them.
            scores = ScoreWatch(inspector)
            self.sinks.append(scores)
            self.monitor.setup.append(scores.faults)
            self.gauges.append(scores.gauges)

    def on_tick(self) -> None:
        """Take in recipes that were edited; what is wrong with one is said, once."""
        if self._inspector.recipes is not None:
            for line in self._inspector.recipes.refresh():
                event(_LOG, logging.WARNING, "recipe", line)


def _about(inspector: Inspector, source: Source) -> "About":
    from diffad_runtime.preview.settings import About  # noqa: PLC0415

    manifest = inspector.manifest
    model_id, version = ("", None) if manifest is None else (manifest.model_id, manifest.version)
    return About(model_id, version, "", source.uri)


@contextmanager
def attended(inspector: Inspector, source: Source, wishes: Wishes) -> Iterator[Attendance]:
    """Watch a run for as long as the block lasts. Main thread.

    Raises:
        MissingExtraError: a metrics page without prometheus-client, a preview without starlette and uvicorn.
        InputError: an address or a token that cannot be used.
        DataError: a reference picture that cannot be used.
    """
    attendance = Attendance(inspector, source, wishes)
    notifier = Notifier.from_environment()
    with ExitStack() as watching:
        if wishes.metrics is not None:
            from diffad_runtime.health.metrics import serve_metrics  # noqa: PLC0415  an extra

            page = serve_metrics(
                attendance.monitor.snapshot,
                wishes.metrics,
                folders=wishes.folders,
                gauges=attendance.gauges,
            )
            watching.callback(page.close)
            event(_LOG, logging.INFO, "metrics", f"metrics at {page.url}/metrics")
        if wishes.preview is not None:
            from diffad_runtime.preview.opening import open_preview  # noqa: PLC0415  an extra

            shown = open_preview(
                attendance.monitor.snapshot,
                wishes.preview,
                token=wishes.preview_token,
                about=partial(_about, inspector, source),
            )
            watching.callback(shown.close)
            attendance.sinks.append(shown.sink)
        if notifier.address:
            watching.enter_context(Watchdog(attendance.monitor.snapshot, notifier))
        attendance.signal = watching.enter_context(stop_on_signals(attendance.stop.set, deadline_s=STOP_S))
        notifier.ready(f"camera {source.uri}")
        try:
            yield attendance
        finally:
            notifier.stopping()
