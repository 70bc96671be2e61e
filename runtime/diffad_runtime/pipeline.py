"""The streaming run: capture on one thread, judgement on the caller's, sinks on a third.

Knows how the three end together, in every state. Does not know URIs, engines or files.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from diffad_runtime.delivery import Delivery, SinkFault
from diffad_runtime.inspector import Inspector
from diffad_runtime.latency import StageRecorders
from diffad_runtime.result import Result, Verdict
from diffad_runtime.sinks.base import Sink
from diffad_runtime.sources import Source


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What a run did.

    Attributes:
        frames: judged, ERROR among them.
        ng, errors: verdicts NG and ERROR.
        dropped: frames of a live source that were never judged, newer ones having come.
        seconds, frames_per_second: from the first frame asked for to the last result.
        latency_ms: {"p50", "p95", "p99"} of the total per frame.
        stages: the same for each stage.
        sink_faults: sinks that failed, how often, and what they said first.
        problems: what the source could not read, and what did not end as it should.
        interrupted: ended by Ctrl-C.
    """

    frames: int
    ng: int
    errors: int
    dropped: int
    seconds: float
    frames_per_second: float
    latency_ms: dict[str, float]
    stages: dict[str, dict[str, float]]
    sink_faults: list[SinkFault]
    problems: list[str]
    interrupted: bool


def run_stream(
    inspector: Inspector,
    source: Source,
    sinks: Sequence[Sink],
    *,
    max_frames: int | None = None,
    on_result: Callable[[Result], None] | None = None,
) -> RunSummary:
    """Judge a source until it ends, `max_frames` are judged, Ctrl-C comes, or the inspector or source is closed.

    A live source is never made to wait: only its newest frame is judged, older ones are dropped and counted. Files and
    folders are judged completely. A sink that raises is counted and reported, and the run goes on. The source and the
    sinks are closed in every case, the inspector is left open.

    Args:
        inspector: judges.
        source: opened.
        sinks: get every result, in order; a full queue makes the judge wait.
        max_frames: None: no limit.
        on_result: called with each result on this thread before the sinks see it; what it raises ends the run.

    Raises:
        EngineError: the inspector was closed before the run.
        Exception: whatever the source raised, after all results before it were delivered.
    """
    delivery = Delivery(sinks)
    stages = StageRecorders()
    counts = dict.fromkeys(Verdict, 0)
    interrupted = False
    start = end = time.perf_counter()
    try:
        feed = inspector.feed(source)
        try:
            while max_frames is None or sum(counts.values()) < max_frames:
                frame = next(feed, None)
                if frame is None:
                    break
                result = inspector.judge(frame)
                if inspector.closed:  # closed over this frame: its ERROR is no judgement of the part
                    break
                end = time.perf_counter()
                counts[result.verdict] += 1
                stages.add(result.latency_ms)
                if on_result is not None:
                    on_result(result)
                delivery.put(frame, result)
        except KeyboardInterrupt:
            interrupted = True
        finally:
            feed.close()
    finally:
        delivery.close()
    frames = sum(counts.values())
    seconds = end - start
    problems = [str(problem) for problem in source.problems]
    if feed.stuck:
        problems.append("the source did not return from its last read; its thread was left behind")
    return RunSummary(
        frames=frames,
        ng=counts[Verdict.NG],
        errors=counts[Verdict.ERROR],
        dropped=feed.dropped,
        seconds=seconds,
        frames_per_second=frames / seconds if seconds > 0 else 0.0,
        latency_ms=stages["total"].summary(),
        stages=stages.summary(),
        sink_faults=delivery.faults,
        problems=problems,
        interrupted=interrupted,
    )
