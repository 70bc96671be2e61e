"""FP16 as a GPU computes it, on a CPU: every tensor is rounded to FP16, where ONNX Runtime would keep FP32.

ONNX Runtime's CPU provider runs FP16 nodes in FP32 and drops its own casts between them, so a value beyond 65504 passes
unseen there. Casts that the graph itself holds stay. Only for measuring: such a graph is slow. Knows graphs.
"""

import onnx  # noqa: TID251  calibration is where graphs are edited
from onnx import TensorProto, helper, shape_inference  # noqa: TID251

from diffad_calibration.precision.variants import FORMS, Graphs

_LEFT_ALONE = frozenset({"Cast", "QuantizeLinear"})


def as_computed(graphs: Graphs, name: str) -> Graphs:
    """What to measure a variant by: of one with FP16 inside, every FP16 tensor rounded; else the graphs themselves."""
    if FORMS[name].precision not in {"fp16", "int8-fp16"}:
        return graphs
    return Graphs(every_tensor_rounded(graphs.extractor), every_tensor_rounded(graphs.reconstructor))


def every_tensor_rounded(model: bytes) -> bytes:
    """FP16 -> FP32 -> FP16 behind each node that makes FP16."""
    proto = shape_inference.infer_shapes(onnx.load_from_string(model))
    kinds = {entry.name: entry.type.tensor_type.elem_type for entry in proto.graph.value_info}
    nodes = []
    for node in proto.graph.node:
        nodes.append(node)
        for index, name in enumerate(node.output):
            if node.op_type in _LEFT_ALONE or kinds.get(name) != TensorProto.FLOAT16:
                continue
            raw, wide = f"{name}_raw", f"{name}_wide"
            node.output[index] = raw
            nodes.append(helper.make_node("Cast", [raw], [wide], name=f"{name}_up", to=TensorProto.FLOAT))
            nodes.append(helper.make_node("Cast", [wide], [name], name=f"{name}_down", to=TensorProto.FLOAT16))
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    del proto.graph.value_info[:]
    return bytes(proto.SerializeToString())
