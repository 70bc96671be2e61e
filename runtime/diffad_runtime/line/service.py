"""A run with signals to the line: by triggers, or freely with every frame a part.

Knows in which order station, desk and adapters begin and end. Does not know protocols.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from threading import Event

from diffad_runtime.errors import EngineError
from diffad_runtime.inspector import Inspector
from diffad_runtime.line.desk import LineDesk
from diffad_runtime.line.wiring import Wiring
from diffad_runtime.monitor import Monitor
from diffad_runtime.pipeline import MOST_FAILURES, run_stream
from diffad_runtime.result import Result
from diffad_runtime.sinks.base import Sink
from diffad_runtime.sources import Source
from diffad_runtime.station import Station
from diffad_runtime.tally import RunSummary, Tally

_TICK_S = 0.1


def run_line(
    inspector: Inspector,
    source: Source,
    sinks: Sequence[Sink],
    wiring: Wiring,
    *,
    max_frames: int | None = None,
    on_result: Callable[[Result], None] | None = None,
    stop: Event | None = None,
    monitor: Monitor | None = None,
    on_tick: Callable[[], None] | None = None,
) -> RunSummary:
    """Judge parts and tell the line, until told to stop, or `max_frames` parts were judged.

    Arguments and end as run_stream. A camera that is at its end does not end a triggered run: the line is told, every
    further part is ERROR.

    Raises:
        InputError, MissingExtraError: a signal that cannot work.
        EngineError: as run_stream.
    """
    file = wiring.file
    monitor = monitor or Monitor(inspector, source, triggered=file.triggered)
    with ExitStack() as unused:
        unused.callback(source.close)  # where a signal cannot even start, nobody else closes these
        for sink in sinks:
            unused.callback(sink.close)
        adapters = wiring.adapters()
        tally = Tally(on_result)
        station: Station | None = None
        if file.triggered:
            station = Station(
                inspector,
                source,
                sinks,
                on_verdict=tally.add,
                late_trigger_ms=file.late_trigger_ms,
                camera_delay_ms=file.camera_delay_ms,
                monitor=monitor,
            )
            unused.callback(station.close)
        submit = None if station is None else station.submit
        desk = LineDesk(
            inspector, monitor, adapters, submit=submit, deadline_ms=file.deadline_ms, beat_s=file.beat_s
        ).start()
        unused.pop_all()
    try:
        if station is not None:
            summary = _serve(inspector, source, station, tally, stop, max_frames, on_tick)
        else:

            def tell(result: Result) -> None:
                desk.announce(result)
                if on_result is not None:
                    on_result(result)

            summary = run_stream(
                inspector,
                source,
                sinks,
                max_frames=max_frames,
                on_result=tell,
                stop=stop,
                monitor=monitor,
                on_tick=on_tick,
            )
    finally:
        desk.close()  # after the station: its last parts are ERROR, and the line is told
    summary.problems.extend(desk.problems)
    return summary


def _serve(
    inspector: Inspector,
    source: Source,
    station: Station,
    tally: Tally,
    stop: Event | None,
    max_parts: int | None,
    on_tick: Callable[[], None] | None,
) -> RunSummary:
    """Let triggers come until there is a reason to end; the station is closed then."""
    stopped = interrupted = False
    with station:
        try:
            while max_parts is None or tally.count < max_parts:
                if stop is not None and stop.is_set():
                    stopped = True
                    break
                if inspector.failures >= MOST_FAILURES:
                    raise EngineError(
                        f"the engine failed {inspector.failures} times in a row",
                        mend="Start again; where that does not help, run diffad-edge doctor",
                    )
                if on_tick is not None:
                    on_tick()
                time.sleep(_TICK_S)
        except KeyboardInterrupt:
            interrupted = True
        dropped = station.monitor.snapshot().dropped
    problems = [*map(str, source.problems), *station.problems]
    return tally.summary(dropped, station.sink_faults, problems, interrupted=interrupted, stopped=stopped)
