"""A study's figures as one table: lines of cells, and what each line differs from a chosen row by.

Knows rows and records. Does not measure, and does not know Markdown or CSV (tabletext.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from diffad_calibration.evaluation.results import Lead
from diffad_calibration.metrics import FIGURES
from diffad_export.ablation.record import Figures, ReferenceRecord, RowRecord
from diffad_export.ablation.study import Plan, Row

MACRO = "macro"

LineKey = tuple[str, str]
"""A row's name and "", or the key of a set of references and the name of one."""
Leads = Mapping[LineKey, Mapping[str, Lead]]
"""Line -> scope -> figure -> difference, low, high."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A figure, the mean over seeds; `ends`: of the interval of one seed, or least and largest of several."""

    value: float
    ends: tuple[float, float] | None = None

    def words(self, *, spread: bool) -> str:
        """Three digits, with the ends where asked."""
        if self.ends is None or not spread:
            return f"{self.value:.3f}"
        return f"{self.value:.3f} ({self.ends[0]:.3f} to {self.ends[1]:.3f})"


@dataclass(frozen=True, slots=True)
class Line:
    """One line.

    Attributes:
        name: of the row or the reference.
        shown: the name where the values do not say it already, else "".
        values: of the varied paths, "-" where they have no part in it.
        cells: scope ("macro", or a category) -> figure -> cell; a figure that is undefined is left out.
        seeds: how many were measured.
        minutes: of training, mean over seeds; of fitting and measuring for references. None: not known.
        parameters: of the network; None for references.
        gflops: of one evaluation.
        keys: of the records.
        evaluations: of the network, for one image; None for references.
        lead: scope -> figure -> this line minus the one that all are held against, low, high.
    """

    name: str
    shown: str
    values: tuple[str, ...]
    cells: Mapping[str, Mapping[str, Cell]]
    seeds: int
    minutes: float | None
    parameters: int | None
    gflops: float | None
    keys: tuple[str, ...]
    reference: bool = False
    evaluations: int | None = None
    lead: Mapping[str, Lead] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Table:
    """All lines that have figures.

    Attributes:
        headings: of the varied values.
        scopes: "macro", and the categories where there are several.
        wanted: rows times seeds of the study; `measured`: how many of them are in the table.
        seeds: of the study.
        spread: what stands in brackets; "" for nothing.
        against: name of the row that all others are held against; "" for none.
    """

    name: str
    headings: tuple[str, ...]
    scopes: tuple[str, ...]
    lines: tuple[Line, ...]
    wanted: int
    measured: int
    seeds: tuple[int, ...]
    spread: str
    against: str = ""

    def is_best(self, line: Line, scope: str, figure: str) -> bool:
        """Whether no line has a larger one, as printed."""
        own = line.cells.get(scope, {}).get(figure)
        cells = [other.cells.get(scope, {}).get(figure) for other in self.lines]
        printed = [round(cell.value, 3) for cell in cells if cell is not None]
        return own is not None and len(printed) > 1 and round(own.value, 3) >= max(printed)

    @property
    def named(self) -> bool:
        """Whether any line must show its name."""
        return any(line.shown for line in self.lines)

    @property
    def columns(self) -> list[str]:
        """Headings before the figures."""
        return ["row", *self.headings] if self.named else [*self.headings]

    def labels(self, line: Line) -> list[str]:
        """Cells under `columns`."""
        return [line.shown, *line.values] if self.named else [*line.values]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "study": self.name,
            "wanted": self.wanted,
            "measured": self.measured,
            "seeds": list(self.seeds),
            "spread": self.spread,
            "against": self.against or None,
            "rows": [self._record(line) for line in self.lines if not line.reference],
            "references": [self._record(line) for line in self.lines if line.reference],
        }

    def _record(self, line: Line) -> dict[str, Any]:
        figures = {
            scope: {name: {"value": cell.value, "ends": cell.ends} for name, cell in cells.items()}
            for scope, cells in line.cells.items()
        }
        return {
            "name": line.name,
            "values": dict(zip(self.headings, line.values, strict=True)),
            "macro": figures.pop(MACRO, {}),
            "classes": figures,
            "seeds": line.seeds,
            "minutes": line.minutes,
            "parameters": line.parameters,
            "gflops": line.gflops,
            "evaluations": line.evaluations,
            "keys": list(line.keys),
            "lead": {scope: {name: list(one) for name, one in lead.items()} for scope, lead in line.lead.items()},
        }


def make_table(
    plan: Plan,
    rows: Sequence[tuple[Row, Sequence[RowRecord]]],
    references: Sequence[ReferenceRecord],
    leads: Leads | None = None,
) -> Table:
    """Lines in the study's order, references after them.

    Args:
        rows: every row with its records, one a seed; those without any are left out.
        references: one a size and backbone.
        leads: of the lines that could be compared.
    """
    leads = leads or {}
    several = len(plan.seeds) > 1
    lines = [_row_line(row, records, plan, leads, several=several) for row, records in rows if records]
    for record in references:
        lines += [_reference_line(name, figures, record, plan, leads) for name, figures in record.models.items()]
    names = dict.fromkeys(scope for line in lines for scope in line.cells)
    scopes = tuple(names) if len(names) > 2 else tuple(names)[:1]  # of one category the mean is the category
    spread = "least and largest over seeds" if several else ("95 % bootstrap interval" if plan.study.confidence else "")
    measured = sum(len(records) for _, records in rows)
    return Table(
        plan.study.name,
        plan.headings,
        scopes,
        tuple(lines),
        len(plan.rows) * len(plan.seeds),
        measured,
        plan.seeds,
        spread,
        plan.against.name if plan.against else "",
    )


def _row_line(row: Row, records: Sequence[RowRecord], plan: Plan, leads: Leads, *, several: bool) -> Line:
    shown = row.name if row.given or not row.values else ""
    distinct = list({record.key: record for record in records}.values())  # one teacher for all seeds is one record
    if several and len(records) < len(plan.seeds):
        shown = f"{shown or row.name} [{len(records)} of {len(plan.seeds)} seeds]"
    return Line(
        name=row.name,
        shown=shown,
        values=row.values,
        cells=_cells([record.figures for record in distinct], several=several),
        seeds=len(records),
        minutes=fmean(record.minutes for record in distinct),
        parameters=records[0].parameters,
        gflops=records[0].gflops,
        keys=tuple(record.key for record in distinct),
        evaluations=records[0].evaluations,
        lead=leads.get((row.name, ""), {}),
    )


def _reference_line(name: str, figures: Figures, record: ReferenceRecord, plan: Plan, leads: Leads) -> Line:
    told = {"size": str(record.size), "backbone": record.backbone}
    return Line(
        name=name,
        shown=name,
        values=tuple(told.get(path, "-") for path in plan.varied),
        cells=_cells([figures], several=False),
        seeds=1,
        minutes=None,
        parameters=None,
        gflops=None,
        keys=(record.key,),
        reference=True,
        lead=leads.get((record.key, name), {}),
    )


def _cells(found: Sequence[Figures], *, several: bool) -> dict[str, dict[str, Cell]]:
    cells: dict[str, dict[str, Cell]] = {}
    for scope in found[0].scopes:
        cells[scope] = {}
        for figure in FIGURES:
            values = [v for one in found if (v := one.scopes[scope].get(figure)) is not None]
            if not values:
                continue
            spread = (min(values), max(values)) if len(values) > 1 else None
            ends = spread if several else found[0].ends(scope, figure)
            cells[scope][figure] = Cell(fmean(values), ends)
    return cells
