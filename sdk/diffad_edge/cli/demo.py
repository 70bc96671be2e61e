"""`diffad-edge demo`: the whole way on a built-in synthetic line."""

from pathlib import Path
from typing import Annotated

import typer

from diffad_edge.cli.arguments import JsonOption, SeedOption
from diffad_edge.cli.workstation import workstation


def demo(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for everything made.")] = Path("demo-out"),
    seed: SeedOption = 0,
    json: JsonOption = False,
) -> None:
    """Train, distil, export, run and report on a built-in synthetic line; a few minutes on two cores."""
    workstation("demo", "the demo")(out=out, seed=seed, json=json)
