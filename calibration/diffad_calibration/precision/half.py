"""FP16: onnxruntime's converter on the nodes that may be halved, and no cast more than their borders need.

Knows graphs. Does not know which nodes those are (placement.py). Inputs and outputs of the graph stay FP32.
"""

from collections.abc import Collection, Iterable

import onnx  # noqa: TID251  calibration is where graphs are edited
from onnx import TensorProto, shape_inference, version_converter  # noqa: TID251
from onnxruntime.quantization.onnx_model import ONNXModel
from onnxruntime.transformers.float16 import convert_float_to_float16

from diffad_calibration.precision.onnxfile import quiet

SCALES_OPSET = 19
"""The first in which QuantizeLinear and DequantizeLinear take FP16."""
_DOWN = "_cast_to_fp16"  # what the converter adds to the name of an FP32 tensor that it casts


def to_half(model: onnx.ModelProto, halved: Collection[str]) -> onnx.ModelProto:
    """A copy in which the nodes named compute in FP16, all others in FP32.

    Args:
        model: FP32, types inferred, every node named.
        halved: names of nodes.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    # The converter halves what has a type stated, constants of nodes that stay FP32 too.
    constants = {entry.name for entry in copy.graph.initializer}
    for entry in [entry for entry in copy.graph.value_info if entry.name in constants]:
        copy.graph.value_info.remove(entry)
    kept = [node.name for node in model.graph.node if node.name not in halved]
    _part_constants(copy.graph, halved)
    with quiet():
        made = convert_float_to_float16(copy, keep_io_types=True, op_block_list=[], node_block_list=kept)
    _without_detours(made)
    _own_names(made.graph)
    ONNXModel(made).topological_sort()
    del made.graph.value_info[:]  # those of the converter are of the casts that are gone
    inferred: onnx.ModelProto = shape_inference.infer_shapes(made, strict_mode=True)
    return inferred


def with_opset(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """The same graph in another opset."""
    converted: onnx.ModelProto = version_converter.convert_version(model, opset)
    return converted


def _without_detours(model: onnx.ModelProto) -> None:
    """Take out FP32 -> FP16 -> FP32 between two nodes that both compute in FP32, in place.

    The converter puts a cast on both sides of every node that stays FP32, so its values would be rounded for nothing.
    """
    graph = model.graph
    makers = {node.output[0]: node for node in graph.node if node.op_type == "Cast"}

    def source(tensor: str) -> str:
        """Where an FP32 tensor that came through FP16 came from."""
        up = makers.get(tensor)
        down = makers.get(up.input[0]) if up is not None and _to(up) == TensorProto.FLOAT else None
        if up is None or down is None or _to(down) != TensorProto.FLOAT16:
            return tensor
        return source(down.input[0])

    outputs = {entry.name for entry in graph.output}
    for node in graph.node:
        if node.op_type == "Cast" and node.output[0] in outputs:
            found = source(node.output[0])
            if found != node.output[0]:
                _rename(graph.node, found, node.output[0])
                continue
        if node.op_type != "Cast":
            for index, name in enumerate(node.input):
                node.input[index] = source(name)
    _drop_unread(graph)
    _share_casts(graph)


def _part_constants(graph: onnx.GraphProto, halved: Collection[str]) -> None:
    """Give nodes that stay FP32 a copy of constants that FP16 nodes read too, in place: the converter rounds them."""
    constants = {entry.name: entry for entry in graph.initializer if entry.data_type == TensorProto.FLOAT}
    shared = {name for node in graph.node if node.name in halved for name in node.input}
    copies: dict[str, str] = {}
    for node in [node for node in graph.node if node.name not in halved]:
        for index, name in enumerate(node.input):
            if name not in constants or name not in shared:
                continue
            if name not in copies:
                copies[name] = f"{name}_fp32"
                graph.initializer.add().CopyFrom(constants[name])
                graph.initializer[-1].name = copies[name]
            node.input[index] = copies[name]


def _own_names(graph: onnx.GraphProto) -> None:
    """Let an FP32 tensor have its name back where the cast that took it is gone, in place."""
    taken = {entry.name for entry in graph.input} | {name for node in graph.node for name in node.output}
    for old in [name for name in taken if name.endswith(_DOWN)]:
        if old.removesuffix(_DOWN) not in taken:
            _rename(graph.node, old, old.removesuffix(_DOWN))


def _rename(nodes: Iterable[onnx.NodeProto], old: str, new: str) -> None:
    """Let the node that makes `old` make `new` instead, which a cast made until now; all readers follow."""
    for node in nodes:
        if node.op_type == "Cast" and node.output[0] == new:
            node.output[0] = f"{new}_unread"
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                if name == old:
                    names[index] = new


def _drop_unread(graph: onnx.GraphProto) -> None:
    while True:
        read = {name for node in graph.node for name in node.input} | {entry.name for entry in graph.output}
        unread = [node for node in graph.node if not read.intersection(node.output)]
        if not unread:
            return
        for node in unread:
            graph.node.remove(node)


def _share_casts(graph: onnx.GraphProto) -> None:
    """One cast for all readers of a tensor in another type."""
    outputs = {entry.name for entry in graph.output}
    first: dict[tuple[str, int], str] = {}
    same: dict[str, str] = {}
    for node in graph.node:
        if node.op_type != "Cast" or node.output[0] in outputs:
            continue
        known = first.setdefault((node.input[0], _to(node)), node.output[0])
        if known != node.output[0]:
            same[node.output[0]] = known
    for node in graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = same.get(name, name)
    _drop_unread(graph)


def _to(node: onnx.NodeProto) -> int:
    return int(next(entry.i for entry in node.attribute if entry.name == "to"))
