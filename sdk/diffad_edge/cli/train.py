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
    PAPER = "paper"


def train(
    *,
    data: DataOption,
    out: Annotated[Path, typer.Option("--out", metavar="RUN", help="Folder of the run.", show_default=False)],
    preset: Annotated[Preset, typer.Option("--preset", help="Size of the teacher.")] = Preset.COMPACT,
    backbone: Annotated[
        str | None,
        typer.Option("--backbone", help="efficientnet_lite0 or efficientnet_b4.", show_default="the preset's"),
    ] = None,
    backbone_weights: Annotated[
        Path | None,
        typer.Option("--backbone-weights", help="Weights to take instead.", show_default="the backbone's own"),
    ] = None,
    init_weights: Annotated[
        Path | None,
        typer.Option(
            "--init-weights",
            help="Guided-diffusion checkpoint (.pt, .safetensors) to start the paper's network from.",
            show_default="none",
        ),
    ] = None,
    size: Annotated[int, typer.Option("--size", help="Images are resized to SIZE x SIZE, a multiple of 32.")] = 256,
    rotation: Annotated[
        float | None,
        typer.Option(
            "--rotation", min=0, max=180, help="Copies are turned by up to so many degrees.", show_default="5"
        ),
    ] = None,
    flips: Annotated[
        bool, typer.Option("--flips", help="Copies are mirrored too: where mirrored parts are good.")
    ] = False,
    class_blind: Annotated[
        bool, typer.Option("--class-blind", help="With several categories: do not tell the teacher which.")
    ] = False,
    same_size: Annotated[bool, typer.Option("--same-size", help="Refuse images of mixed sizes.")] = False,
    max_minutes: Annotated[
        float | None, typer.Option("--max-minutes", min=0.01, help="Stop in time.", show_default="no limit")
    ] = None,
    steps: Annotated[
        int | None, typer.Option("--steps", min=1, help="Training steps.", show_default="the preset's")
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option("--batch", min=1, help="Images a step, over all processes.", show_default="the preset's"),
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option("--learning-rate", min=1e-7, help="Of AdamW.", show_default="the preset's")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Any setting of the run, as in score.draws=4 or score.chain_steps=[25,100].",
            show_default="none",
        ),
    ] = None,
    bf16: Annotated[str, typer.Option("--bf16", help="auto, on or off: bfloat16 in the network.")] = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Go on where the run was left.")] = False,
    device: DeviceOption = "auto",
    seed: SeedOption = 0,
    json: JsonOption = False,
) -> None:
    """Train the teacher on images of good parts: of one category, or of all categories under --data."""
    from diffad_edge.cli.workstationview import show_training

    summary = workstation("train_teacher", "training")(
        data=data,
        out=out,
        preset=preset.value,
        backbone=backbone,
        backbone_weights=backbone_weights,
        size=size,
        same_size=same_size,
        init_weights=init_weights,
        settings=settings or [],
        rotation=rotation,
        flips=flips,
        conditional=not class_blind,
        max_minutes=max_minutes,
        steps=steps,
        batch=batch,
        learning_rate=learning_rate,
        bf16=bf16,
        resume=resume,
        device=device,
        seed=seed,
    )
    if summary.is_main:
        show_training(summary, json=json)
