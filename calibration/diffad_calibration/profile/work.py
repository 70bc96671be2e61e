"""How much there is to convolve in a graph, and in which number format onnxruntime does it.

Knows ONNX graphs of static shapes, as exported and as onnxruntime optimised them. Does not know any time.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod

import onnx  # noqa: TID251  calibration is where graphs are read

from diffad_runtime.errors import DiffadError

INT8_CONVOLUTIONS = frozenset({"QLinearConv"})
FLOAT_CONVOLUTIONS = frozenset({"Conv", "FusedConv", "NhwcFusedConv"})


@dataclass(frozen=True, slots=True)
class ConvolutionWork:
    """Convolutions a frame.

    Attributes:
        int8: nodes that run in INT8.
        float_names: of the nodes that run in float.
        int8_gop, float_gop: 1e9 operations, a multiply-add counts as two.
    """

    int8: int
    float_names: tuple[str, ...]
    int8_gop: float
    float_gop: float


def convolution_work(exported: bytes, optimised: onnx.ModelProto, output_sizes: Mapping[str, int]) -> ConvolutionWork:
    """Count.

    The total comes from the graph as exported; what is INT8 from the optimised one. Its float convolutions cannot be
    counted: blocked layouts pad their channels.

    Args:
        exported: ONNX as in the bundle.
        optimised: the same as onnxruntime runs it.
        output_sizes: values that a node of `optimised` makes, by its name; the optimised graph itself does not say.

    Raises:
        DiffadError: a convolution of unknown size.
    """
    original = onnx.shape_inference.infer_shapes(onnx.load_from_string(exported)).graph
    shapes = _shapes(original)
    total = _operations(original, {"Conv": 1}, lambda node: prod(shapes.get(node.output[0], ())))
    int8 = _operations(
        optimised.graph, dict.fromkeys(INT8_CONVOLUTIONS, 3), lambda node: output_sizes.get(node.name, 0)
    )
    floats = tuple(node.name or node.output[0] for node in optimised.graph.node if node.op_type in FLOAT_CONVOLUTIONS)
    return ConvolutionWork(
        int8=sum(node.op_type in INT8_CONVOLUTIONS for node in optimised.graph.node),
        float_names=floats,
        int8_gop=int8 / 1e9,
        float_gop=max(0.0, total - int8) / 1e9 if floats else 0.0,
    )


def _operations(
    graph: onnx.GraphProto, weights_at: Mapping[str, int], output_size: Callable[[onnx.NodeProto], int]
) -> float:
    """2 x output values x weights of one output channel, over the nodes of these types; the layout does not matter.

    Args:
        weights_at: type -> which of the node's inputs holds its weights (O, I, kh, kw).
        output_size: values that a node makes.
    """
    shapes, total = _shapes(graph), 0.0
    for node in graph.node:
        if node.op_type in weights_at:
            made, weights = output_size(node), shapes.get(node.input[weights_at[node.op_type]], ())
            if made < 1 or not weights:
                raise DiffadError(
                    f"the size of the convolution {node.name or node.output[0]!r} is not known",
                    mend="Export the graph again, with fixed sizes",
                )
            total += 2 * made * prod(weights[1:])
    return total


def _shapes(graph: onnx.GraphProto) -> dict[str, tuple[int, ...]]:
    """Of every tensor that the graph knows the type of; a side that is not fixed reads as 0."""
    values = (*graph.value_info, *graph.output, *graph.input)
    shapes = {value.name: tuple(side.dim_value for side in value.type.tensor_type.shape.dim) for value in values}
    return shapes | {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
