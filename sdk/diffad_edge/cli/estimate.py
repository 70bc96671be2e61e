"""`diffad-edge estimate`: how long a bundle might take on a Jetson, from its graphs alone. Nothing is measured."""

# ruff: noqa: PLC0415  what a command needs is imported when it runs, so that --help is quick

from typing import Annotated

import typer

from diffad_edge.cli.arguments import BundleArgument, JsonOption, names_of
from diffad_edge.cli.workstation import reading_graphs


def estimate(
    model: BundleArgument,
    *,
    boards: Annotated[
        list[str],
        typer.Option("--board", metavar="A,B|all", help="Boards, as in orin-nano-8gb.", show_default=False),
    ],
    variants: Annotated[
        list[str] | None,
        typer.Option(
            "--variant",
            "--variants",
            metavar="A,B",
            help="Variants of the bundle, as 'inspect' lists them.",
            show_default="all that TensorRT may be given",
        ),
    ] = None,
    layers: Annotated[
        int | None,
        typer.Option("--layers", min=0, help="Slowest layers to list.", show_default="5; none for several boards"),
    ] = None,
    json: JsonOption = False,
) -> None:
    """ESTIMATE what a bundle takes on a Jetson: a roofline from its graphs, as a range, and memory.

    Nothing is measured. What a board really takes, only 'bench' on the board says.
    """
    from diffad_edge.cli.estimateview import show_estimate
    from diffad_edge.cli.output import print_json
    from diffad_runtime.bundle import open_bundle

    estimator = reading_graphs("diffad_calibration.roofline", "estimate_bundle", "estimating")
    found = estimator(open_bundle(model), names_of(boards) or [], names_of(variants))
    shown = layers if layers is not None else 5 * (len(found.boards) == 1)
    if json:
        print_json(found.to_json(shown))
    else:
        show_estimate(found, shown)
