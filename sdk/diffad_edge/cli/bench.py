"""`diffad-edge bench`: how fast a bundle is on this machine."""

# ruff: noqa: PLC0415  what a command needs is imported when it runs, so that --help is quick

import os
from pathlib import Path
from typing import Annotated

import typer

from diffad_edge.cli.arguments import Backend, BackendOption, BundleArgument, JsonOption, ThreadsOption
from diffad_edge.cli.workstation import workstation


def _frame_size(text: str) -> tuple[int, int] | None:
    """ "1920x1080", width first as cameras say it, becomes (1080, 1920); "input" becomes None."""
    if text == "input":
        return None
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal() and 0 < int(width) <= 16384 and 0 < int(height) <= 16384):
        raise typer.BadParameter(f"expected WIDTHxHEIGHT, as in 1920x1080, or 'input', got {text!r}")
    return int(height), int(width)


def bench(
    model: BundleArgument,
    *,
    frames: Annotated[int, typer.Option("--frames", min=1, help="Frames for each variant, after a warm-up.")] = 100,
    frame_size: Annotated[
        str, typer.Option("--frame-size", metavar="WxH|input", help="Size of the frames; 'input': the bundle's own.")
    ] = "1920x1080",
    variants: Annotated[
        str | None, typer.Option("--variants", metavar="A,B", help="Which to time.", show_default="all that run here")
    ] = None,
    teacher: Annotated[
        Path | None, typer.Option("--teacher", metavar="RUN", help="Time this run's teacher in torch beside them.")
    ] = None,
    backend: BackendOption = Backend.AUTO,
    threads: ThreadsOption = None,
    json: JsonOption = False,
) -> None:
    """Time each variant, frame in to mask out, in one interleaved run."""
    from diffad_edge.cli.benchview import show_timings
    from diffad_edge.cli.output import print_json
    from diffad_edge.cli.status import Rounds
    from diffad_runtime import bench as timing
    from diffad_runtime.bundle import open_bundle

    size, names = _frame_size(frame_size), [name.strip() for name in variants.split(",")] if variants else None
    bundle = open_bundle(model)
    # Before torch is loaded: its idle threads would spin on the cores that the next contestant is timed on.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    extra = workstation("teacher_timing", "timing the teacher")(teacher, bundle) if teacher else None
    with Rounds("timing") as rounds:
        report = timing.bench(
            bundle,
            backend.value,
            names,
            frames=frames,
            frame_size=size,
            threads=threads,
            extra=extra,
            on_round=rounds.update,
        )
    if json:
        print_json(report.to_json())
    else:
        show_timings(report)
