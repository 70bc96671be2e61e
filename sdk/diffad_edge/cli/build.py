"""`diffad-edge build`: make the TensorRT engines of a bundle on this device."""

# ruff: noqa: PLC0415  what a command needs is imported when it runs, so that --help is quick

from typing import Annotated

import typer

from diffad_edge.cli.arguments import BundleArgument, CacheOption, JsonOption, names_of


def build(
    model: BundleArgument,
    *,
    variants: Annotated[
        list[str] | None,
        typer.Option(
            "--variant",
            "--variants",
            metavar="A,B",
            help="Variants of the bundle, as 'inspect' lists them.",
            show_default="int8, fp16, fp32 until one judges right",
        ),
    ] = None,
    cache: CacheOption = None,
    optimisation_level: Annotated[
        int | None,
        typer.Option(
            "--optimisation-level",
            metavar="0..5",
            min=0,
            max=5,
            help="How many kernels the builder times; higher builds longer.",
            show_default="TensorRT's, 3",
        ),
    ] = None,
    workspace_mb: Annotated[
        int | None,
        typer.Option(
            "--workspace-mb", metavar="N", min=1, help="MiB of scratch memory.", show_default="half of what is free"
        ),
    ] = None,
    fastest: Annotated[
        bool, typer.Option("--fastest", help="Make all variants, time them here, and let 'run' take the fastest first.")
    ] = False,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Also where the engine is in the cache.")] = False,
    json: JsonOption = False,
) -> None:
    """Build engines for this device, keep them, hold them against the bundle's golden frames, and time them.

    Leaves with 1 where none can be built or kept, 3 where one does not judge the golden frames as torch did. 'run'
    takes the engine that was built last.
    """
    from diffad_edge.cli.buildview import leave, show_engines
    from diffad_edge.cli.devicework import on_device
    from diffad_runtime.bundle import open_bundle
    from diffad_runtime.provision import provision

    bundle, names = open_bundle(model), names_of(variants)
    options = {"optimisation_level": optimisation_level, "workspace_mb": workspace_mb}
    with on_device(cache, rebuild=rebuild, **options) as device:
        made = provision(bundle, names, device, fastest=fastest)
    show_engines(made, json=json)
    leave(made)
