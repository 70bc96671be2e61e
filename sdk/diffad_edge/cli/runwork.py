"""A run with everybody who watches it.

Knows in which order they are put together, and what the terminal shows meanwhile. Does not know options.
"""

import os
import signal
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial

from diffad_edge.cli.judge import Judge
from diffad_edge.cli.status import StatusLine
from diffad_runtime.allocator import few_heaps
from diffad_runtime.attendance import Wishes, attended
from diffad_runtime.errors import InputError
from diffad_runtime.health.logs import configure
from diffad_runtime.line.service import run_line
from diffad_runtime.line.wiring import Wiring
from diffad_runtime.pipeline import run_stream
from diffad_runtime.sinks import Sink
from diffad_runtime.sources import Source
from diffad_runtime.sources.limits import Limits
from diffad_runtime.tally import RunSummary


def prepare_process(*, json: bool = False) -> None:
    """Make the process fit for months, and send log lines to stderr; under systemd with its journal's priorities."""
    few_heaps()
    configure(json=json, level="info", journald="JOURNAL_STREAM" in os.environ)


def camera_limits(given: Sequence[str] | None) -> Limits | None:
    """["stall_s=2", "give_up_s=none"] as limits; None where none were given.

    Raises:
        InputError: not NAME=SECONDS, an unknown name, or a bad value.
    """
    if not given:
        return None
    values: dict[str, str | None] = {}
    for one in given:
        name, separator, value = one.partition("=")
        if not separator:
            raise InputError(f"--camera-limit {one!r}, expected NAME=SECONDS", mend="Write it as stall_s=2")
        values[name.strip()] = None if value.strip().lower() == "none" else value.strip()
    return Limits.of(**values)


def carry_out(
    judge: Judge,
    source: Source,
    sinks: Sequence[Sink],
    wishes: Wishes,
    max_frames: int | None,
    *,
    wiring: Wiring | None = None,
    quiet: bool,
) -> RunSummary:
    """Run until the source ends, or somebody ends it; `quiet` shows no status line."""
    with ExitStack() as stack:
        opened = ExitStack()
        for sink in sinks:  # closed by the run; here only where it never begins
            opened.enter_context(sink)
        with opened:
            attendance = stack.enter_context(attended(judge.inspector, source, wishes))
            opened.pop_all()
        status = None if quiet else stack.enter_context(StatusLine())
        work = run_stream if wiring is None else partial(run_line, wiring=wiring)
        if judge.models is not None:
            attendance.monitor.setup.append(judge.models.faults)
        summary = work(
            judge.inspector,
            source,
            [*sinks, *attendance.sinks],
            max_frames=max_frames,
            on_result=partial(judge.count, None if status is None else status.update),
            stop=attendance.stop,
            monitor=attendance.monitor,
            on_tick=partial(judge.tick, attendance.on_tick),
        )
    pressed = attendance.signal is not None and attendance.signal.signal is signal.SIGINT
    return replace(summary, interrupted=summary.interrupted or pressed)
