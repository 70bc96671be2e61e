"""A study while it runs, and its table. Knows an AblationSummary's fields; does not import torch."""

import shlex
import sys
from typing import Any

from typing_extensions import Self

from diffad_edge.cli.evalview import COLUMNS
from diffad_edge.cli.output import note, print_json, stdout, table
from diffad_edge.cli.status import Parts
from diffad_runtime.errors import DiffadError

FIGURES = ("aupro_30", "aupro_05", "pixel_auroc", "image_auroc")


class Watch:
    """Says on stderr which row is at work and what is left; a context manager, which also says how to go on."""

    def __init__(self) -> None:
        self._parts = Parts()

    def row(self, begins: Any) -> None:
        """A row begins."""
        self._parts.__exit__()
        self._parts = Parts()  # so that parts named as in the row before are announced again
        note(row_line(begins))

    def part(self, what: str, done: int, total: int) -> None:
        """How far a part of a row is."""
        self._parts.update(what, done, total)

    def __enter__(self) -> Self:
        self._parts.__enter__()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._parts.__exit__()
        if kind is KeyboardInterrupt:
            again = shlex.join(["diffad-edge", *sys.argv[1:]])
            note(f"stopped; what is finished is kept, a training goes on where it is. Go on with: {again}")


def row_line(begins: Any) -> str:
    """As in "row 3/12: grid_stride 4, strides 8+16; about 1 h 20 min left"."""
    values = ", ".join(f"{name} {value}" for name, value in begins.values) or begins.name
    seed = "" if begins.seed is None else f", seed {begins.seed}"
    left = "" if begins.minutes_left is None else f"; about {duration(begins.minutes_left)} left"
    return f"row {begins.number}/{begins.total}: {values}{seed}{left}"


def duration(minutes: float) -> str:
    """Minutes in words."""
    if minutes < 1:
        return "a minute" if minutes > 0.5 else "half a minute"
    whole = round(minutes)
    return f"{whole} min" if whole < 60 else f"{whole // 60} h {whole % 60} min"


def show_ablation(summary: Any, *, json: bool) -> None:
    """Print the macro table and where the rest is, or one JSON object.

    Raises:
        DiffadError: rows failed; after all else is printed.
    """
    if json:
        print_json(summary.to_json())
    else:
        _show_table(summary)
    if summary.failures:
        name, why = summary.failures[0]
        raise DiffadError(
            f"{len(summary.failures)} rows failed; the first, {name!r}: {why}",
            mend="Mend the cause, then call again: finished rows are kept",
        )


def _show_table(summary: Any) -> None:
    made, console = summary.table, stdout()
    scope = made.scopes[0] if made.scopes else "macro"
    # With differences to be read, what a row costs is its calls; all of it is in table.md.
    costs = ("calls", "min") if made.against else ("min", "M\nparam.")
    heads = [*made.columns, *(COLUMNS[figure] for figure in FIGURES), *costs]
    rows = [
        [
            *made.labels(line),
            *(_figure(made, line, scope, figure) for figure in FIGURES),
            *(_cost(line, cost) for cost in costs),
        ]
        for line in made.lines
    ]
    categories = len(made.scopes) - 1
    what = f", mean of {categories} categories" if categories > 0 else ""
    console.print(
        table(f"{made.name}{what}: {made.measured} of {made.wanted} rows", heads, rows, left=len(made.columns))
    )
    console.print(f"*: best of its column{'; below: ' + made.spread if made.spread else ''}")
    led = [line for line in made.lines if line.lead.get(scope)]
    if led:
        cells = [[*made.labels(line), *(_lead(line, scope, figure) for figure in FIGURES)] for line in led]
        heads = [*made.columns, *(COLUMNS[figure] for figure in FIGURES)]
        console.print(table(f"minus {made.against!r}, image by image", heads, cells, left=len(made.columns)))
        console.print("*: the 95 % interval leaves out zero")
    console.print(f"table: {summary.out / 'table.md'}", soft_wrap=True)


def _cost(line: Any, name: str) -> str:
    """Network evaluations an image, minutes of training, or millions of parameters."""
    if name == "calls":
        return "-" if line.evaluations is None else str(line.evaluations)
    if name == "min":
        return "-" if line.minutes is None else f"{line.minutes:.1f}"
    return "-" if line.parameters is None else f"{line.parameters / 1e6:.1f}"


def _lead(line: Any, scope: str, figure: str) -> str:
    """As in "*+.125", with its interval below."""
    lead = line.lead.get(scope, {}).get(figure)
    if lead is None:
        return "-"
    difference, low, high = lead
    sure = "*" if low > 0 or high < 0 else ""
    return f"{sure}{difference:+.3f}\n{low:+.3f}\n{high:+.3f}".replace("0.", ".")


def _figure(made: Any, line: Any, scope: str, figure: str) -> str:
    """As in "*0.912", with its ends below: of AUPRO@0.3, or of every figure where there are several seeds."""
    cell = line.cells.get(scope, {}).get(figure)
    if cell is None:
        return "-"
    best = "*" if made.is_best(line, scope, figure) else ""
    ends = ""
    if cell.ends is not None and (figure == FIGURES[0] or len(made.seeds) > 1):
        ends = "\n{:.3f}-{:.3f}".format(*cell.ends).replace("0.", ".")
    return f"{best}{cell.value:.3f}{ends}"
