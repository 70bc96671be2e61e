"""The streaming run: capture on one thread, judgement on others, each sink on its own.

Knows how they end together, in every state. Does not know URIs, engines or files.
"""

from collections.abc import Callable, Sequence
from threading import Event

from diffad_runtime.delivery import Delivery
from diffad_runtime.errors import EngineError
from diffad_runtime.feed import Feed
from diffad_runtime.frameguard import FrameGuard
from diffad_runtime.inspector import Inspector
from diffad_runtime.judges import Judges
from diffad_runtime.monitor import Monitor
from diffad_runtime.result import Frame, Result, Verdict
from diffad_runtime.sinks.base import Sink
from diffad_runtime.sources import Source
from diffad_runtime.tally import RunSummary, Tally

JUDGES = 2
_TICK_S = 0.1  # how soon a stop is heard
_PATIENCE_S = 5.0  # for the frames under judgement
MOST_FAILURES = 100  # engine errors in a row: it will not mend itself, but a new process may


def run_stream(
    inspector: Inspector,
    source: Source,
    sinks: Sequence[Sink],
    *,
    max_frames: int | None = None,
    on_result: Callable[[Result], None] | None = None,
    stop: Event | None = None,
    monitor: Monitor | None = None,
    on_tick: Callable[[], None] | None = None,
    judges: int = JUDGES,
) -> RunSummary:
    """Judge a source until it ends, `max_frames` are judged, it is told to stop, or the inspector or source is closed.

    A live source is never made to wait: only its newest frame is judged, older ones are dropped and counted, and a sink
    that is slower than the camera loses results of its own, counted too. Files and folders are judged and written
    completely. A sink that raises is counted and reported, and the run goes on. The source and the sinks are closed in
    every case, the inspector is left open. A live source's frame that is frozen or of another size than the first one
    is ERROR.

    Args:
        inspector: judges.
        source: opened.
        sinks: each gets the results in order, on a thread of its own.
        max_frames: None: no limit.
        on_result: called with each result, in order, before the sinks get it, on one of the judges' threads; what it
            raises ends the run.
        stop: when set, frames under judgement are finished and everything is closed, as on Ctrl-C.
        monitor: counts; None: one of its own.
        on_tick: called about ten times a second on this thread while it runs.
        judges: frames under judgement at once.

    Raises:
        EngineError: the inspector was closed before the run, or the engine failed 100 times in a row.
        Exception: whatever the source or on_result raised, after all results before it were delivered.
    """
    monitor = monitor or Monitor(inspector, source)
    delivery = Delivery(sinks, wait=not source.live)
    tally = Tally(on_result)
    stopped = interrupted = False

    def tell(frame: Frame, result: Result) -> None:
        monitor.count(result)
        tally.add(result)
        delivery.put(frame, result)

    try:
        feed = inspector.feed(source)
        work = _Work(inspector, feed, monitor, max_frames)
        monitor.setup.append(work.guard.faults)
        monitor.queues["capture"] = feed.waiting
        monitor.sinks = delivery.status
        workers = Judges(judges, work.take, work.judge, tell)
        try:
            workers.start()
            while not workers.wait(_TICK_S):
                if on_tick is not None:
                    on_tick()
                if stop is not None and stop.is_set():
                    stopped = True
                    break
        except KeyboardInterrupt:
            interrupted = True
        finally:
            workers.stop()
            feed.close()
            left_behind = not workers.wait(_PATIENCE_S)
    finally:
        delivery.close()
    if workers.error is not None:
        raise workers.error
    problems = [str(problem) for problem in source.problems]
    if feed.stuck:
        problems.append("the source did not return from its last read; its thread was left behind")
    if left_behind:
        problems.append("the engine did not return from its last frame; its thread was left behind")
    return tally.summary(feed.dropped, delivery.faults, problems, interrupted=interrupted, stopped=stopped)


class _Work:
    """What the judges do with a run's frames."""

    def __init__(self, inspector: Inspector, feed: Feed, monitor: Monitor, max_frames: int | None) -> None:
        self._inspector, self._feed, self._monitor, self._left = inspector, feed, monitor, max_frames
        self.guard = FrameGuard(live=feed.source.live)

    def take(self) -> Frame | None:
        if self._left == 0:
            return None
        if self._left is not None:
            self._left -= 1
        frame = next(self._feed, None)
        self._monitor.set(dropped=self._feed.dropped)
        return frame

    def judge(self, frame: Frame) -> Result | None:
        inspector = self._inspector
        reason = self.guard.refuse(frame)
        result = inspector.refused(frame, reason) if reason else inspector.judge(frame)
        if inspector.closed and result.verdict is Verdict.ERROR:  # closed over it: no judgement of the part
            return None
        if inspector.failures >= MOST_FAILURES:
            raise EngineError(
                f"the engine failed {inspector.failures} times in a row, the last time: {result.error}",
                mend="Start again; where that does not help, run diffad-edge doctor",
            )
        return result
