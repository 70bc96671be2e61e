"""`diffad-edge demo`: the whole way on a built-in synthetic line."""

# ruff: noqa: PLC0415  what a command needs is imported when it runs, so that --help is quick

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
    from diffad_edge.cli.output import note
    from diffad_edge.cli.workstationview import show_demo

    needs = ("torch", "onnx", "safetensors", "jinja2", "matplotlib")
    summary = workstation("demo", "the demo", needs=needs)(out, seed=seed, say=note)
    show_demo(summary, json=json)
