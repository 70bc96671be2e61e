"""`diffad-edge status`: what this device keeps: installed models, and engines that were built for bundles."""

# ruff: noqa: PLC0415  what a command needs is imported when it runs, so that --help is quick

from pathlib import Path
from typing import Annotated

import typer

from diffad_edge.cli.arguments import CacheOption, JsonOption


def status(
    models: Annotated[
        Path | None,
        typer.Argument(metavar="[MODELS]", help="Folder of this device's models.", show_default="engines only"),
    ] = None,
    *,
    cache: CacheOption = None,
    json: JsonOption = False,
) -> None:
    """List the models of a folder, what is on trial and what happened, and the engines that this device built."""
    from diffad_edge.cli.enginestatusview import show_kept
    from diffad_edge.cli.modelsview import show_models
    from diffad_runtime.enginecache.location import cache_folder
    from diffad_runtime.enginecache.store import kept_engines
    from diffad_runtime.models import status as look

    found = None if models is None else look(models)
    if found is not None and not json:
        show_models(found)
    folder = cache or cache_folder()
    show_kept(folder, kept_engines(folder), json=json, more={} if found is None else {"models": found.to_dict()})
