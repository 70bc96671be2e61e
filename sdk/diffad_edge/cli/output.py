"""How commands print: tables and facts on stdout, notes on stderr, one JSON object as the last line.

Knows rich. Does not know what is printed. Whatever comes from outside is taken as plain text, never as markup.
"""

import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text


def stdout() -> Console:
    """Console for results."""
    return Console(highlight=False, markup=False, emoji=False)


def stderr() -> Console:
    """Console for progress and notes."""
    return Console(stderr=True, highlight=False, markup=False, emoji=False)


def note(line: str) -> None:
    """One line on stderr, as it is: never wrapped, so that tools can read it."""
    print(" ".join(line.split()), file=sys.stderr)


def print_json(record: Mapping[str, Any]) -> None:
    """One line of strict JSON on stdout. NaN and infinity become null, as JSON has neither."""
    print(json.dumps(_strict(record), allow_nan=False), flush=True)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 1) -> Table:
    """A table; the first `left` columns are words, the others figures, flush right."""
    made = Table(title=Text(title, style="bold"), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for index, column in enumerate(columns):
        made.add_column(Text(column), justify="left" if index < left else "right", overflow="fold")
    for row in rows:
        made.add_row(*[Text(cell) for cell in row])
    return made


def facts(rows: Iterable[tuple[str, str]]) -> Table:
    """Two columns without lines: label, value."""
    made = Table.grid(padding=(0, 2))
    made.add_column(style="dim")
    made.add_column(overflow="fold")
    for label, value in rows:
        made.add_row(Text(label), Text(value))
    return made


def milliseconds(value: float) -> str:
    """Milliseconds for a table, "-" where nothing was measured."""
    return f"{value:.2f}" if math.isfinite(value) else "-"


def size(count: float) -> str:
    """Bytes in a unit that people read."""
    for unit in ("B", "KB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def _strict(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _strict(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_strict(inner) for inner in value]
    return value
