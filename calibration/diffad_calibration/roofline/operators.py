"""What one node of a graph computes: its kind, and how many operations. A multiply-add counts as two.

Knows ONNX operators. Does not know which nodes share a kernel (fusion.py), nor any byte or time.

Closed forms, for outputs of n values:

    Conv                     2 n x weights of one output channel; biases not counted, as in profile/work.py
    ConvTranspose            2 x input values x weights of one input channel
    Gemm, MatMul             2 n x length of the sums
    Resize in d directions   2^(d+1) - 1 a value where linear, 2 x 4^d - 1 where cubic, none where nearest
    pooling                  window a value; global pooling and reductions: one operation for each input value
    elementwise              1 a value, whatever the function; more where the table says so
    moves                    none

Exp is one operation here and about ten on a GPU; elementwise work is bound by memory either way.
"""

from enum import Enum
from math import prod
from typing import Final

import onnx  # noqa: TID251  calibration is where graphs are read

from diffad_calibration.lint.graphview import GraphView, attribute, words
from diffad_runtime.errors import DiffadError


class Kind(Enum):
    """What a builder can do with a node."""

    HEAVY = "multiplies matrices: a kernel of its own, which elementwise followers join"
    POINTWISE = "elementwise: joins the kernel before it"
    MOVE = "copies values to other places: shares a kernel with elementwise ones"
    GATHER = "reads a value's neighbours: starts a kernel"
    FREE = "another name for the same memory"


HEAVY: Final = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
_MOVES = frozenset({"Expand", "Gather", "Pad", "Slice", "Tile", "Transpose", "DepthToSpace", "SpaceToDepth"})
_FREE = frozenset({"Dropout", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"})
_POOLS = frozenset({"AveragePool", "MaxPool"})
_SUMS = frozenset({"GlobalAveragePool", "GlobalMaxPool"})
# Operations a value. BatchNormalization of fixed statistics is a multiply-add; QuantizeLinear scales, rounds, clips.
_POINTWISE = {
    **dict.fromkeys(("Abs", "Add", "And", "Ceil", "Clip", "Div", "Elu", "Equal", "Erf", "Exp", "Floor", "Gelu"), 1),
    **dict.fromkeys(("Greater", "HardSigmoid", "HardSwish", "LeakyRelu", "Less", "Log", "Max", "Min", "Mul", "Neg"), 1),
    **dict.fromkeys(("Not", "Or", "Pow", "PRelu", "Reciprocal", "Relu", "Round", "Sigmoid", "Sign", "Softplus"), 1),
    **dict.fromkeys(("Sqrt", "Sub", "Sum", "Tanh", "Where"), 1),
    "BatchNormalization": 2,
    "Cast": 0,
    "DequantizeLinear": 1,
    "QuantizeLinear": 3,
}
# Of nodes that read neighbours; operations a value.
_GATHER = {"Concat": 0, "Split": 0, "Softmax": 5, "InstanceNormalization": 5, "LayerNormalization": 5}
_TAPS = {"linear": 2, "cubic": 4}


def kind_of(node: onnx.NodeProto) -> Kind:
    """Any operator that is not in a table starts a kernel."""
    operator = node.op_type
    if operator in HEAVY:
        return Kind.HEAVY
    if operator in _FREE:
        return Kind.FREE
    if operator in _MOVES:
        return Kind.MOVE
    return Kind.POINTWISE if operator in _POINTWISE else Kind.GATHER


def is_guessed(node: onnx.NodeProto) -> bool:
    """True where the operations are one a value for want of anything better."""
    known = HEAVY | _FREE | _MOVES | _POOLS | _SUMS | {"Resize", *_POINTWISE, *_GATHER}
    return node.op_type not in known and not node.op_type.startswith("Reduce")


def operations(graph: GraphView, node: onnx.NodeProto) -> int:
    """Operations of a node, all its outputs together.

    Raises:
        DiffadError: a size is not known, or the node holds graphs of its own.
    """
    if any(entry.type in {onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS} for entry in node.attribute):
        raise DiffadError(
            f"node {node.name!r} ({node.op_type}) holds a graph of its own, which is not estimated",
            mend="Export without control flow",
        )
    operator = node.op_type
    if operator in HEAVY:
        return _multiplications(graph, node)
    made = sum(
        size_of(graph, name) for name in node.output if name and (name in graph.readers or name in graph.outputs)
    )
    if operator == "Resize":
        return made * _resize(graph, node)
    if operator in _POOLS:
        return made * int(prod(attribute(node, "kernel_shape", [])))
    if operator in _SUMS or operator.startswith("Reduce"):
        return size_of(graph, node.input[0])
    if operator in _FREE | _MOVES:
        return 0
    return made * {**_POINTWISE, **_GATHER}.get(operator, 1)


def size_of(graph: GraphView, tensor: str) -> int:
    """Values of a tensor.

    Raises:
        DiffadError: not a known number.
    """
    return prod(shape_of(graph, tensor))


def shape_of(graph: GraphView, tensor: str) -> tuple[int, ...]:
    """Sizes of a tensor.

    Raises:
        DiffadError: one is not a known number.
    """
    shape = graph.shapes.get(tensor)
    known = () if shape is None else tuple(size for size in shape if size is not None)
    if shape is None or len(known) != len(shape):
        got = "nothing" if shape is None else words(shape)
        raise DiffadError(
            f"the size of tensor {tensor!r} is not known, expected numbers, got {got}",
            mend="Export the graph again, with fixed sizes",
        )
    return known


def _multiplications(graph: GraphView, node: onnx.NodeProto) -> int:
    made, weights = size_of(graph, node.output[0]), shape_of(graph, node.input[1])
    if node.op_type == "Conv":
        return 2 * made * prod(weights[1:])
    if node.op_type == "ConvTranspose":
        return 2 * size_of(graph, node.input[0]) * prod(weights[1:])
    sums = shape_of(graph, node.input[0])[-2 if attribute(node, "transA", 0) else -1]
    return 2 * made * sums


def _resize(graph: GraphView, node: onnx.NodeProto) -> int:
    taps = _TAPS.get(attribute(node, "mode", "nearest"))
    if taps is None:
        return 0
    before, after = shape_of(graph, node.input[0]), shape_of(graph, node.output[0])
    return 2 * int(taps ** sum(a != b for a, b in zip(before, after, strict=True))) - 1
