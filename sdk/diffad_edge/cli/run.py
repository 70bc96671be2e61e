"""`diffad-edge run`: inspect what a camera, a clip or a folder gives."""

# ruff: noqa: PLC0415  what a command needs is imported when it runs, so that --help is quick

from pathlib import Path
from typing import Annotated

import typer

from diffad_edge.cli.arguments import (
    Backend,
    BackendOption,
    CacheOption,
    JsonOption,
    RecipeKeyOption,
    RecipesOption,
    ThreadsOption,
    VariantOption,
)
from diffad_edge.cli.trustoptions import RequireOption, TrustOption, policy_of

_OUTPUT, _CAMERA, _WATCH = "What is kept", "Camera", "Watching the run"
_LINE, _MODELS = "Signals to the line", "Which model"


def run(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL.diffad|MODELS", help="The bundle, or a folder of installed models.", show_default=False
        ),
    ],
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
    trust: TrustOption = None,
    require_signature: RequireOption = False,
    trial_parts: Annotated[
        int,
        typer.Option(
            "--trial-parts", metavar="N", min=1, help="A new model is on trial for N parts.", rich_help_panel=_MODELS
        ),
    ] = 300,
    trial_minutes: Annotated[
        float,
        typer.Option("--trial-minutes", metavar="M", min=0, help="... and M minutes.", rich_help_panel=_MODELS),
    ] = 10.0,
    by_hand: Annotated[
        bool,
        typer.Option(
            "--commit-by-hand",
            help="A good trial waits for 'commit'; a bad one is rolled back all the same.",
            rich_help_panel=_MODELS,
        ),
    ] = False,
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
    preview: Annotated[
        str | None,
        typer.Option(
            "--preview",
            metavar="HOST:PORT",
            help="Serve a page with the picture, verdicts and scores; beyond this machine it asks for a token.",
            rich_help_panel=_WATCH,
        ),
    ] = None,
    preview_token: Annotated[
        str | None,
        typer.Option(
            "--preview-token",
            envvar="DIFFAD_EDGE_PREVIEW_TOKEN",
            show_default="made up, and logged",
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
    from diffad_edge.cli.judge import open_judge, trial_of
    from diffad_edge.cli.runview import finish
    from diffad_edge.cli.runwork import camera_limits, carry_out, prepare_process
    from diffad_edge.cli.sinks import archive_of, open_sinks
    from diffad_runtime.attendance import Wishes
    from diffad_runtime.line.wiring import load_wiring
    from diffad_runtime.sources import open_source

    wiring = load_wiring(line) if line else None
    prepare_process(json=log_json)
    folders = tuple(path for path in (masks, archive, results and results.parent) if path)
    policy, trial = policy_of(trust, require_signature), trial_of(trial_parts, trial_minutes, by_hand=by_hand)
    with on_device(cache) as device:
        judge = open_judge(
            model,
            backend.value,
            variant,
            threads,
            device=device,
            recipes=recipe,
            recipe=product,
            policy=policy,
            trial=trial,
        )
    with judge.inspector, open_source(camera, limits=camera_limits(camera_limit)) as source:
        kept = archive_of(archive, archive_ok, archive_gb, archive_days)
        sinks = open_sinks(masks=masks, results=results, rle=rle, overlay=overlay, archive=kept, source=source)
        triggered = wiring is not None and wiring.file.triggered
        wishes = Wishes(metrics, folders, reference, triggered, preview, preview_token)
        summary = carry_out(judge, source, sinks, wishes, max_frames, wiring=wiring, quiet=log_json)
        finish(summary, judge.inspector, source, json=json)
