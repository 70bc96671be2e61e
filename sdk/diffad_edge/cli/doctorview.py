"""Findings of the doctor as lines: what, how it is, and the mend under it where there is one to make.

Knows findings and colours. Does not look at the machine.
"""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from diffad_edge.cli.output import stdout
from diffad_runtime.doctor import Finding

_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def show_findings(findings: Sequence[Finding]) -> None:
    """Print all findings, then how many need a mend."""
    console = stdout()
    rows = Table.grid(padding=(0, 2))
    rows.add_column()
    rows.add_column()
    rows.add_column(overflow="fold")
    for finding in findings:
        detail = Text(finding.detail)
        if finding.status != "ok":
            detail.append(f"\n-> {finding.mend}", style=_STYLES[finding.status])
        rows.add_row(Text(finding.status, style=_STYLES[finding.status]), Text(finding.name), detail)
    console.print(rows)
    failed, warned = (sum(finding.status == status for finding in findings) for status in ("fail", "warn"))
    console.print()
    verdict = (
        f"{failed} of {len(findings)} must be mended before the product runs" if failed else "The product runs here"
    )
    console.print(f"{verdict}; {warned} more may matter." if warned else f"{verdict}.")
