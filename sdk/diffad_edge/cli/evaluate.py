"""`diffad-edge eval`: figures of a bundle on a test set, and the report."""

from pathlib import Path
from typing import Annotated

import typer

from diffad_edge.cli.arguments import BundleArgument, DataOption, JsonOption
from diffad_edge.cli.workstation import workstation


def evaluate(
    model: BundleArgument,
    *,
    data: DataOption,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="REPORT", help="Folder for the HTML report.", show_default="none")
    ] = None,
    teacher: Annotated[
        Path | None, typer.Option("--teacher", metavar="RUN", help="Measure this run's teacher too.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Measure a bundle on a test set with masks: AUPRO, AUROC, AP, F1-max."""
    workstation("evaluate", "evaluation", needs=("jinja2", "matplotlib"))(
        model=model, data=data, out=out, teacher=teacher, json=json
    )
