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
    ray: Annotated[
        str | None,
        typer.Option(
            "--ray",
            metavar="local|auto|HOST:PORT",
            help="As a Ray Data job: on a cluster of its own, the one that runs on this machine, or another. Writes "
            "results.parquet, and goes on where it was left; docs/ray.md.",
            show_default="in this process",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option("--workers", metavar="N", min=1, help="Of --ray.", show_default="as many as there is room for"),
    ] = None,
    backend: BackendOption = Backend.AUTO,
    variant: VariantOption = None,
    threads: ThreadsOption = None,
    cache: CacheOption = None,
    json: JsonOption = False,
) -> None:
    """Inspect the images of a folder; leaves with 1 where one could not be read or judged."""
    if ray is not None:
        _score_on_ray(model, folder, out, ray, workers, threads, backend, variant, raw=raw, json=json)
        return
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


def _score_on_ray(
    model: Path,
    folder: Path,
    out: Path,
    ray: str,
    workers: int | None,
    threads: int | None,
    backend: Backend,
    variant: str | None,
    *,
    raw: bool,
    json: bool,
) -> None:
    from diffad_edge.cli.scaleview import finish_ray
    from diffad_edge.cli.status import Rounds
    from diffad_runtime.scale import score_on_ray

    with Rounds("scoring") as rounds:
        summary = score_on_ray(
            model,
            folder,
            out,
            address=None if ray == "local" else ray,
            workers=workers,
            threads=threads or 1,
            backend=backend.value,
            variant=variant,
            raw=raw,
            progress=rounds.update,
        )
    finish_ray(summary, json=json)
