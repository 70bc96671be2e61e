"""A graph as the rules look at it: who makes, who reads, which type and shape, what is constant.

Knows ONNX. Does not know any rule. Graphs inside graphs (If, Loop) are not looked into.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx  # noqa: TID251  calibration is where graphs are read
from onnx import TensorProto, numpy_helper  # noqa: TID251

WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
_UNKNOWN = TensorProto.UNDEFINED
Shape = tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class GraphView:
    """Everything by name.

    Attributes:
        model: types and shapes inferred as far as possible.
        nodes: of the graph, each named.
        constants: initializers and values of Constant nodes.
        fixed: all tensors that depend on constants alone.
        makers: the node that makes a tensor.
        readers: the nodes that read a tensor.
        types: ONNX element types of all tensors known.
        shapes: sizes of all tensors known; None within for one that is not a number.
        inputs: of the network, without initializers.
        outputs: of the network.
    """

    model: onnx.ModelProto
    nodes: tuple[onnx.NodeProto, ...]
    constants: dict[str, TensorProto]
    fixed: frozenset[str]
    makers: dict[str, onnx.NodeProto]
    readers: dict[str, list[onnx.NodeProto]]
    types: dict[str, int]
    shapes: dict[str, Shape]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def of_type(self, *kinds: str) -> Iterator[onnx.NodeProto]:
        """Nodes of these operator types, in order."""
        return (node for node in self.nodes if node.op_type in kinds)

    def type(self, tensor: str) -> int:
        """ONNX element type, UNDEFINED where unknown."""
        return self.types.get(tensor, _UNKNOWN)

    def array(self, tensor: str) -> npt.NDArray[Any] | None:
        """Values of a constant, None of anything else, and of a constant whose values lie in another file."""
        known = self.constants.get(tensor)
        if known is None or known.data_location == TensorProto.EXTERNAL:
            return None
        return np.asarray(numpy_helper.to_array(known))

    def weight_of(self, tensor: str) -> list[onnx.NodeProto]:
        """The weighted nodes that read a tensor as their weight: input 1, of a MatMul either."""
        return [
            node
            for node in self.readers.get(tensor, [])
            if node.op_type in WEIGHTED
            and (tensor == node.input[1] or (node.op_type == "MatMul" and tensor == node.input[0]))
        ]


def view(model: onnx.ModelProto) -> GraphView:
    """Look at a model. A graph that breaks ONNX's own rules is looked at as far as it goes.

    Args:
        model: weights inside.
    """
    try:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    except Exception:  # onnx raises several types here; whether the graph is valid is a rule's business
        inferred = onnx.ModelProto()
        inferred.CopyFrom(model)
    graph = inferred.graph
    for index, node in enumerate(graph.node):
        node.name = node.name or f"{node.op_type}_{index}"
    constants = {entry.name: entry for entry in graph.initializer}
    makers: dict[str, onnx.NodeProto] = {}
    readers: dict[str, list[onnx.NodeProto]] = {}
    fixed = set(constants)
    for node in graph.node:  # ONNX keeps nodes in topological order
        if node.op_type == "Constant" and node.output:
            for entry in node.attribute:
                if entry.name == "value":
                    constants[node.output[0]] = entry.t
        for name in filter(None, node.output):
            makers[name] = node
        for name in filter(None, node.input):
            readers.setdefault(name, []).append(node)
        if fixed.issuperset(filter(None, node.input)):
            fixed.update(filter(None, node.output))
    values = [*graph.value_info, *graph.input, *graph.output]
    tensors = {entry.name: entry.type.tensor_type for entry in values if entry.type.HasField("tensor_type")}
    types = {name: tensor.elem_type for name, tensor in tensors.items()}
    shapes = {
        name: tuple(size.dim_value if size.HasField("dim_value") else None for size in tensor.shape.dim)
        for name, tensor in tensors.items()
        if tensor.HasField("shape")
    }
    return GraphView(
        model=inferred,
        nodes=tuple(graph.node),
        constants=constants,
        fixed=frozenset(fixed),
        makers=makers,
        readers=readers,
        types=types | {name: entry.data_type for name, entry in constants.items()},
        shapes=shapes | {name: tuple(entry.dims) for name, entry in constants.items()},
        inputs=tuple(entry.name for entry in graph.input if entry.name not in constants),
        outputs=tuple(entry.name for entry in graph.output),
    )


def attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    """An attribute's value, text as str, lists as list."""
    for entry in node.attribute:
        if entry.name == name:
            value = onnx.helper.get_attribute_value(entry)
            return value.decode() if isinstance(value, bytes) else value
    return default


def type_name(kind: int) -> str:
    """As in "FLOAT16"."""
    return str(TensorProto.DataType.Name(kind)) if kind in TensorProto.DataType.values() else f"type {kind}"


def words(shape: Shape) -> str:
    """As in "1 x 3 x ? x 256"."""
    return " x ".join("?" if size is None else str(size) for size in shape) or "a scalar"


def is_finite(values: npt.NDArray[Any]) -> bool:
    """No NaN and no infinity, of any float type."""
    return bool(np.isfinite(values).all())
