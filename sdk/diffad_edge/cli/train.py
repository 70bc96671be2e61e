"""`diffad-edge train`: a teacher from images of good parts."""

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from diffad_edge.cli.arguments import DataOption, JsonOption, SeedOption
from diffad_edge.cli.workstation import workstation


class Preset(str, Enum):
    """Sizes of the teacher."""

    COMPACT = "compact"
    PAPER = "paper"


def train(
    *,
    data: DataOption,
    out: Annotated[Path, typer.Option("--out", metavar="RUN", help="Folder of the run.", show_default=False)],
    preset: Annotated[Preset, typer.Option("--preset", help="Size of the teacher.")] = Preset.COMPACT,
    backbone: Annotated[str, typer.Option("--backbone", help="Frozen feature extractor.")] = "efficientnet_lite0",
    size: Annotated[int, typer.Option("--size", min=32, max=2048, help="Images are resized to SIZE x SIZE.")] = 256,
    max_minutes: Annotated[
        float | None, typer.Option("--max-minutes", min=0.01, help="Stop in time.", show_default="no limit")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where the run was left.")] = False,
    seed: SeedOption = 0,
    json: JsonOption = False,
) -> None:
    """Train the teacher on images of good parts."""
    workstation("train", "training")(
        data=data,
        out=out,
        preset=preset.value,
        backbone=backbone,
        size=size,
        max_minutes=max_minutes,
        resume=resume,
        seed=seed,
        json=json,
    )
