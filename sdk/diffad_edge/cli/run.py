"""`diffad-edge run`: inspect what a camera, a clip or a folder gives."""

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


def run(
    model: BundleArgument,
    *,
    camera: Annotated[
        str,
        typer.Option(
            "--camera",
            metavar="URI",
            help="0 (camera index), v4l2:///dev/video0, rtsp://..., http://..., file://clip.mp4, dir://folder, "
            "synthetic://line?fps=30&defects=0.1",
            show_default=False,
        ),
    ],
    masks: Annotated[
        Path | None, typer.Option("--masks", metavar="DIR", help="Write a mask for each frame, PNG, white = defect.")
    ] = None,
    results: Annotated[
        Path | None, typer.Option("--results", metavar="FILE.jsonl", help="Write a JSON line for each frame.")
    ] = None,
    overlay: Annotated[
        Path | None,
        typer.Option(
            "--overlay", metavar="FILE.mp4|DIR", help="Write a video, or pictures, with the map on the frame."
        ),
    ] = None,
    max_frames: Annotated[
        int | None,
        typer.Option("--max-frames", metavar="N", min=1, help="Stop after N frames.", show_default="no limit"),
    ] = None,
    backend: BackendOption = Backend.AUTO,
    variant: VariantOption = None,
    threads: ThreadsOption = None,
    cache: CacheOption = None,
    json: JsonOption = False,
) -> None:
    """Inspect frames until the source ends or Ctrl-C; leaves with 1 where a frame could not be read or judged."""
    from diffad_edge.cli.devicework import on_device
    from diffad_edge.cli.runview import finish
    from diffad_edge.cli.sinks import open_sinks
    from diffad_edge.cli.status import StatusLine
    from diffad_runtime.inspector import Inspector
    from diffad_runtime.pipeline import run_stream
    from diffad_runtime.sources import open_source

    with on_device(cache) as device:
        inspector = Inspector.open(model, backend.value, variant, threads, device=device)
    with inspector, open_source(camera) as source:
        sinks = open_sinks(masks=masks, results=results, overlay=overlay, fps=source.fps_hint)
        with StatusLine() as status:
            summary = run_stream(inspector, source, sinks, max_frames=max_frames, on_result=status.update)
        finish(summary, inspector, source, json=json)
