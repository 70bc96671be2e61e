"""What a replay found, on the screen.

Knows ReplayReport. Does not know how frames are compared.
"""

import typer

from diffad_edge.cli.output import facts, note, print_json, stdout, table
from diffad_runtime.replay import ReplayReport

_GATE_NOT_MET = 3
_SHOWN = 20


def finish(report: ReplayReport, *, json: bool) -> None:
    """Print the report and leave with 3 where something differs or could not be used.

    Raises:
        typer.Exit: as above.
    """
    for line in [*report.corrupt, *(f"{name} is not there any more" for name in report.missing)][:_SHOWN]:
        note(f"unreadable: {line}")
    if json:
        print_json(report.to_json())
    else:
        _print(report)
    if not report.same:
        raise typer.Exit(_GATE_NOT_MET)


def _print(report: ReplayReport) -> None:
    console = stdout()
    if report.differences:
        rows = [
            (one.file or "-", field, f"{then}", f"{now}")
            for one in report.differences[:_SHOWN]
            for field, (then, now) in one.fields.items()
        ]
        console.print(table("Judged otherwise", ("frame", "what", "then", "now"), rows, left=2))
        console.print()
    lines = [
        ("sessions", str(len(report.sessions))),
        ("judged again", str(report.compared)),
        ("identical", f"{report.identical}, to the last bit"),
    ]
    lines += [(f"differ in {name}", str(count)) for name, count in report.counts.items()]
    if report.errors:
        lines.append(("without judgement then", str(report.errors)))
    if report.removed:
        lines.append(("removed by limits", str(report.removed)))
    lines += [(f"other {name}", f"{then} then, {now} now") for name, (then, now) in report.other.items()]
    console.print(facts(lines))
