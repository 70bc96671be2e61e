"""`diffad-edge soak`: hours before a camera that goes wrong, and what must hold all the while."""

# ruff: noqa: PLC0415  what a command needs is imported when it runs, so that --help is quick

from pathlib import Path
from typing import Annotated

import typer

from diffad_edge.cli.arguments import (
    Backend,
    BackendOption,
    BundleArgument,
    CacheOption,
    JsonOption,
    ThreadsOption,
    VariantOption,
)


def soak(
    model: BundleArgument,
    *,
    hours: Annotated[float, typer.Option("--hours", metavar="H", min=0.001, help="How long.")] = 0.5,
    camera: Annotated[
        str | None,
        typer.Option(
            "--camera",
            metavar="chaos://...",
            help="Faults by a seed, or by a script: chaos://?seed=7&faults=freeze,silence,corrupt&every=12&length=8",
            show_default="all faults, seed 7",
        ),
    ] = None,
    parts: Annotated[float, typer.Option("--parts", metavar="N", min=0.1, help="Parts a second, on average.")] = 8.0,
    deadline: Annotated[float, typer.Option("--deadline", metavar="MS", min=1, help="Of each part.")] = 500.0,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Where results and archive go.", show_default="a temporary folder"),
    ] = None,
    backend: BackendOption = Backend.AUTO,
    variant: VariantOption = None,
    threads: ThreadsOption = None,
    cache: CacheOption = None,
    json: JsonOption = False,
) -> None:
    """Trigger parts before a chaos camera; leaves with 1 where one was lost, late, or something grew or went unseen."""
    from diffad_edge.cli.devicework import on_device
    from diffad_edge.cli.runwork import prepare_process
    from diffad_edge.cli.soakview import SoakLine, finish
    from diffad_runtime.health.signals import stop_on_signals
    from diffad_runtime.inspector import Inspector
    from diffad_runtime.soak import plan_for, soak_with_sinks

    prepare_process()
    plan = plan_for(3600 * hours, camera, parts, deadline)
    with on_device(cache) as device:
        inspector = Inspector.open(model, backend.value, variant, threads, device=device)
    with inspector, SoakLine(plan.seconds) as line, stop_on_signals() as stop:
        report = soak_with_sinks(inspector, plan, out, on_look=line.update, stop=lambda: stop.requested)
    finish(report, json=json)
