"""`diffad-edge export`: from a trained run to one .diffad file."""

from pathlib import Path
from typing import Annotated

import typer

from diffad_edge.cli.arguments import DataOption, JsonOption, SeedOption
from diffad_edge.cli.workstation import workstation


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a trained run.", show_default=False)],
    *,
    data: DataOption,
    out: Annotated[Path, typer.Option("--out", metavar="MODEL.diffad", help="The bundle.", show_default=False)],
    precision: Annotated[str, typer.Option("--precision", help="Variants, by comma.")] = "fp32,int8",
    max_minutes: Annotated[
        float | None, typer.Option("--max-minutes", min=0.01, help="Stop distilling in time.", show_default="no limit")
    ] = None,
    seed: SeedOption = 0,
    json: JsonOption = False,
) -> None:
    """Distil the teacher, quantise, check against torch and pack the bundle."""
    workstation("export", "export")(
        run=run, data=data, out=out, precision=precision, max_minutes=max_minutes, seed=seed, json=json
    )
