"""A search for the best student while it works, and its table of candidates.

Knows the fields of a search as the provenance has them. Does not import torch.
"""

import shlex
import sys
from collections.abc import Mapping
from typing import Any

from rich.table import Table
from typing_extensions import Self

from diffad_edge.cli.output import note, print_json, stdout, table
from diffad_edge.cli.status import Rounds

COLUMNS = ("steps", "width", "precision", "p50 ms", "p95 ms", "AUPRO@0.3", "drop", "verdict")

_KEYS = {
    "budget_ms", "max_aupro_drop", "teacher_aupro_30", "covers", "measured_on", "disturbed", "judged_on", "candidates"
}  # fmt: skip
_CANDIDATE_KEYS = {"steps", "width", "precision", "estimate_ms", "latency_ms", "aupro_30", "drop", "verdict", "why"}


class Watch:
    """Says on stderr what is at work; a context manager, which says how to go on after Ctrl-C.

    Args:
        json: where nothing fits, print an object in place of a table.
    """

    def __init__(self, *, json: bool) -> None:
        self._json, self._searching = json, False
        self._rounds: Rounds | None = None

    def say(self, line: str) -> None:
        """A step begins."""
        self._close()
        self._searching = True
        note(line)

    def rounds(self, done: int, total: int) -> None:
        """How far a timing is."""
        if self._rounds is None:
            self._rounds = Rounds("timing").__enter__()
        self._rounds.update(done, total)
        if done == total:
            self._close()

    def table(self, search: Mapping[str, Any]) -> None:
        """All that was found where nothing fits."""
        if self._json:
            print_json({"search": search})
        else:
            show_search(search)

    def _close(self) -> None:
        if self._rounds is not None:
            self._rounds.__exit__()
            self._rounds = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._close()
        if kind is KeyboardInterrupt and self._searching:
            again = shlex.join(["diffad-edge", *sys.argv[1:]])
            note(f"stopped; what is measured is kept, a training goes on where it is. Go on with: {again}")


def is_search(value: object) -> bool:
    """Whether a provenance's entry is one that `show_search` can print: another version may have another form."""
    if not isinstance(value, Mapping) or not value.keys() >= _KEYS or not isinstance(value["candidates"], list):
        return False
    return all(isinstance(one, Mapping) and one.keys() >= _CANDIDATE_KEYS for one in value["candidates"])


def show_search(search: Mapping[str, Any]) -> None:
    """Print the candidates, and what their figures are of."""
    console = stdout()
    console.print(search_table(search))
    for line in search_in_words(search):
        console.print(line, soft_wrap=True)


def search_table(search: Mapping[str, Any]) -> Table:
    """One row a candidate, as the provenance lists them."""
    rows = []
    for one in search["candidates"]:
        times = one["latency_ms"]
        p50, p95 = (f"{times[key]:.2f}" for key in ("p50", "p95")) if times else (_guess(one), "-")
        rows.append(
            [
                str(one["steps"]),
                str(one["width"]),
                one["precision"],
                p50,
                p95,
                _figure(one["aupro_30"]),
                _figure(one["drop"]),
                one["verdict"],
            ]
        )
    title = f"Candidates for {search['budget_ms']:g} ms and a drop of {search['max_aupro_drop']:g}"
    return table(title, COLUMNS, rows, left=0)


def search_in_words(search: Mapping[str, Any]) -> list[str]:
    """What latency and accuracy are of, and why gates refused whom."""
    reasons = [f"{_name(one)}: {one['why']}" for one in search["candidates"] if one["why"]]
    return [
        f"latency: {search['covers']}; {search['measured_on']}; ~: estimated; other processes took at worst "
        f"{search['disturbed']:.0%} of the time of a timing",
        f"AUPRO@0.3: {search['judged_on']}; the teacher has {_figure(search['teacher_aupro_30'])}",
        *reasons,
    ]


def _name(one: Mapping[str, Any]) -> str:
    return f"{one['steps']} x {one['width']} {one['precision']}"


def _guess(one: Mapping[str, Any]) -> str:
    return "-" if one["estimate_ms"] is None else f"~{one['estimate_ms']:.1f}"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
