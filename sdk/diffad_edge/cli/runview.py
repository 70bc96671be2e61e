"""How a run ends on the screen: what could not be read, a table, one JSON object, an exit code.

Knows RunSummary. Does not know how frames are inspected.
"""

import heapq
import math
from dataclasses import asdict
from typing import Any

import typer

from diffad_edge.cli.output import facts, milliseconds, note, print_json, stdout, table
from diffad_runtime.inspector import Inspector
from diffad_runtime.result import Frame, Result
from diffad_runtime.sinks import Sink
from diffad_runtime.sources import Source
from diffad_runtime.tally import RunSummary

INTERRUPTED = 130


class Worst(Sink):
    """The highest scores of a run of any length, a handful of them."""

    def __init__(self, keep: int = 10) -> None:
        self.name = "highest scores"
        self._keep = keep
        self._heap: list[tuple[float, int, str, str]] = []

    def write(self, frame: Frame, result: Result) -> None:  # noqa: ARG002  the result knows its frame's name
        """Count one result; those without a score are passed over. Of equal scores the earlier frame stays."""
        if math.isfinite(result.score):
            heapq.heappush(self._heap, (result.score, -result.frame_id, result.name, result.verdict.value))
            if len(self._heap) > self._keep:
                heapq.heappop(self._heap)

    def close(self) -> None:
        """Nothing is open."""

    def rows(self) -> list[tuple[str, str, float]]:
        """(name, verdict, score), highest first."""
        return [(name, verdict, score) for score, _, name, verdict in sorted(self._heap, reverse=True)]


def finish(
    summary: RunSummary, inspector: Inspector, source: Source, *, json: bool, worst: Worst | None = None
) -> None:
    """Print the summary and leave with its exit code where that is not 0.

    Raises:
        typer.Exit: 1 where a frame could not be read or judged or a sink failed, 130 where Ctrl-C left frames behind.
    """
    for problem in summary.problems:
        note(f"unreadable: {problem}" if not source.live else f"warning: {problem}")
    for fault in summary.sink_faults:
        note(f"warning: {fault.sink} failed {fault.count} times, first: {fault.first_error}")
    if json:
        print_json(summary_record(summary, inspector, source, worst))
    else:
        _print(summary, inspector, worst)
    if code := exit_code(summary, live=source.live):
        raise typer.Exit(code)


def exit_code(summary: RunSummary, *, live: bool) -> int:
    """0 done; 1 something was lost; 130 interrupted before the end of a source that has one.

    Ctrl-C is how a camera's run ends, and no fault. SIGTERM is how a service ends: what went wrong in months was logged
    and counted when it did, and is no failure of ending now.
    """
    if live and summary.stopped and not summary.interrupted:
        return 0
    if summary.errors or summary.problems or summary.sink_faults:
        return 1
    return INTERRUPTED if summary.interrupted and not live else 0


def summary_record(
    summary: RunSummary, inspector: Inspector, source: Source, worst: Worst | None = None
) -> dict[str, Any]:
    """The summary's fields and what judged; `worst` only where it was kept."""
    record = {
        **asdict(summary),
        "source": source.uri,
        "backend": inspector.engine.backend,
        "variant": inspector.engine.variant,
        "bundle_digest": inspector.bundle_digest,
        "image_threshold": inspector.rules.image_threshold,
        "pixel_threshold": inspector.rules.pixel_threshold,
    }
    if worst is not None:
        record["worst"] = [{"name": name, "verdict": verdict, "score": score} for name, verdict, score in worst.rows()]
    return record


def _print(summary: RunSummary, inspector: Inspector, worst: Worst | None) -> None:
    console = stdout()
    if worst is not None and worst.rows():
        rows = [(name or "-", verdict, f"{score:.4g}") for name, verdict, score in worst.rows()]
        console.print(table("Highest scores", ("image", "verdict", "score"), rows, left=2))
        console.print()
    latency = summary.latency_ms
    lines = [
        ("frames", str(summary.frames)),
        (
            "NG",
            f"{summary.ng}, {summary.ng / max(summary.frames, 1):.1%}, threshold {inspector.rules.image_threshold:.4g}",
        ),
    ]
    for label, count in (
        ("without judgement", summary.errors),
        ("dropped", summary.dropped),
        ("unreadable", len(summary.problems)),
    ):
        if count:
            lines.append((label, str(count)))
    lines += [
        ("rate", f"{summary.frames_per_second:.1f} frames per second, {summary.seconds:.1f} s"),
        (
            "latency",
            f"p50 {milliseconds(latency['p50'])} ms, p95 {milliseconds(latency['p95'])} ms, "
            f"p99 {milliseconds(latency['p99'])} ms",
        ),
        ("engine", f"{inspector.engine.backend}, variant {inspector.engine.variant}"),
    ]
    if summary.interrupted or summary.stopped:
        lines.append(("ended by", "Ctrl-C" if summary.interrupted else "SIGTERM"))
    console.print(facts(lines))
