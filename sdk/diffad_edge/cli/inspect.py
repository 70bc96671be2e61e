"""`diffad-edge inspect`: what a bundle is, verified, in words; or which kernels TensorRT would make of it."""

# ruff: noqa: PLC0415  what a command needs is imported when it runs, so that --help is quick

from typing import TYPE_CHECKING, Annotated

import typer

from diffad_edge.cli.arguments import BundleArgument, JsonOption, names_of
from diffad_runtime.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Callable

    from diffad_calibration.oracle import LayerReport
    from diffad_runtime.bundle import Bundle


def inspect(
    model: BundleArgument,
    *,
    layers: Annotated[
        bool,
        typer.Option(
            "--layers",
            help="Build the TensorRT variants with TensorRT-RTX and list the fused kernels. No GPU is needed. "
            "TensorRT-RTX is an oracle for parser and builder; it is not what runs on a Jetson.",
        ),
    ] = False,
    variants: Annotated[
        list[str] | None,
        typer.Option(
            "--variant",
            "--variants",
            metavar="A,B",
            help="Variants that --layers looks at; also fp32 and fp16.",
            show_default="those made for TensorRT",
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Verify a bundle and tell what is inside: sizes, variants, thresholds, parity, licences, provenance.

    With --layers: the kernels that TensorRT-RTX, which stands in for the Jetson's TensorRT, makes of its graphs.
    """
    from diffad_edge.cli.bundleview import show_bundle
    from diffad_runtime.bundle import open_bundle

    if variants and not layers:
        raise InputError("--variant says what --layers looks at", mend="Add --layers, or leave --variant out")
    bundle = open_bundle(model)
    if layers:
        _layers(bundle, names_of(variants), json=json)
    elif json:
        typer.echo(bundle.manifest.model_dump_json())
    else:
        show_bundle(bundle)


def _layers(bundle: "Bundle", names: list[str] | None, *, json: bool) -> None:
    from diffad_edge.cli.layersview import layers_record, show_layers
    from diffad_edge.cli.output import print_json
    from diffad_edge.cli.status import Rounds

    reporter = _reporter()
    with Rounds("building engines") as rounds:
        reports = reporter(bundle, names, on_round=rounds.update)
    if json:
        print_json(layers_record(reports))
    else:
        show_layers(reports)


def _reporter() -> "Callable[..., dict[str, dict[str, LayerReport]]]":
    """The oracle.

    Raises:
        MissingExtraError: a package that it needs is not installed.
    """
    try:
        from diffad_calibration.oracle import report_bundle, version
    except ImportError as error:
        package = (error.name or "onnx").partition(".")[0]
        if package.startswith("diffad_"):
            raise  # a fault of ours, not a missing package
        raise MissingExtraError(package, extra="oracle", purpose="the layer report") from error
    version()  # a missing package is said before anything else is
    return report_bundle
