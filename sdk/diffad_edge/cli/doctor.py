"""`diffad-edge doctor`: what is wrong with this machine, and the mend for each finding."""

# ruff: noqa: PLC0415  what a command needs is imported when it runs, so that --help is quick

import typer

from diffad_edge.cli.arguments import JsonOption


def doctor(json: JsonOption = False) -> None:
    """Look at this machine: packages, CPU, memory, disk, cameras. Leaves with 1 where something must be mended."""
    from diffad_edge.cli.doctorview import show_findings
    from diffad_edge.cli.output import print_json
    from diffad_runtime.doctor import examine

    findings = examine()
    failed = any(finding.status == "fail" for finding in findings)
    if json:
        print_json({"ok": not failed, "findings": [finding.to_json() for finding in findings]})
    else:
        show_findings(findings)
    raise typer.Exit(int(failed))
