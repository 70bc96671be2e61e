"""`diffad-edge replay`: judge archived frames again, bit for bit."""

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
    RecipesOption,
    ThreadsOption,
    VariantOption,
)


def replay(
    model: BundleArgument,
    archive: Annotated[
        Path, typer.Argument(metavar="ARCHIVE", help="Folder of --archive, or one session in it.", show_default=False)
    ],
    *,
    allow_other: Annotated[
        bool,
        typer.Option("--allow-other", help="Compare also where bundle, variant or backend are others than then."),
    ] = False,
    recipe: RecipesOption = None,
    backend: BackendOption = Backend.AUTO,
    variant: VariantOption = None,
    threads: ThreadsOption = None,
    cache: CacheOption = None,
    json: JsonOption = False,
) -> None:
    """Compare verdicts, scores, maps and masks with those of then; leaves with 3 where one differs."""
    from diffad_edge.cli.devicework import on_device
    from diffad_edge.cli.replayview import finish
    from diffad_edge.cli.status import Rounds
    from diffad_runtime.inspector import Inspector
    from diffad_runtime.replay import replay

    with on_device(cache) as device:
        inspector = Inspector.open(model, backend.value, variant, threads, device=device, recipes=recipe)
    with inspector, Rounds("judged again") as bar:
        report = replay(archive, inspector, allow_other=allow_other, on_frame=lambda done: bar.update(done, None))
    finish(report, json=json)
