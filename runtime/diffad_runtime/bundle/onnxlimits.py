"""What a graph may ask of an engine: operators that are known, values of bounded size, work of bounded length.

Knows limits. Does not know sizes (onnxshapes.py) nor the file (onnxgraph.py).

An inference library runs whatever a graph says. A kilobyte can say: twice as large, forty times over; or repeat without
end; or read that file. So a graph's values are worked out here before any engine sees it. Exports come nowhere near the
limits. The five variants of the demo's student, at 128 and at 256 px: largest value 24 planes of S x S, all values 220
to 730 planes, 5,000 multiplications a pixel for the extractor, 17,000 for the reconstructor. A backbone that is not
small: the features of a WideResNet50 on one grid are (256 + 512 + 1024) / 16 = 112 planes, and torchvision lists 11.4 G
multiplications for it at 224 px, 230,000 a pixel.
"""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Final

from diffad_runtime.bundle.onnxcall import Call, Shape, ShapeError
from diffad_runtime.bundle.onnxgraph import MEND, Graph, Node, Weight, read_graph
from diffad_runtime.bundle.onnxshapes import RULES, output_shapes
from diffad_runtime.errors import BundleError

MOST_NODES: Final = 20_000
MOST_PLANES: Final = 512
"""Of S x S values that one value may have; LEAST_PLANE where S x S is less."""
MOST_PLANES_IN_ALL: Final = 8192
"""That all values of a graph may have together: 2 GiB at 256 px, if an engine kept all."""
LEAST_PLANE: Final = 1 << 14
MOST_WORK: Final = 1 << 21
"""Multiplications a pixel."""


def check_limits(graph: bytes | memoryview, name: str, input_size: int) -> None:
    """Work a graph out.

    Args:
        graph: the serialised model; check_onnx took it.
        name: of the bundle member, for messages.
        input_size: S of the manifest.

    Raises:
        BundleError: an operator that is not known, sizes that are not fixed or do not fit, values or work beyond the
            limits.
    """
    read = read_graph(graph, name)
    if len(read.nodes) > MOST_NODES:
        raise BundleError(f"member {name!r} has {len(read.nodes)} operators, at most {MOST_NODES} allowed", mend=MEND)
    plane = max(input_size**2, LEAST_PLANE)
    shapes, constants = _given(read, name), dict(read.weights)
    total, work = 0, 0
    for index, node in enumerate(read.nodes):
        where = f"member {name!r}: operator {index}, {node.operator!r:.60},"
        call, made = _worked_out(node, where, shapes, constants)
        for output, shape in zip(node.outputs, made, strict=False):
            if output in shapes:
                raise BundleError(f"{where} gives {output!r:.60}, which is there already", mend=MEND)
            if prod(shape) > MOST_PLANES * plane:
                raise BundleError(
                    f"{where} gives {prod(shape)} values, at most {MOST_PLANES * plane} allowed", mend=MEND
                )
            if output:
                shapes[output] = shape
            total += prod(shape)
        if node.operator == "Constant" and isinstance(weight := node.attributes.get("value"), Weight):
            constants |= dict.fromkeys(node.outputs, weight)
        work += _multiplications(call, made)
    for found, limit, what in (
        (total, MOST_PLANES_IN_ALL * plane, "values to compute"),
        (work, MOST_WORK * plane, "multiplications to make"),
    ):
        if found > limit:
            raise BundleError(f"member {name!r} has {found} {what}, at most {limit} allowed", mend=MEND)


def _worked_out(
    node: Node, where: str, shapes: Mapping[str, Shape], constants: Mapping[str, Weight]
) -> tuple[Call, Sequence[Shape]]:
    """The sizes of what a node gives."""
    if node.operator not in RULES:
        raise BundleError(f"{where} is none that this release knows", mend=MEND)
    unknown = [one for one in node.inputs if one and one not in shapes]
    if unknown:
        raise BundleError(f"{where} takes {unknown[0]!r:.60}, which nothing before it gives", mend=MEND)
    call = Call(node, [shapes[one] if one else () for one in node.inputs], constants)
    try:
        made = output_shapes(call)
    except ShapeError as error:
        raise BundleError(f"{where} cannot be worked out: {error}", mend=MEND) from None
    if not 1 <= len(node.outputs) <= len(made):
        raise BundleError(f"{where} gives {len(node.outputs)} outputs, expected {len(made)}", mend=MEND)
    return call, made


def _given(graph: Graph, name: str) -> dict[str, Shape]:
    """Sizes of inputs and weights."""
    for given, shape in graph.inputs.items():
        if min(shape, default=1) < 1:
            raise BundleError(f"member {name!r}: input {given!r:.60} has no fixed size, got {shape!r:.80}", mend=MEND)
    return {**graph.inputs, **{given: weight.shape for given, weight in graph.weights.items()}}


def _multiplications(call: Call, made: Sequence[Shape]) -> int:
    if call.node.operator == "Conv":
        return prod(made[0]) * prod(call.shape(1)[1:])
    if call.node.operator == "ConvTranspose":
        return prod(call.shape(0)) * prod(call.shape(1)[1:])
    if call.node.operator in {"MatMul", "Gemm"}:
        return prod(made[0]) * max(call.shape(0))
    if call.node.operator in {"AveragePool", "MaxPool"}:
        return prod(made[0]) * prod(call.numbers("kernel_shape", ()))
    return sum(map(prod, made))
