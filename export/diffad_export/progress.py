"""Progress on the terminal for work that takes more than a moment. One look for all of it; silent when asked.

Of several processes only the main one shows any.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from diffad_export.distributed import is_main

T = TypeVar("T")


def bar(*, note: bool = False) -> Progress:
    """A progress display on stderr: description, bar, count, time passed and left, and a free note where asked."""
    columns = [
        TextColumn("[bold]{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    ]
    if note:
        columns.append(TextColumn("{task.fields[note]}"))
    console = Console(stderr=True)
    quiet = bool(os.environ.get("DIFFAD_QUIET")) or not console.is_terminal or not is_main()
    return Progress(*columns, console=console, disable=quiet, transient=False)


def track(items: Sequence[T] | Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Iterate with a bar; `total` is needed where `items` has no length."""
    with bar() as progress:
        yield from progress.track(items, total=total, description=description)
