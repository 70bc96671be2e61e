"""`diffad-edge ablate`: many settings, one table."""

# ruff: noqa: PLC0415  what a command needs is imported when it runs, so that --help is quick

from pathlib import Path
from typing import Annotated

import typer

from diffad_edge.cli.arguments import DeviceOption, JsonOption
from diffad_edge.cli.workstation import workstation


def ablate(
    study: Annotated[
        Path, typer.Argument(metavar="STUDY.toml", help="What is varied; TOML or YAML.", show_default=False)
    ],
    *,
    data: Annotated[
        Path,
        typer.Option("--data", metavar="DIR", help="A category with test images, or many.", show_default=False),
    ],
    out: Annotated[
        Path, typer.Option("--out", metavar="FOLDER", help="Trainings, figures and the table.", show_default=False)
    ],
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only", metavar="NAME", help="A row, or a pattern as 'alpha=*'; again for more.", show_default="all rows"
        ),
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option(
            "--run",
            metavar="RUN",
            help="A trained run, or a folder of runs, instead of what the study says of teachers.",
            show_default="teachers are trained",
        ),
    ] = None,
    device: DeviceOption = "auto",
    json: JsonOption = False,
) -> None:
    """Train and measure every row of a study; what is finished is kept, and a second call goes on from there."""
    from diffad_edge.cli.ablateview import Watch, show_ablation

    work = workstation("ablate", "an ablation study")
    with Watch() as watch:
        summary = work(
            study=study,
            data=data,
            out=out,
            only=only or [],
            run=run,
            device=device,
            begins=watch.row,
            progress=watch.part,
        )
    show_ablation(summary, json=json)
