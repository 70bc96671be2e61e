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
    RecipeKeyOption,
    RecipesOption,
    ThreadsOption,
    VariantOption,
)

_OUTPUT, _CAMERA, _WATCH, _LINE = "What is kept", "Camera", "Watching the run", "Signals to the line"


def run(
    model: BundleArgument,
    *,
    camera: Annotated[
        str,
        typer.Option(
            "--camera",
            metavar="URI",
            help="0 (camera index), v4l2:///dev/video0, csi://0, rtsp://..., http://..., gst://..., genicam://..., "
            "file://clip.mp4, dir://folder, synthetic://line?fps=30&defects=0.1, chaos://?seed=7",
            show_default=False,
            rich_help_panel=_CAMERA,
        ),
    ],
    camera_limit: Annotated[
        list[str] | None,
        typer.Option(
            "--camera-limit",
            metavar="NAME=SECONDS",
            help="As stall_s=2, frozen_s=10, give_up_s=600, wait_s=none (go on trying at the start, too).",
            show_default=False,
            rich_help_panel=_CAMERA,
        ),
    ] = None,
    recipe: RecipesOption = None,
    product: RecipeKeyOption = None,
    line: Annotated[
        Path | None,
        typer.Option(
            "--line",
            metavar="LINE.toml",
            help="MQTT, OPC UA, Modbus TCP, digital outputs: parts are triggered, and the line is told; docs/line.md.",
            show_default="no signals, every frame is judged",
            rich_help_panel=_LINE,
        ),
    ] = None,
    masks: Annotated[
        Path | None,
        typer.Option(
            "--masks", metavar="DIR", help="Write a mask for each frame, PNG, white = defect.", rich_help_panel=_OUTPUT
        ),
    ] = None,
    results: Annotated[
        Path | None,
        typer.Option(
            "--results",
            metavar="FILE.jsonl",
            help="Append a JSON line for each frame; a camera's file is put aside each day and at 64 MB.",
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    rle: Annotated[
        bool,
        typer.Option("--rle", help="Have the mask in each JSON line, as COCO run lengths.", rich_help_panel=_OUTPUT),
    ] = False,
    overlay: Annotated[
        Path | None,
        typer.Option(
            "--overlay",
            metavar="FILE.mp4|DIR",
            help="Write a video, or pictures, with the map on the frame.",
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    archive: Annotated[
        Path | None,
        typer.Option(
            "--archive",
            metavar="DIR",
            help="Keep frames that were not OK, and a few that were, for 'replay'.",
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    archive_ok: Annotated[
        int, typer.Option("--archive-ok", metavar="N", min=0, help="Keep 1 in N good frames.", rich_help_panel=_OUTPUT)
    ] = 100,
    archive_gb: Annotated[
        float,
        typer.Option("--archive-gb", metavar="GB", min=0.01, help="Most; the oldest go.", rich_help_panel=_OUTPUT),
    ] = 20.0,
    archive_days: Annotated[
        float,
        typer.Option("--archive-days", metavar="DAYS", min=0.01, help="Longest kept.", rich_help_panel=_OUTPUT),
    ] = 30.0,
    metrics: Annotated[
        str | None,
        typer.Option(
            "--metrics",
            metavar="HOST:PORT",
            help="Serve /metrics for Prometheus, /healthz and /readyz.",
            rich_help_panel=_WATCH,
        ),
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(
            "--camera-reference",
            metavar="FILE.json",
            help="Watch blur, exposure, shift and dirt; learned from good parts where there is no such file yet.",
            rich_help_panel=_WATCH,
        ),
    ] = None,
    log_json: Annotated[
        bool, typer.Option("--log-json", help="Log lines as JSON objects on stderr.", rich_help_panel=_WATCH)
    ] = False,
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
    """Inspect frames until the source ends, Ctrl-C or SIGTERM; leaves with 1 where one could not be read or judged."""
    from diffad_edge.cli.devicework import on_device
    from diffad_edge.cli.runview import finish
    from diffad_edge.cli.runwork import camera_limits, carry_out, prepare_process
    from diffad_edge.cli.sinks import archive_of, open_sinks
    from diffad_runtime.attendance import Wishes
    from diffad_runtime.inspector import Inspector
    from diffad_runtime.line.wiring import load_wiring
    from diffad_runtime.sources import open_source

    wiring = load_wiring(line) if line else None
    prepare_process(json=log_json)
    folders = tuple(path for path in (masks, archive, results and results.parent) if path)
    with on_device(cache) as device:
        inspector = Inspector.open(
            model, backend.value, variant, threads, device=device, recipes=recipe, recipe=product
        )
    with inspector, open_source(camera, limits=camera_limits(camera_limit)) as source:
        kept = archive_of(archive, archive_ok, archive_gb, archive_days)
        sinks = open_sinks(masks=masks, results=results, rle=rle, overlay=overlay, archive=kept, source=source)
        wishes = Wishes(metrics, folders, reference, triggered=wiring is not None and wiring.file.triggered)
        summary = carry_out(inspector, source, sinks, wishes, max_frames, wiring=wiring, quiet=log_json)
        finish(summary, inspector, source, json=json)
