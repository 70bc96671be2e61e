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
    device: DeviceOption = "auto",
    json: JsonOption = False,
) -> None:
    """Train and measure every row of a study; what is finished is kept, and a second call goes on from there."""
    from diffad_edge.cli.ablateview import Watch, show_ablation

    run = workstation("ablate", "an ablation study")
    with Watch() as watch:
        summary = run(
            study=study, data=data, out=out, only=only or [], device=device, begins=watch.row, progress=watch.part
        )
    show_ablation(summary, json=json)
