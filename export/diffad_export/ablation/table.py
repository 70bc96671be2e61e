"""A study's figures as one table: Markdown for people, CSV for programs, plain values for JSON.

Knows rows, records and digits. Does not measure, and does not print.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from diffad_calibration.metrics import FIGURES
from diffad_export.ablation.record import Figures, ReferenceRecord, RowRecord
from diffad_export.ablation.study import Plan, Row

SHOWN = {
    "aupro_30": "AUPRO@0.3",
    "aupro_05": "AUPRO@0.05",
    "pixel_auroc": "pixel AUROC",
    "image_auroc": "image AUROC",
}
MACRO = "macro"


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


@dataclass(frozen=True, slots=True)
class Table:
    """All lines that have figures.

    Attributes:
        headings: of the varied values.
        scopes: "macro", and the categories where there are several.
        wanted: rows times seeds of the study; `measured`: how many of them are in the table.
        seeds: of the study.
        spread: what stands in brackets; "" for nothing.
    """

    name: str
    headings: tuple[str, ...]
    scopes: tuple[str, ...]
    lines: tuple[Line, ...]
    wanted: int
    measured: int
    seeds: tuple[int, ...]
    spread: str

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
            "keys": list(line.keys),
        }


def make_table(
    plan: Plan, rows: Sequence[tuple[Row, Sequence[RowRecord]]], references: Sequence[ReferenceRecord]
) -> Table:
    """Lines in the study's order, references after them.

    Args:
        rows: every row with its records, one a seed; those without any are left out.
        references: one a size and backbone.
    """
    several = len(plan.seeds) > 1
    lines = [_row_line(row, records, plan, several=several) for row, records in rows if records]
    for record in references:
        lines += [_reference_line(name, figures, record, plan) for name, figures in record.models.items()]
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
    )


def to_markdown(table: Table) -> str:
    """The macro table, then one a category; the best of a column in bold."""
    parts = [f"# {table.name}", ""]
    facts = [f"{table.measured} of {table.wanted} rows measured."]
    if len(table.seeds) > 1:
        facts.append(f"Means over seeds {', '.join(map(str, table.seeds))}.")
    if table.spread:
        facts.append(f"In brackets: {table.spread}.")
    parts += [" ".join([*facts, "Bold: best of its column."]), ""]
    parts += ["Measured on test images: a setting that is chosen by this table must be judged on other ones.", ""]
    for scope in table.scopes:
        if len(table.scopes) > 1:
            title = f"Mean of {len(table.scopes) - 1} categories" if scope == MACRO else scope
            parts += [f"## {title}", ""]
        parts += [*_markdown_table(table, scope), ""]
    return "\n".join(parts)


def to_csv(table: Table) -> str:
    """One line a row and scope, every figure with its ends, nothing rounded."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    ends = [f"{figure}{end}" for figure in FIGURES for end in ("", "_low", "_high")]
    writer.writerow(["row", "kind", "scope", *table.headings, *ends, "seeds", "minutes", "parameters", "gflops"])
    for line in table.lines:
        for scope in table.scopes:
            numbers: list[float | str] = []
            for figure in FIGURES:
                cell = line.cells.get(scope, {}).get(figure)
                low, high = ("", "") if cell is None or cell.ends is None else cell.ends
                numbers += ["" if cell is None else cell.value, low, high]
            cost = [_blank(line.minutes), _blank(line.parameters), _blank(line.gflops)]
            kind = "reference" if line.reference else "row"
            writer.writerow([line.name, kind, scope, *line.values, *numbers, line.seeds, *cost])
    return text.getvalue()


def minutes_words(line: Line) -> str:
    """Minutes for a table."""
    return "-" if line.minutes is None else f"{line.minutes:.1f}"


def parameters_words(line: Line) -> str:
    """Millions of parameters for a table."""
    return "-" if line.parameters is None else f"{line.parameters / 1e6:.2f}"


def _row_line(row: Row, records: Sequence[RowRecord], plan: Plan, *, several: bool) -> Line:
    shown = row.name if row.given or not row.values else ""
    if several and len(records) < len(plan.seeds):
        shown = f"{shown or row.name} [{len(records)} of {len(plan.seeds)} seeds]"
    return Line(
        name=row.name,
        shown=shown,
        values=row.values,
        cells=_cells([record.figures for record in records], several=several),
        seeds=len(records),
        minutes=fmean(record.minutes for record in records),
        parameters=records[0].parameters,
        gflops=records[0].gflops,
        keys=tuple(record.key for record in records),
    )


def _reference_line(name: str, figures: Figures, record: ReferenceRecord, plan: Plan) -> Line:
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
    )


def _cells(found: Sequence[Figures], *, several: bool) -> dict[str, dict[str, Cell]]:
    cells: dict[str, dict[str, Cell]] = {}
    for scope in found[0].scopes:
        cells[scope] = {}
        for figure in FIGURES:
            values = [v for one in found if (v := one.scopes[scope].get(figure)) is not None]
            if not values:
                continue
            ends = (min(values), max(values)) if several else found[0].ends(scope, figure)
            cells[scope][figure] = Cell(fmean(values), ends)
    return cells


def _markdown_table(table: Table, scope: str) -> list[str]:
    heads = [*table.columns, *SHOWN.values(), "minutes", "M parameters"]
    left = len(table.columns)
    lines = [_cells_line(heads), _cells_line([":--"] * left + ["--:"] * (len(heads) - left))]
    for line in table.lines:
        figures = []
        for figure in SHOWN:
            cell = line.cells.get(scope, {}).get(figure)
            # One interval is enough to read a row by; with seeds each figure has its own spread.
            text = "-" if cell is None else cell.words(spread=figure == "aupro_30" or len(table.seeds) > 1)
            figures.append(f"**{text}**" if table.is_best(line, scope, figure) else text)
        lines.append(_cells_line([*table.labels(line), *figures, minutes_words(line), parameters_words(line)]))
    return lines


def _cells_line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _blank(value: float | None) -> float | str:
    return "" if value is None else value
