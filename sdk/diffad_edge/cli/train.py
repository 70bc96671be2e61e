"""`diffad-edge train`: a teacher from images of good parts."""

# ruff: noqa: PLC0415  what a command needs is imported when it runs, so that --help is quick

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from diffad_edge.cli.arguments import DataOption, DeviceOption, JsonOption, SeedOption
from diffad_edge.cli.workstation import workstation


class Preset(str, Enum):
    """Sizes of the teacher."""

    COMPACT = "compact"


def train(
    *,
    data: DataOption,
    out: Annotated[Path, typer.Option("--out", metavar="RUN", help="Folder of the run.", show_default=False)],
    preset: Annotated[Preset, typer.Option("--preset", help="Size of the teacher.")] = Preset.COMPACT,
    backbone: Annotated[str, typer.Option("--backbone", help="efficientnet_lite0 or efficientnet_b4.")] = (
        "efficientnet_lite0"
    ),
    backbone_weights: Annotated[
        Path | None,
        typer.Option("--backbone-weights", help="Weights to take instead.", show_default="the backbone's own"),
    ] = None,
    size: Annotated[int, typer.Option("--size", help="Images are resized to SIZE x SIZE, a multiple of 32.")] = 256,
    same_size: Annotated[bool, typer.Option("--same-size", help="Refuse images of mixed sizes.")] = False,
    max_minutes: Annotated[
        float | None, typer.Option("--max-minutes", min=0.01, help="Stop in time.", show_default="no limit")
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option("--learning-rate", min=1e-7, help="Of AdamW.", show_default="the preset's")
    ] = None,
    bf16: Annotated[str, typer.Option("--bf16", help="auto, on or off: bfloat16 in the network.")] = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Go on where the run was left.")] = False,
    device: DeviceOption = "auto",
    seed: SeedOption = 0,
    json: JsonOption = False,
) -> None:
    """Train the teacher on images of good parts."""
    from diffad_edge.cli.workstationview import show_training

    summary = workstation("train_teacher", "training")(
        data=data,
        out=out,
        preset=preset.value,
        backbone=backbone,
        backbone_weights=backbone_weights,
        size=size,
        same_size=same_size,
        max_minutes=max_minutes,
        learning_rate=learning_rate,
        bf16=bf16,
        resume=resume,
        device=device,
        seed=seed,
    )
    show_training(summary, json=json)
