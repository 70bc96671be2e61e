"""Findings of the doctor as lines: what, how it is, and the mend under it where there is one to make.

Knows findings and colours. Does not look at the machine.
"""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from diffad_edge.cli.output import stdout
from diffad_runtime.doctor import Finding
from diffad_runtime.errors import EngineError

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


def leave(findings: Sequence[Finding], backend: str) -> None:
    """Go on where nothing has failed.

    Raises:
        EngineError: something has; the message is the first of them, with its mend.
    """
    failed = [finding for finding in findings if finding.status == "fail"]
    if not failed:
        return
    first, others = failed[0], [finding.name for finding in failed[1:]]
    what = "the product does not run here" if backend == "auto" else f"the backend {backend} does not run here"
    more = f" (then {', '.join(others)})" if others else ""
    raise EngineError(f"{what}: {first.name}: {first.detail}{more}", mend=first.mend)
