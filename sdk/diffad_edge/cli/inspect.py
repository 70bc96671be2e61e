"""`diffad-edge inspect`: what a bundle is, verified, in words."""

# ruff: noqa: PLC0415  what a command needs is imported when it runs, so that --help is quick

import typer

from diffad_edge.cli.arguments import BundleArgument, JsonOption


def inspect(model: BundleArgument, json: JsonOption = False) -> None:
    """Verify a bundle and tell what is inside: sizes, variants, thresholds, parity, licences, provenance."""
    from diffad_edge.cli.bundleview import show_bundle
    from diffad_runtime.bundle import open_bundle

    bundle = open_bundle(model)
    if json:
        typer.echo(bundle.manifest.model_dump_json())
    else:
        show_bundle(bundle)
