"""`diffad-edge export`: from a trained run to one .diffad file."""

# ruff: noqa: PLC0415  what a command needs is imported when it runs, so that --help is quick

from pathlib import Path
from typing import Annotated

import typer

from diffad_edge.cli.arguments import DataOption, DeviceOption, JsonOption, SeedOption
from diffad_edge.cli.workstation import workstation


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a trained run.", show_default=False)],
    *,
    data: DataOption,
    out: Annotated[Path, typer.Option("--out", metavar="MODEL.diffad", help="The bundle.", show_default=False)],
    steps: Annotated[int, typer.Option("--steps", help="Network evaluations; this version makes 1.")] = 1,
    precision: Annotated[str, typer.Option("--precision", help="Variants, by comma: fp32, int8.")] = "fp32,int8",
    width: Annotated[int, typer.Option("--width", help="Channels of the student, a multiple of 8.")] = 48,
    max_minutes: Annotated[
        float | None, typer.Option("--max-minutes", min=0.01, help="Stop distilling in time.", show_default="no limit")
    ] = None,
    max_aupro_drop: Annotated[
        float, typer.Option("--max-aupro-drop", min=0, max=1, help="Gate, on good images with pasted defects.")
    ] = 0.005,
    false_reject_rate: Annotated[
        float, typer.Option("--false-reject-rate", help="Share of good parts that may be rejected.")
    ] = 0.01,
    device: DeviceOption = "auto",
    seed: SeedOption = 0,
    category: Annotated[
        str | None,
        typer.Option("--category", help="Of a run that knows several.", show_default="the only one"),
    ] = None,
    feature_score: Annotated[
        str | None,
        typer.Option("--feature-score", help="residual, likelihood, whitened or combined.", show_default="likelihood"),
    ] = None,
    variance_floor: Annotated[
        float | None,
        typer.Option("--variance-floor", min=0, help="Added to the variance of every feature.", show_default="0"),
    ] = None,
    alpha: Annotated[
        float | None,
        typer.Option("--alpha", min=0, max=1, help="Weight of the pixel KL.", show_default="set on pasted defects"),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Distil the teacher, quantise, check against torch and pack the bundle."""
    from diffad_edge.cli.workstationview import show_export

    summary = workstation("export_run", "export")(
        run=run,
        data=data,
        out=out,
        steps=steps,
        precision=precision,
        width=width,
        max_minutes=max_minutes,
        max_aupro_drop=max_aupro_drop,
        false_reject_rate=false_reject_rate,
        device=device,
        category=category,
        feature_score=feature_score,
        variance_floor=variance_floor,
        alpha=alpha,
        seed=seed,
    )
    show_export(summary, json=json)
