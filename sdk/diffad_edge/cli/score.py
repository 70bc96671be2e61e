"""`diffad-edge score`: inspect all images of a folder."""

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


def score(
    model: BundleArgument,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Images, also in folders below.", show_default=False)],
    *,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Gets masks/ and results.jsonl.", show_default=False)
    ],
    raw: Annotated[
        bool, typer.Option("--raw", help="Also write the float32 maps, as raw/<relative path>.npy.")
    ] = False,
    backend: BackendOption = Backend.AUTO,
    variant: VariantOption = None,
    threads: ThreadsOption = None,
    cache: CacheOption = None,
    json: JsonOption = False,
) -> None:
    """Inspect the images of a folder; leaves with 1 where one could not be read or judged."""
    from diffad_edge.cli.devicework import on_device
    from diffad_edge.cli.runview import Worst, finish
    from diffad_edge.cli.sinks import open_sinks
    from diffad_edge.cli.status import StatusLine
    from diffad_runtime.imagefile import list_images
    from diffad_runtime.inspector import Inspector
    from diffad_runtime.pipeline import run_stream
    from diffad_runtime.sources import open_source

    total, worst = len(list_images(folder, recursive=True)), Worst()
    with on_device(cache) as device:
        inspector = Inspector.open(model, backend.value, variant, threads, device=device)
    with inspector, open_source(str(folder)) as source:
        sinks = open_sinks(masks=out / "masks", results=out / "results.jsonl", raw=out / "raw" if raw else None)
        with StatusLine(total) as status:
            summary = run_stream(inspector, source, [*sinks, worst], on_result=status.update)
        finish(summary, inspector, source, json=json, worst=worst)
