"""A study's table as text: Markdown for people, CSV for programs.

Knows lines, columns and digits. Does not know where figures come from.
"""

import csv
import io
from collections.abc import Sequence

from diffad_calibration.metrics import FIGURES
from diffad_export.ablation.table import MACRO, Line, Table

SHOWN = {
    "aupro_30": "AUPRO@0.3",
    "aupro_05": "AUPRO@0.05",
    "pixel_auroc": "pixel AUROC",
    "image_auroc": "image AUROC",
}


def to_markdown(table: Table) -> str:
    """The macro table, then one a category; the best of a column in bold. Differences below each."""
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
        if any(line.lead.get(scope) for line in table.lines):
            parts += [f"Minus {table.against!r}, image by image; bold: the interval leaves out zero.", ""]
            parts += [*_lead_table(table, scope), ""]
    return "\n".join(parts)


def to_csv(table: Table) -> str:
    """One line a row and scope, every figure with its ends, nothing rounded."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    ends = [f"{figure}{end}" for figure in FIGURES for end in ("", "_low", "_high")]
    leads = [f"{figure}_lead{end}" for figure in FIGURES for end in ("", "_low", "_high")] if table.against else []
    costs = ["seeds", "minutes", "parameters", "gflops", "evaluations"]
    writer.writerow(["row", "kind", "scope", *table.headings, *ends, *leads, *costs])
    for line in table.lines:
        for scope in table.scopes:
            numbers: list[float | str] = []
            led: list[float | str] = []
            for figure in FIGURES:
                cell = line.cells.get(scope, {}).get(figure)
                low, high = ("", "") if cell is None or cell.ends is None else cell.ends
                numbers += ["" if cell is None else cell.value, low, high]
                if table.against:
                    led += line.lead.get(scope, {}).get(figure, ("", "", ""))
            cost = [_blank(one) for one in (line.minutes, line.parameters, line.gflops, line.evaluations)]
            kind = "reference" if line.reference else "row"
            writer.writerow([line.name, kind, scope, *line.values, *numbers, *led, line.seeds, *cost])
    return text.getvalue()


def minutes_words(line: Line) -> str:
    """Minutes for a table."""
    return "-" if line.minutes is None else f"{line.minutes:.1f}"


def evaluations_words(line: Line) -> str:
    """Network evaluations for a table."""
    return "-" if line.evaluations is None else str(line.evaluations)


def lead_words(lead: tuple[float, float, float]) -> str:
    """As in "+0.012 (+0.003 to +0.021)"."""
    difference, low, high = lead
    return f"{difference:+.3f} ({low:+.3f} to {high:+.3f})"


def parameters_words(line: Line) -> str:
    """Millions of parameters for a table."""
    return "-" if line.parameters is None else f"{line.parameters / 1e6:.2f}"


def _markdown_table(table: Table, scope: str) -> list[str]:
    heads = [*table.columns, *SHOWN.values(), "evaluations", "minutes", "M parameters"]
    left = len(table.columns)
    lines = [_cells_line(heads), _cells_line([":--"] * left + ["--:"] * (len(heads) - left))]
    for line in table.lines:
        figures = []
        for figure in SHOWN:
            cell = line.cells.get(scope, {}).get(figure)
            # One interval is enough to read a row by; with seeds each figure has its own spread.
            text = "-" if cell is None else cell.words(spread=figure == "aupro_30" or len(table.seeds) > 1)
            figures.append(f"**{text}**" if table.is_best(line, scope, figure) else text)
        costs = [evaluations_words(line), minutes_words(line), parameters_words(line)]
        lines.append(_cells_line([*table.labels(line), *figures, *costs]))
    return lines


def _lead_table(table: Table, scope: str) -> list[str]:
    left = len(table.columns)
    heads = [*table.columns, *SHOWN.values()]
    lines = [_cells_line(heads), _cells_line([":--"] * left + ["--:"] * len(SHOWN))]
    for line in table.lines:
        if lead := line.lead.get(scope):
            cells = [_lead_cell(lead.get(figure)) for figure in SHOWN]
            lines.append(_cells_line([*table.labels(line), *cells]))
    return lines


def _lead_cell(lead: tuple[float, float, float] | None) -> str:
    if lead is None:
        return "-"
    text = lead_words(lead)
    return f"**{text}**" if lead[1] > 0 or lead[2] < 0 else text


def _cells_line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _blank(value: float | None) -> float | str:
    return "" if value is None else value
