"""Data kept outside an ONNX file is found wherever a tensor can hide, by the wire format alone."""

import onnx
import pytest
from onnx import TensorProto, helper

from diffad_runtime.bundle.onnxscan import check_onnx
from diffad_runtime.errors import BundleError


def _external(tensor: onnx.TensorProto) -> onnx.TensorProto:
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../etc/passwd"
    return tensor


def _tensor() -> onnx.TensorProto:
    return helper.make_tensor("w", TensorProto.FLOAT, [2], [1.0, 2.0])


def _model_with(place: str, tensor: onnx.TensorProto) -> bytes:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])
    constant = helper.make_node("Constant", [], ["x"], value=tensor)
    inner = helper.make_graph([constant], "inner", [], [x])
    nodes, initializers, functions = [], [], []
    if place == "initializer":
        initializers = [tensor]
    elif place == "attribute":
        nodes = [constant]
    elif place == "tensors":
        nodes = [helper.make_node("Odd", [], ["x"], many=[_tensor(), tensor])]
    elif place == "subgraph":
        nodes = [helper.make_node("If", ["c"], ["x"], then_branch=inner, else_branch=inner)]
    elif place == "subgraphs":
        nodes = [helper.make_node("Odd", [], ["x"], many=[inner])]
    elif place == "function":
        functions = [helper.make_function("d", "F", [], ["x"], [constant], [helper.make_opsetid("", 17)])]
    graph = helper.make_graph(nodes, "g", [], [x], initializers)
    model = helper.make_model(graph, functions=functions)
    if place == "sparse":
        model.graph.sparse_initializer.add().values.CopyFrom(tensor)
    elif place in {"sparse attribute", "sparse attributes"}:
        attribute = model.graph.node.add(op_type="Odd").attribute.add(name="a")
        sparse = attribute.sparse_tensor if place == "sparse attribute" else attribute.sparse_tensors.add()
        sparse.indices.CopyFrom(tensor)
    elif place == "training":
        model.training_info.add().algorithm.initializer.add().CopyFrom(tensor)
    return model.SerializeToString()


PLACES = [
    "initializer",
    "attribute",
    "tensors",
    "subgraph",
    "subgraphs",
    "function",
    "sparse",
    "training",
    "sparse attribute",
    "sparse attributes",
]


@pytest.mark.parametrize("place", PLACES)
def test_external_data_is_found_wherever_it_hides(place: str) -> None:
    check_onnx(_model_with(place, _tensor()), "g.onnx")
    with pytest.raises(BundleError, match=r"'g\.onnx' keeps tensor data outside the bundle"):
        check_onnx(_model_with(place, _external(_tensor())), "g.onnx")


def test_external_location_alone_is_enough() -> None:
    tensor = _tensor()
    tensor.data_location = TensorProto.EXTERNAL
    with pytest.raises(BundleError, match="outside the bundle"):
        check_onnx(_model_with("initializer", tensor), "g.onnx")


def test_depth_is_bounded() -> None:
    def field(number: int, body: bytes) -> bytes:
        size, length = len(body), b""
        while size > 0x7F:
            length += bytes([size & 0x7F | 0x80])
            size >>= 7
        return bytes([number << 3 | 2]) + length + bytes([size]) + body

    graph = b""
    for _ in range(3000):
        graph = field(1, field(5, field(6, graph)))  # graph.node.attribute.g
    with pytest.raises(BundleError, match="deeper than"):
        check_onnx(field(7, graph), "g.onnx")
