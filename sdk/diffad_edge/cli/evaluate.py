"""`diffad-edge eval`: figures of a bundle on a test set, beside its teacher and published references."""

# ruff: noqa: PLC0415  what a command needs is imported when it runs, so that --help is quick

from pathlib import Path
from typing import Annotated

import typer

from diffad_edge.cli.arguments import Backend, BackendOption, BundleArgument, DataOption, JsonOption, ThreadsOption
from diffad_edge.cli.workstation import workstation


def evaluate(
    model: BundleArgument,
    *,
    data: DataOption,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="REPORT", help="Folder for the HTML report.", show_default="none")
    ] = None,
    teacher: Annotated[
        Path | None,
        typer.Option("--teacher", metavar="RUN", help="Measure this run's teacher too.", show_default="none"),
    ] = None,
    references: Annotated[
        str,
        typer.Option("--references", metavar="A,B", help="padim, patchcore; fitted on --data.", show_default="none"),
    ] = "",
    backend: BackendOption = Backend.AUTO,
    threads: ThreadsOption = None,
    json: JsonOption = False,
) -> None:
    """Measure every variant of a bundle on a test set with masks: AUPRO, AUROC, AP, F1-max."""
    from diffad_calibration.evaluation.bundle import EvalRequest, evaluate_bundle
    from diffad_edge.cli.evalview import show_evaluation
    from diffad_edge.cli.status import Parts
    from diffad_runtime.bundle import open_bundle

    bundle = open_bundle(model)
    extra = [workstation("teacher_contestant", "measuring the teacher")(teacher, bundle)] if teacher else []
    names = tuple(name.strip() for name in references.split(",") if name.strip())
    request = EvalRequest(data=data, references=names, backend=backend.value, threads=threads, report=out)
    with Parts() as parts:
        outcome = evaluate_bundle(bundle, request, extra, parts.update)
    show_evaluation(outcome, json=json)
