"""The graphs of a bundle's variants through the oracle.

Knows which variants TensorRT may be given. Does not know how a graph is built (building.py).
"""

from collections.abc import Callable, Sequence

from diffad_calibration.oracle.building import build_report
from diffad_calibration.oracle.report import LayerReport
from diffad_runtime.bundle import Bundle
from diffad_runtime.errors import InputError

_GRAPHS = ("extractor", "reconstructor")


def report_bundle(
    bundle: Bundle, variants: Sequence[str] | None = None, *, on_round: Callable[[int, int], None] | None = None
) -> dict[str, dict[str, LayerReport]]:
    """Variant -> "extractor", "reconstructor" -> what the builder made of it.

    Args:
        variants: None: those made for TensorRT.
        on_round: is told how many graphs are built, and of how many.

    Raises:
        InputError: an unknown variant, one that was made for another backend, or none made for TensorRT.
        MissingExtraError: tensorrt_rtx is not installed.
        GateError: the parser or the builder refuses a graph.
    """
    names = list(dict.fromkeys(_made_for_tensorrt(bundle) if variants is None else variants))
    for name in names:
        if (target := bundle.variant(name).target) == "cpu":
            raise InputError(
                f"variant {name!r} is made for {target}, expected one made for tensorrt or any",
                mend="Name another, as 'inspect' lists them",
            )
    reports: dict[str, dict[str, LayerReport]] = {}
    for index, name in enumerate(names):
        reports[name] = {}
        for place, (what, graph) in enumerate(zip(_GRAPHS, bundle.graphs(name), strict=True)):
            if on_round:
                on_round(2 * index + place, 2 * len(names))
            reports[name][what] = build_report(graph, f"{what}.{name}")
    return reports


def _made_for_tensorrt(bundle: Bundle) -> list[str]:
    found = [name for name, variant in bundle.manifest.variants.items() if variant.target == "tensorrt"]
    if not found:
        raise InputError(
            f"the bundle has no variant made for tensorrt, it has {', '.join(bundle.manifest.variants)}",
            mend="Name one made for any backend with --variant, or export the bundle again",
        )
    return found
