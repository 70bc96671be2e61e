"""What a TensorRT builder made of a bundle's graphs, as tables: every kernel, then one line a graph.

Knows layer reports and words. Does not build anything.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.table import Table

from diffad_edge.cli.output import size, stdout, table

if TYPE_CHECKING:
    from diffad_calibration.oracle import Layer, LayerReport, Tensor

_SHOWN = 3  # nodes named in a row; the rest is counted
_HIDDEN = ("QuantizeLinear", "DequantizeLinear")  # nearly every kernel has some, and the types tell as much
_EVENTS = frozenset({"signal", "wait"})

Reports = Mapping[str, Mapping[str, "LayerReport"]]
"""Variant -> graph -> report."""


def show_layers(reports: Reports) -> None:
    """Print a table of kernels for each graph, then one with a row a graph."""
    console = stdout()
    for name, graphs in reports.items():
        for graph, report in graphs.items():
            console.print(_kernels(f"{name}, {graph}", report))
            console.print()
    console.print(_summary(reports))
    for name, graphs in reports.items():
        for graph, report in graphs.items():
            if report.missed:
                nodes = f"{name}, {graph}: meant for INT8 but in float: {', '.join(report.missed)}"
                console.print(nodes, style="red", soft_wrap=True)
    builders = dict.fromkeys(report.builder for graphs in reports.values() for report in graphs.values())
    console.print("correlation: a convolution; kgen: a kernel generated from several nodes", style="dim")
    console.print(f"Built by {', '.join(builders)}: an oracle for parser and builder.", style="dim")
    console.print("It is not what runs on a Jetson, whose kernels may be others.", style="dim")


def layers_record(reports: Reports) -> dict[str, Any]:
    """{"layers": {variant: {graph: report}}} of plain values."""
    return {
        "layers": {
            name: {graph: report.to_dict() for graph, report in graphs.items()} for name, graphs in reports.items()
        }
    }


def _summary(reports: Reports) -> Table:
    columns = ("variant", "graph", "convs", "in INT8", "kernels", "float", "Int8", "engine")
    rows = []
    for name, graphs in reports.items():
        for graph, report in graphs.items():
            int8 = next((entry for entry in report.between if entry.type == "Int8"), None)
            rows.append(
                [
                    name,
                    graph,
                    str(len(report.convolutions)),
                    f"{report.int8} of {report.marked}" if report.marked else "-",
                    str(report.kernels),
                    _amount(report.float_tensors, report.float_bytes),
                    _amount(int8.tensors, int8.bytes) if int8 else "-",
                    size(report.plan_bytes),
                ]
            )
    title = "Convolutions that run in INT8, of those meant to; tensors that one kernel hands to another"
    return table(title, columns, rows, left=2)


def _kernels(title: str, report: "LayerReport") -> Table:
    layers = [layer for layer in report.layers if layer.kind not in _EVENTS]
    rows = [
        [str(place), layer.kind, _types(layer.inputs), _types(layer.outputs), _written(layer), _nodes(layer)]
        for place, layer in enumerate(layers, 1)
    ]
    made = table(title, ("", "kernel", "reads", "writes", "written", "of the graph"), rows, left=4)
    made.columns[0].justify = "right"
    made.columns[-1].justify = "left"
    return made


def _types(tensors: "tuple[Tensor, ...]") -> str:
    return " + ".join(dict.fromkeys(tensor.type for tensor in tensors)) or "-"


def _written(layer: "Layer") -> str:
    return size(sum(tensor.bytes for tensor in layer.outputs))


def _nodes(layer: "Layer") -> str:
    named = [node for node in layer.nodes if not node.endswith(_HIDDEN)] or list(layer.nodes)
    more = f" and {len(named) - _SHOWN} more" if len(named) > _SHOWN else ""
    return ", ".join(named[:_SHOWN]) + more if named else "-"


def _amount(tensors: int, count: int) -> str:
    return f"{tensors}, {size(count)}" if tensors else "-"
