"""A thread that tells systemd that the run lives, for as long as it does.

Knows when to look and when to say it. Does not know what well means (limits.py), nor how systemd is told (notify.py).

It runs beside the judge and asks for snapshots: a judge that hangs does not move them, a monitor that hangs does not
give any, and in both cases systemd hears nothing more and starts the service again.
"""

import logging
import threading
from collections.abc import Callable

from typing_extensions import Self

from diffad_runtime.health.limits import Limits, follow, verdict_of_health
from diffad_runtime.health.logs import event
from diffad_runtime.health.notify import Notifier, watchdog_interval_s
from diffad_runtime.snapshot import Snapshot

_LOG = logging.getLogger(__name__)
_STATUS_EVERY_S = 5.0
_SLOWEST_S = 5.0
_FRACTION = 4  # kicks within the time that systemd waits; one that goes amiss must not matter
_PATIENCE_S = 1.0


class Watchdog:
    """Context manager; the thread runs from entering to `close`.

    Args:
        take: gives a snapshot; may be called on any thread.
        notifier: where to. Readiness is said by whoever knows it, not here.
        limits: within which the run is well.
        interval_s: between two looks; None: a quarter of what systemd waits, 5 s at most.

    Attributes:
        reasons: why the run is not well, as of the last look; empty where it is.
    """

    def __init__(
        self,
        take: Callable[[], Snapshot],
        notifier: Notifier,
        limits: Limits | None = None,
        interval_s: float | None = None,
    ) -> None:
        self._take = take
        self._notifier = notifier
        self._limits = limits or Limits()
        waits = watchdog_interval_s()
        self.interval_s = interval_s or min(_SLOWEST_S, (waits or _SLOWEST_S * _FRACTION) / _FRACTION)
        self.reasons: tuple[str, ...] = ()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the thread. Legal in every state, from any thread, and twice; waits a second at most."""
        self._ending.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(_PATIENCE_S)

    def _watch(self) -> None:
        progress, told = None, float("-inf")
        while not self._ending.is_set():
            try:
                snapshot = self._take()
                progress = follow(progress, snapshot)
                reasons = verdict_of_health(snapshot, self._limits, progress)
            except Exception as error:  # a run that cannot say how it is, is not well
                snapshot, reasons = None, (f"no snapshot of the run: {type(error).__name__}: {error}",)
            if self._ending.is_set():
                return  # `stopping` was said meanwhile: nothing may follow it
            if not reasons:
                self._notifier.watchdog()
            self._tell_change(reasons)
            now = snapshot.now if snapshot is not None else told
            if reasons or now - told >= _STATUS_EVERY_S:
                self._notifier.status("; ".join(reasons) if snapshot is None else status_line(snapshot, reasons))
                told = now
            self._ending.wait(self.interval_s)

    def _tell_change(self, reasons: tuple[str, ...]) -> None:
        if reasons and not self.reasons:
            event(_LOG, logging.ERROR, "not_well", "not well: " + "; ".join(reasons), reasons=list(reasons))
        elif self.reasons and not reasons:
            event(_LOG, logging.WARNING, "well_again", "well again")
        self.reasons = reasons


def status_line(snapshot: Snapshot, reasons: tuple[str, ...] = ()) -> str:
    """The run in one line: what is wrong first, then what was judged, then camera and sinks."""
    verdicts = snapshot.verdicts
    parts = [f"NOT WELL: {reason}" for reason in reasons]
    parts.append(f"{sum(verdicts.values())} judged, {verdicts.get('NG', 0)} NG, {verdicts.get('ERROR', 0)} ERROR")
    if snapshot.dropped:
        parts.append(f"{snapshot.dropped} dropped")
    detail = f" ({snapshot.source.detail})" if snapshot.source.detail else ""
    parts.append(f"camera {snapshot.source.state.value}{detail}")
    parts += [f"sink {sink.name}: {sink.last_error}" for sink in snapshot.sinks if not sink.healthy]
    parts += snapshot.setup_faults
    return "; ".join(parts)
