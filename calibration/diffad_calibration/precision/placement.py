"""Which nodes of a graph take another precision: those around convolutions, never the score behind them.

Knows the shape of graphs. Does not know values, recipes or what a convolution is for.
"""

import ast
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase

import onnx  # noqa: TID251  calibration is where graphs are read

from diffad_runtime.errors import DataError

# Ops that run on uint8 between two convolutions. An op with no convolution behind it belongs to the score.
BETWEEN = frozenset({"Add", "AveragePool", "Clip", "Concat", "MaxPool", "Relu", "Resize"})
# Ops that add up many values, or stretch small differences: they keep FP32 in every FP16 graph.
SENSITIVE = frozenset(
    {"BatchNormalization", "Exp", "GlobalAveragePool", "Log", "MatMul", "Pow", "ReduceMean", "ReduceSum", "Softmax"}
)
HALF_MAX = 65504.0
HALF_HEADROOM = 4.0  # a frame from the line may go so many times beyond what calibration saw
HALF_SMALLEST = 2.0**-14  # below it FP16 loses bits
_ACTIVATIONS = frozenset({"Clip", "Relu"})
_SCOPES = "pkg.torch.onnx.name_scopes"

Extremes = Mapping[str, tuple[float, float]]
"""Smallest and largest value seen of each tensor, by name."""


def convolutions(graph: onnx.GraphProto, kept: frozenset[str] = frozenset(), *, grouped: bool = True) -> list[str]:
    """Names of the convolutions, without those that make a tensor of `kept`.

    Args:
        grouped: those with more than one group too.
    """
    return [
        node.name
        for node in graph.node
        if node.op_type == "Conv" and not kept.intersection(node.output) and (grouped or _groups(node) == 1)
    ]


def convolutions_and_between(graph: onnx.GraphProto, kept: frozenset[str] = frozenset()) -> list[str]:
    """Convolutions not kept, and the ops of BETWEEN with such convolutions on both sides.

    An activation right behind a convolution counts as part of it, whatever follows.
    """
    free = {node.name for node in graph.node if not kept.intersection(node.output)}

    def chosen(node: onnx.NodeProto, between: bool, fused: bool) -> bool:
        inside = (node.op_type in BETWEEN and between) or (node.op_type in _ACTIVATIONS and fused)
        return node.name in free and (node.op_type == "Conv" or inside)

    return [node.name for node, between, fused in _around(graph, free) if chosen(node, between, fused)]


def half_nodes(graph: onnx.GraphProto, extremes: Extremes, kept: frozenset[str] = frozenset()) -> list[str]:
    """Nodes that FP16 may compute: convolutions, and whatever lies between them and does no sums over many values.

    The range guard leaves out a node that reads or makes a tensor that came within a factor HALF_HEADROOM of what FP16
    holds, or that is smaller than FP16 can tell apart, by what calibration saw and by the constants themselves. Of
    convolutions that share a weight, as noise levels do, all are left out or none: a weight has one type.
    """
    constants = {entry.name: onnx.numpy_helper.to_array(entry) for entry in graph.initializer}

    def fits(name: str) -> bool:
        if name in constants:
            values = constants[name]
            return values.dtype.kind != "f" or values.size == 0 or _representable(abs(values).max())
        low, high = extremes.get(name, (0.0, 0.0))
        return _representable(max(-low, high), HALF_HEADROOM)

    chosen: list[onnx.NodeProto] = []
    for node, between, fused in _around(graph, {node.name for node in graph.node}):
        inside = node.op_type == "Conv" or between or (node.op_type in _ACTIVATIONS and fused)
        if (
            inside
            and node.op_type not in SENSITIVE
            and not kept.intersection(node.output)
            and all(fits(name) for name in (*node.input, *node.output) if name)
        ):
            chosen.append(node)
    names = {node.name for node in chosen}
    wide = {node.input[1] for node in graph.node if node.op_type == "Conv" and node.name not in names}
    return [node.name for node in chosen if node.op_type != "Conv" or node.input[1] not in wide]


def kept_tensors(model: onnx.ModelProto, patterns: Sequence[str]) -> frozenset[str]:
    """Outputs of the nodes that the patterns name. Tensor names outlive the fusions that rename nodes.

    Args:
        patterns: shell patterns matched against node names, names of the tensors they make and, for graphs of
            torch.onnx.export, dotted module names.

    Raises:
        DataError: a pattern that matches nothing.
    """
    kept: set[str] = set()
    for pattern in patterns:
        found = [node for node in model.graph.node if any(fnmatchcase(name, pattern) for name in _names(node))]
        if not found:
            raise DataError(
                f"keep_float pattern {pattern!r} matches no node, tensor or module of the graph",
                mend="Check the name, or leave it out",
            )
        kept.update(tensor for node in found for tensor in node.output)
    return frozenset(kept)


def _groups(node: onnx.NodeProto) -> int:
    return next((int(entry.i) for entry in node.attribute if entry.name == "group"), 1)


def _representable(largest: float, headroom: float = 1.0) -> bool:
    return largest == 0 or (largest >= HALF_SMALLEST and largest * headroom <= HALF_MAX)


def _around(graph: onnx.GraphProto, free: set[str]) -> Iterator[tuple[onnx.NodeProto, bool, bool]]:
    """Each node with: whether convolutions of `free` lie on both sides of it; whether one makes what it reads."""
    ahead: set[str] = set()  # tensors with such a convolution upstream
    direct: set[str] = set()  # tensors that such a convolution makes
    for node in graph.node:  # ONNX keeps nodes in topological order
        if node.op_type == "Conv" and node.name in free:
            direct.update(node.output)
            ahead.update(node.output)
        elif ahead.intersection(node.input):
            ahead.update(node.output)
    behind: set[str] = set()  # tensors with such a convolution downstream
    found: list[tuple[onnx.NodeProto, bool, bool]] = []
    for node in reversed(graph.node):
        leads_on = bool(behind.intersection(node.output))
        found.append((node, leads_on and bool(ahead.intersection(node.input)), bool(direct.intersection(node.input))))
        if node.op_type == "Conv" and node.name in free:
            behind.add(node.input[0])
        elif leads_on:
            behind.update(node.input)
    yield from reversed(found)


def _names(node: onnx.NodeProto) -> list[str]:
    scopes = [entry.value for entry in node.metadata_props if entry.key == _SCOPES]
    modules = ast.literal_eval(scopes[0])[:-1] if scopes else []  # the last entry is the node itself
    return [node.name, *node.output, *(str(module) for module in modules if module)]
