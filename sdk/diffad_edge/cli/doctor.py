"""`diffad-edge doctor`: what is wrong with this machine, and the mend for each finding."""

# ruff: noqa: PLC0415  what a command needs is imported when it runs, so that --help is quick

from diffad_edge.cli.arguments import Backend, BackendOption, JsonOption


def doctor(backend: BackendOption = Backend.AUTO, json: JsonOption = False) -> None:
    """Look at this machine: packages, GPU, memory, disk, cameras. Leaves with 1 where something must be mended.

    With --backend, all that this backend needs must be there; without, it is enough that one runs.
    """
    from diffad_edge.cli.doctorview import leave, show_findings
    from diffad_edge.cli.output import print_json
    from diffad_runtime.doctor import examine, for_backend

    findings = for_backend(examine(), backend.value)
    if json:
        failed = any(finding.status == "fail" for finding in findings)
        print_json({"ok": not failed, "findings": [finding.to_json() for finding in findings]})
    else:
        show_findings(findings)
    leave(findings, backend.value)
