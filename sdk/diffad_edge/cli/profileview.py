"""A profile as tables.

Knows shares and rates. Does not measure anything.
"""

from typing import TYPE_CHECKING

from diffad_edge.cli.output import facts, milliseconds, stdout, table

if TYPE_CHECKING:
    from diffad_calibration.profile import BundleProfile, ConvolutionFigures, GraphProfile

_SHOWN = 8  # operators of a graph; the rest in one line


def show_profile(profile: "BundleProfile") -> None:
    """Print each graph's operators, then all convolutions against the processor's peak."""
    console = stdout()
    for name, graphs in profile.variants.items():
        for graph in graphs:
            console.print()
            console.print(
                table(f"{name}, {graph.graph}", ("operator", "calls", "ms a frame", "share"), _operators(graph))
            )
    console.print()
    columns = ("convolutions of", "", "count", "GOP a frame", "ms", "GOP/s", "of peak")
    rows = [
        [f"{name} {graph.graph}", kind, *_figures(figures)]
        for name, graphs in profile.variants.items()
        for graph in graphs
        for kind, figures in (("INT8", graph.int8), ("FP32", graph.fp32))
        if figures.count
    ]
    console.print(table("Convolutions against this processor's peak", columns, rows, left=2))
    console.print()
    peaks = [
        (f"peak {name.upper()}", f"{peak.gop_per_s:.0f} GOP/s: {peak.shape}") for name, peak in profile.peaks.items()
    ]
    console.print(
        facts(
            [
                *peaks,
                ("runs", f"{profile.frames} of each graph, interleaved, {profile.threads} threads; medians"),
                ("profiler", _disturbance(profile)),
            ]
        )
    )


def _operators(graph: "GraphProfile") -> list[list[str]]:
    shown, rest = graph.operators[:_SHOWN], graph.operators[_SHOWN:]
    rows = [[one.operator, str(one.calls), f"{one.ms:.3f}", f"{one.share:.1%}"] for one in shown]
    if rest:
        calls, ms, share = (sum(values) for values in zip(*((o.calls, o.ms, o.share) for o in rest), strict=True))
        rows.append([f"{len(rest)} others", str(calls), f"{ms:.3f}", f"{share:.1%}"])
    return [*rows, ["all", str(sum(one.calls for one in graph.operators)), f"{graph.nodes_ms:.3f}", ""]]


def _figures(found: "ConvolutionFigures") -> list[str]:
    rate, share = found.rate, found.share_of_peak
    return [
        str(found.count),
        f"{found.gop:.3f}",
        milliseconds(found.ms),
        "-" if rate is None else f"{rate:.0f}",
        "-" if share is None else f"{share:.0%}",
    ]


def _disturbance(profile: "BundleProfile") -> str:
    parts = [
        f"{name} {graph.graph} {graph.disturbance:+.0%} of {graph.wall_ms:.2f}"
        for name, graphs in profile.variants.items()
        for graph in graphs
    ]
    return f"node times against the wall time (ms) without it: {'; '.join(parts)}; taken out of the convolutions' ms"
