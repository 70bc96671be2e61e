"""`diffad-edge eval`: figures of a bundle or a trained run on test sets, beside published references."""

# ruff: noqa: PLC0415  what a command needs is imported when it runs, so that --help is quick

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diffad_edge.cli.arguments import (
    Backend,
    BackendOption,
    DataOption,
    JsonOption,
    ThreadsOption,
    VariantsOption,
    names_of,
)
from diffad_edge.cli.workstation import workstation
from diffad_runtime.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from diffad_calibration.evaluation import Lineup


def evaluate(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL",
            help="A .diffad bundle, a run, or a folder with a run a category.",
            show_default=False,
        ),
    ],
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
    explain: Annotated[
        int,
        typer.Option(
            "--explain",
            min=0,
            metavar="N",
            help="Of a run folder: show for N test images of a category what the teacher sees and would make of them.",
        ),
    ] = 0,
    confidence: Annotated[
        bool, typer.Option("--confidence/--no-confidence", help="95 % intervals, by bootstrap over images.")
    ] = True,
    backend: BackendOption = Backend.AUTO,
    variants: VariantsOption = None,
    threads: ThreadsOption = None,
    json: JsonOption = False,
) -> None:
    """Measure a bundle, or a teacher, on test sets with masks: AUPRO, AUROC, AP, F1-max; one or many categories."""
    from diffad_calibration.evaluation import EvalRequest, evaluate_lineup
    from diffad_calibration.metrics import Bootstrap
    from diffad_edge.cli.evalview import show_evaluation
    from diffad_edge.cli.status import Parts

    names = tuple(name.strip() for name in references.split(",") if name.strip())
    request = EvalRequest(data, names, report=out, bootstrap=Bootstrap() if confidence else None)
    if explain and (out is None or not model.is_dir()):
        raise InputError(
            "--explain adds to the report of a run folder", mend="Give a run folder, and --out for the report"
        )
    explained = workstation("explain_run", "explaining")(model, explain) if explain else None
    lineup = open_lineup(model, teacher, names_of(variants) or (), backend=backend.value, threads=threads)
    with Parts() as parts:
        outcome = evaluate_lineup(lineup, request, parts.update, explain=explained)
    show_evaluation(outcome, json=json)


def open_lineup(
    model: Path, teacher: Path | None, variants: "Sequence[str]" = (), *, backend: str, threads: int | None
) -> "Lineup":
    """Variants of a bundle, () for all, with its teacher where asked; of a run folder, its teacher.

    Raises:
        InputError: a run folder together with --teacher or --variant; otherwise as the functions that this one calls.
    """
    from diffad_calibration.evaluation import bundle_lineup
    from diffad_runtime.bundle import open_bundle

    if model.is_dir():
        if teacher:
            raise InputError(f"{model} is a run folder, its own teacher is measured", mend="Leave out --teacher")
        if variants:
            raise InputError(f"{model} is a run folder, it has no variants", mend="Leave out --variant")
        lineup: Lineup = workstation("run_lineup", "measuring a teacher")(model)
        return lineup
    bundle = open_bundle(model)
    extra = [workstation("teacher_contestant", "measuring the teacher")(teacher, bundle)] if teacher else []
    return bundle_lineup(bundle, extra, backend=backend, threads=threads, variants=variants)
