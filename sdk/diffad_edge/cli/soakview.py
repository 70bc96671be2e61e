"""A soak on the screen: a line that moves, then what was planted, what was noticed, what grew.

Knows SoakReport. Does not know how a soak is run.
"""

import time
from types import TracebackType

import typer
from typing_extensions import Self

from diffad_edge.cli.output import facts, note, print_json, stdout, table
from diffad_edge.cli.status import Rounds
from diffad_runtime.snapshot import Snapshot
from diffad_runtime.soak import SoakReport

_NOTE_S = 60.0


class SoakLine:
    """A bar on a terminal; elsewhere a line now and then."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._bar = Rounds("seconds")
        self._noted = time.monotonic()

    def update(self, elapsed: float, snapshot: Snapshot) -> None:
        """Show how far it is."""
        self._bar.update(int(elapsed), int(self._seconds))
        if time.monotonic() - self._noted >= _NOTE_S:
            self._noted = time.monotonic()
            verdicts = "   ".join(f"{name} {count}" for name, count in snapshot.verdicts.items())
            source = snapshot.source
            note(f"{elapsed:.0f} s   {verdicts}   camera {source.state.value}, opened again {source.reconnects} times")

    def __enter__(self) -> Self:
        self._bar.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.__exit__(kind, error, at)


def finish(report: SoakReport, *, json: bool) -> None:
    """Print the report and leave with 1 where it has not passed.

    Raises:
        typer.Exit: as above.
    """
    for line in report.failures:
        note(f"failed: {line}")
    if json:
        print_json(report.to_json())
    else:
        _print(report)
    if not report.passed:
        raise typer.Exit(1)


def _print(report: SoakReport) -> None:
    console, parts = stdout(), report.parts
    rows = [
        (
            kind,
            str(one.planted),
            str(one.missed) if one.allowed_s is not None else "-",
            _seconds(one.worst_s),
            _seconds(one.allowed_s),
            _seconds(one.resumed_s),
        )
        for kind, one in report.faults.items()
    ]
    columns = ("fault", "planted", "missed", "noticed within", "allowed", "parts judged again within")
    console.print(table("Planted faults", columns, rows))
    console.print()
    verdicts = ", ".join(f"{count} {name}" for name, count in parts.verdicts.items())
    console.print(
        facts(
            [
                ("time", f"{report.seconds:.0f} s, of which {report.warm_up_s:.0f} s to warm up"),
                ("parts", f"{parts.asked} asked for, {parts.answered} answered: {verdicts}"),
                ("overdue", f"{parts.overdue}, by up to {parts.worst_overdue_ms:.1f} ms"),
                ("trigger to verdict", f"p50 {parts.p50_ms:.1f} ms, p99 {parts.p99_ms:.1f} ms"),
                ("camera", f"{report.frames} frames, {report.reconnects} reconnects, {report.stalls} stalls"),
                ("memory", _then_now(report.rss_mib, "MiB") + f", {report.rss_mib_per_hour:+.2f} MiB an hour"),
                ("open files", _then_now(report.handles)),
                ("threads", _then_now(report.threads)),
                *((name, f"{written} written, {failed} failed") for name, (written, failed, _) in report.sinks.items()),
                ("passed", "yes" if report.passed else "no"),
            ]
        )
    )


def _then_now(values: tuple[float, float, float], unit: str = "") -> str:
    first, last, most = (f"{value:.1f}" if isinstance(value, float) else str(value) for value in values)
    return f"{first} after the warm-up, {last} at the end, at most {most} {unit}".rstrip()


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} s"
